"""Processor time of the field of proteins and of its attention, fused and explicit, on one thread.

OMP_NUM_THREADS=1 python docs/benchmarks/ipa.py
"""

import sys
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from sciflow.manifolds import SE3, FlatTorus, Product, Simplex
from sciflow.manifolds.quaternion import to_matrix
from sciflow.nets import InvariantPointAttention
from sciflow.paths import Exponential, GeodesicPath, Linear
from sciflow.proteins.network import ProteinField

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "nets"))
from test_ipa import explicit

LENGTHS = (64, 128, 256)


def seconds(call: Callable[[], object]) -> float:
    """The least of seven calls: processor time, which other programs lengthen less than that of the clock."""
    return min(timeit.repeat(call, timer=time.process_time, number=1, repeat=7))


def row(name: str, module: nn.Module, forward: Callable[[int], Callable[[], object]], step: str = "") -> None:
    with torch.no_grad():
        cells = [f"{1e3 * seconds(forward(n)):.1f}" for n in LENGTHS]
    print(f"| {name} | {sum(p.numel() for p in module.parameters())} | {' | '.join(cells)} | {step} |")


def attention(width: int, pair_width: int) -> None:
    ipa = InvariantPointAttention(width, pair_width)

    def given(n: int) -> tuple[Tensor, ...]:
        features, frames = (torch.randn(1, n, width), torch.randn(1, n, n, pair_width)), SE3().random(1, n)
        return *features, frames["translation"], to_matrix(frames["rotation"]), torch.ones(1, n, dtype=torch.bool)

    for name, call in {"fused": ipa, "explicit": partial(explicit, ipa)}.items():
        row(f"attention {width}/{pair_width}, {name}", ipa, lambda n, call=call: partial(call, *given(n)))


def field(name: str, manifold: Product, size: tuple[int, int, int]) -> None:
    path = GeodesicPath(manifold, {k: Exponential(10) if k == "rotation" else Linear() for k in manifold.factors})
    net = ProteinField(path, *size)

    def given(batch: int, n: int) -> dict[str, Tensor]:
        places = torch.arange(n).expand(batch, n)
        kinds = {"mask": places >= 0, "residue_index": places, "chain": torch.zeros_like(places)}
        return {"t": torch.rand(batch), "torsion_mask": torch.ones(batch, n, 5, dtype=torch.bool), **kinds}

    def step(x: dict[str, Tensor], conditions: dict[str, Tensor]) -> None:
        end = net.denoise(x, previous=x, **conditions)
        torch.stack([part.square().mean() for part in end.values()]).sum().backward()

    def forward(n: int) -> Callable[[], object]:
        x = manifold.prior().sample(1, n)
        return partial(net.denoise, x, previous=x, **given(1, n))

    taken = seconds(partial(step, manifold.prior().sample(8, 96), given(8, 96)))
    row(f"{name} {'/'.join(map(str, size))}", net, forward, f"{taken:.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("| | parameters |", *(f"N = {n}, ms |" for n in LENGTHS), "step of 8 × 96, s |\n|---|---|---|---|---|---|")
    full = Product(**SE3().factors, torsions=FlatTorus(5), sequence=Simplex(20))
    for size in ((128, 64, 4), (64, 32, 3)):
        attention(*size[:2])
        field("backbones", SE3(), size)
        field("full atoms", full, size)
