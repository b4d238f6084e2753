"""Self-consistency: samples against structures that a folding model made of sequences designed for them."""

import csv
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..study import Metric
from .structure import read_structure
from .tm import superpose, tm_score

__all__ = ["DESIGNABLE", "SelfConsistency", "consistency_metrics", "self_consistency", "write_self_consistency"]

DESIGNABLE = 0.2  # nm: a sample is designable when a folded structure is nearer


class SelfConsistency(NamedTuple):
    """The best that a sample's folded structures reach; none where it has none."""

    sample: str
    residues: int
    folded: int  # structures
    sc_rmsd: float | None = None  # nm, of superposed Cα
    sc_tm: float | None = None


def self_consistency(samples: Path, folded: Path) -> list[SelfConsistency]:
    """Every sample, ``SAMPLE.pdb``, against all of its folded structures, ``SAMPLE.pdb``, ``SAMPLE_1.cif``, …

    Residues correspond by their order. scRMSD is the lowest RMSD of Cα, scTM the highest TM-score, maybe of another
    structure. One sequence or eight a sample make a difference: say how many.

    Source: Trippe et al. 2023 (arXiv:2206.04119).

    Raises:
        InputError: no samples, no folded structures, one that is of no sample, or of another length than its sample.
    """
    traces = {path.stem: _trace(path) for path in _files(samples, ".pdb")}
    found: dict[str, list[Tensor]] = {name: [] for name in traces}
    for path in _files(folded, ".pdb", ".cif"):
        name, trace = _sample_of(path.stem, found), _trace(path)
        if name is None:
            raise InputError(f"{path}: there is no such sample in {samples}; name it SAMPLE_1{path.suffix}")
        if len(trace) != len(traces[name]):
            raise InputError(
                f"{path}: {len(trace)} residues, and sample {name} has {len(traces[name])}; fold whole sequences"
            )
        found[name].append(trace)
    return [_compared(name, trace, found[name]) for name, trace in traces.items()]


def consistency_metrics(scores: Sequence[SelfConsistency]) -> dict[str, Metric]:
    """``designable``, the share with scRMSD < 0.2 nm, and the means of both; ``not_folded``, which they leave out."""
    folded = [(s.sc_rmsd, s.sc_tm) for s in scores if s.sc_rmsd is not None and s.sc_tm is not None]
    rmsd, tm = torch.tensor(folded, dtype=torch.double).unbind(1)
    n = len(folded)

    def mean(values: Tensor, unit: str) -> Metric:
        return Metric(float(values.mean()), float(values.std()) / n**0.5 if n > 1 else None, n, unit=unit)

    return {
        "designable": mean((rmsd < DESIGNABLE).double(), "fraction"),
        "sc_rmsd": mean(rmsd, "nm"),
        "sc_tm": mean(tm, "TM"),
        "not_folded": Metric(len(scores) - n, n=len(scores), unit="samples"),
    }


def write_self_consistency(scores: Sequence[SelfConsistency], out: Path) -> None:
    """``self_consistency.json`` with the metrics and which samples are not folded; a row a sample in the ``.csv``."""
    metrics = {name: asdict(metric) for name, metric in consistency_metrics(scores).items()}
    content = {"metrics": metrics, "not folded": [score.sample for score in scores if not score.folded]}
    (out / "self_consistency.json").write_text(json.dumps(content, indent=1))
    with (out / "self_consistency.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(SelfConsistency._fields)
        writer.writerows(scores)


def _compared(name: str, trace: Tensor, folded: Sequence[Tensor]) -> SelfConsistency:
    if not folded:
        return SelfConsistency(name, len(trace), 0)
    x, y = torch.stack(list(folded)), trace.expand(len(folded), -1, -1)
    rmsd, tm = superpose(x, y)[1].amin(), tm_score(x, y).amax()
    return SelfConsistency(name, len(trace), len(folded), float(rmsd), float(tm))


def _sample_of(stem: str, names: Collection[str]) -> str | None:
    """The longest name that ``stem`` starts with, as a whole word: 10_2 is of 10, and not of 1."""
    ends = [k for k in range(len(stem), 0, -1) if not stem[k : k + 1].isalnum()]
    return next((stem[:k] for k in ends if stem[:k] in names), None)


def _files(folder: Path, *suffixes: str) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix in suffixes)
    if not found:
        raise InputError(f"{folder}: no structures (*{', *'.join(suffixes)}) in it")
    return found


def _trace(path: Path) -> Tensor:
    """Cα (N, 3) [nm] of the only chain of a file."""
    chains, _ = read_structure(path)
    if len(chains) != 1:
        raise InputError(f"{path}: {len(chains)} chains; self-consistency is of single chains")
    return chains[0].atoms[:, 1]
