"""What natives score: the floors of backbone metrics on the mirror's structures, and TM-scores beside those of tmtools.

sciflow fetch structures
pip install tmtools  # GPLv3, for the comparison alone; left out where it is missing
OMP_NUM_THREADS=1 python docs/benchmarks/natives.py data/raw/structures
"""

import importlib
import importlib.util
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from sciflow.proteins.clusters import cluster
from sciflow.proteins.collection import read_structures
from sciflow.proteins.conformation import Backbones
from sciflow.proteins.frames import frames
from sciflow.proteins.metrics import backbone_metrics
from sciflow.proteins.structure import Chain
from sciflow.proteins.tm_align import pairwise_tm

PAIRS = 100


def unbroken(chains: list[Chain]) -> list[Chain]:
    """One chain a cluster, of 60 to 256 residues without breaks."""
    fit = {c.sequence: c for c in chains if 60 <= len(c) <= 256 and bool(c.bonded[:-1].all())}
    clusters = cluster(list(fit))
    return [c for i, c in enumerate(fit.values()) if clusters[i] not in clusters[:i]]


chains = unbroken(read_structures(Path(sys.argv[1]), quiet=True)[0])
order = torch.randperm(len(chains), generator=torch.Generator().manual_seed(0)).tolist()
native = Backbones.of([chains[i].atoms[:, :3].float() for i in order])
translation, rotation = frames(*native.atoms.unbind(2))
ideal = Backbones.of_state({"translation": translation, "rotation": rotation}, native.mask, native.residue_index)
half = len(native) // 2

print(f"{len(native)} clusters, {int(native.mask.sum())} residues; one half is held against the other")
crystal, by_frames = (backbone_metrics(b[:half], b[half:], b[half:], most=2) for b in (native, ideal))
print("| | crystals | their ideal frames | random walk | unit |\n|---|---|---|---|---|")
for name, metric in crystal.items():
    if metric.unit == "TM" or name == "copies":  # of two chains; see below
        continue
    beside = f"{by_frames[name].value:.3f} | {metric.floor:.3f} | {metric.unit}"
    print(f"| {name} | {metric.value:.3f} ± {metric.error:.3f} | {beside} |")
for name, (value, there) in {"Cα–Cα": native.ca_ca(), "C–N": native.c_n()}.items():
    lengths = 10 * value[there]
    print(f"{name}: median {lengths.median():.3f}, mean {lengths.mean():.3f} ± {lengths.std():.3f} Å")
kinds = native.secondary_structure()
shares = "/".join(f"{(kinds[native.mask] == kind).double().mean():.3f}" for kind in range(3))
(clashes, residues), (size, chain) = native.clashes(), native.size()
print(
    f"all clusters: helix/strand/coil {shares}, clashes {100 * clashes[residues].mean():.3f} per 100 residues, "
    f"radius of gyration {10 * size[chain].mean():.2f} Å N^0.38"
)

traces = native.traces
pairs = [torch.randperm(len(traces), generator=torch.Generator().manual_seed(k))[:2].tolist() for k in range(PAIRS)]
started = time.process_time()
ours = torch.stack([torch.stack([m[0, 1], m[1, 0]]) for m in (pairwise_tm([traces[i], traces[j]]) for i, j in pairs)])
alone = (time.process_time() - started) / PAIRS
started = time.process_time()
matrix = pairwise_tm(traces[:40])
batched = (time.process_time() - started) / (40 * 39 / 2)
diversity = (matrix.sum() - 40) / (40 * 39)
print(
    f"TM-scores: {1e3 * batched:.1f} ms a pair in batches, {1e3 * alone:.1f} ms one by one; "
    f"mean of 40 chains {diversity:.3f}"
)
if importlib.util.find_spec("tmtools"):
    tmtools = importlib.import_module("tmtools")

    def reference(x: Tensor, y: Tensor) -> list[float]:
        """Both TM-scores of two traces."""
        found = tmtools.tm_align(10 * x.double().numpy(), 10 * y.double().numpy(), "A" * len(x), "A" * len(y))
        return [found.tm_norm_chain1, found.tm_norm_chain2]

    started = time.process_time()
    theirs = torch.tensor([reference(traces[i], traces[j]) for i, j in pairs])
    spent = 1e3 * (time.process_time() - started) / PAIRS
    apart = ours - theirs
    print(
        f"tmtools: {spent:.1f} ms a pair, mean {theirs.mean():.3f}; ours less theirs: mean {apart.mean():+.3f}, "
        f"absolute {apart.abs().mean():.3f}, from {apart.min():+.3f} to {apart.max():+.3f}"
    )
