"""Alignments: new members of a family, column by column, measured by what its columns do together."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, require_share
from ..rng import step_generator
from ..study import Evaluation, finite, read_meta, require_prepared
from ..training import Model, Samples, TensorsDataset, load_tensors, save_tensors, split_clusters
from .alphabet import GAP, Alphabet
from .autoregressive import Autoregressive
from .figures import alignment_figures
from .files import Family, read_family, write_fasta, write_stockholm
from .identity import aligned_clusters
from .metrics import Alignment, alignment_metrics
from .shipped import ShippedFamily
from .structure import consensus_pairs, restricted

__all__ = ["AlignmentFile", "AlignmentStudy"]

_FEW = 30  # held-out rows
_BASELINES = {"profile": (0.3, 1.0, 3.0, 10.0), "autoregressive": (0.003, 0.01, 0.03)}  # settings to choose from
_MOST = 4000  # columns × letters that an autoregressive baseline is fitted to: its couplings are the square


@dataclass
class AlignmentFile:
    """An alignment to learn from.

    Attributes:
        path: Stockholm (with a consensus structure or without), A2M, A3M, aligned FASTA or CSV; none: the fetched data
            set ``rna_families``.
        gaps: columns with a larger share of gaps are left out.
        identity: rows with more than this share of letters in common are of one cluster, and in one split.
        held_out: share of the rows in the validation split, and in the test split.
    """

    path: Path | None = None
    gaps: float = 0.95
    identity: float = 0.8
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require_share("study.data.", self, gaps=1.0, identity=1.0, held_out=0.4)


@dataclass
class AlignmentStudy(ShippedFamily):
    """RNA, DNA or proteins of a family, aligned: a gap is a letter, and every row is of one length."""

    data: AlignmentFile = field(default_factory=AlignmentFile)
    architecture: Any = None
    seed: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        return ("rna_families",) if self.data.path is None else ()

    def prepare(self, raw: Path | None, out: Path) -> None:
        """Rows as numbers, and as ``train.sto`` …; columns that were kept, and the densities without a network."""
        path = self.data.path or self.shipped(raw)
        family = read_family(path)
        if family.aligned is None:
            raise InputError(f"{path}: rows of several lengths; align them first, or use study=sequence_family")
        columns, rows, names, repeated = _distinct(family, self.data.gaps)
        alphabet = Alphabet(family.letters + (GAP if any(GAP in row for row in rows) else ""))
        structure = family.structure and restricted(family.structure, columns)
        x = alphabet.encode(rows)
        clusters = aligned_clusters(x, alphabet.gap, self.data.identity, family.path)
        parts = split_clusters(clusters, dict.fromkeys(("test", "val"), self.data.held_out), self.seed)
        if len(parts["test"]) < _FEW:
            print(f"prepare: {len(parts['test'])} rows are held out: a rough reference", file=sys.stderr)
        for split, indices in parts.items():
            kept = {"x": x[indices], "cluster": torch.tensor([clusters[i] for i in indices])}
            save_tensors(kept, out / f"{split}.safetensors")
            write_stockholm([names[i] for i in indices], [rows[i] for i in indices], structure, out / f"{split}.sto")
        baselines = _baselines(x[parts["train"]], x[parts["val"]], len(alphabet))
        saved = {name: {k: v for k, v in vars(law).items() if v is not None} for name, law in baselines.items()}
        save_tensors(saved, out / "baselines.safetensors")
        pairs = [consensus_pairs(known or "") for known in (structure, family.structure)]
        meta = {
            "family": family.name,
            "letters": alphabet.letters,
            "structure": structure,
            "pairs": len(pairs[0]),
            "pairs in columns that were left out": len(pairs[1]) - len(pairs[0]),
            "columns": [i + 1 for i in columns],
            "columns of the file": len(family.aligned[0]),
            "rows": {split: len(indices) for split, indices in parts.items()},
            "clusters": {split: len({clusters[i] for i in indices}) for split, indices in parts.items()},
            "left out": {**family.dropped, "the same in the columns that are left": repeated},
        }
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def dataset(self, data: Path, split: str) -> TensorsDataset:
        rows = load_tensors(data / f"{split}.safetensors")
        return TensorsDataset({name: rows[name] for name in ("x", "x0") if name in rows}, f"{data}/{split}")

    def model(self, data: Path) -> Model:
        require_prepared(self, data, "family", "data")
        if self.architecture is None:
            raise InputError("model: none chosen; say model=posterior_flow")
        x, meta = load_tensors(data / "val.safetensors")["x"], read_meta(data)
        model: Model = self.architecture.build(len(meta["letters"]), x.shape[1], aligned=True)
        return model

    def write(self, samples: Samples, out: Path, data: Path) -> None:
        """``samples.fasta`` (without gaps) and ``samples.sto`` (aligned, with the consensus structure)."""
        assert isinstance(samples.x, Tensor)
        meta = read_meta(data)
        rows = Alphabet(meta["letters"]).decode(samples.x)
        names = [f"sample_{i:05d}" for i in range(len(rows))]
        write_fasta(names, [row.replace(GAP, "") for row in rows], out / "samples.fasta")
        write_stockholm(names, rows, meta["structure"], out / "samples.sto")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        """Metrics of samples beside those of held-out rows, and of as many rows from the densities without a network.

        Distances between laws are to the training rows, for all of them.
        """
        require_prepared(self, data, "family", "data")
        assert isinstance(samples.x, Tensor)
        meta = read_meta(data)
        pairs = torch.tensor(consensus_pairs(meta["structure"] or "")).view(-1, 2)
        train, test = (load_tensors(data / f"{split}.safetensors") for split in ("train", "test"))
        baselines = {
            name: Autoregressive(**kept) for name, kept in load_tensors(data / "baselines.safetensors").items()
        }
        tokens = {"samples": samples.x, "held out": test["x"], "training": train["x"]}
        for name, law in baselines.items():
            tokens[name] = law.sample(len(samples.x), step_generator(self.seed))
        rows = {name: Alignment(x, meta["letters"], pairs) for name, x in tokens.items()}
        logp = {name: law.log_prob(test["x"]) for name, law in baselines.items()}
        if samples.test_logp is not None:
            logp["samples"] = samples.test_logp.double()
        metrics = alignment_metrics(rows, logp, test["cluster"])
        return Evaluation(finite(metrics), *alignment_figures(rows, meta["structure"]))


def _distinct(family: Family, gaps: float) -> tuple[list[int], list[str], list[str], int]:
    """Columns with few enough gaps, distinct sequences in them with their names, and how many repeat another."""
    assert family.aligned is not None
    x = Alphabet(family.letters + GAP).encode(family.aligned)
    columns = ((x == len(family.letters)).double().mean(0) <= gaps).nonzero().flatten().tolist()
    kept: dict[str, tuple[str, str]] = {}
    for name, whole in zip(family.names, family.aligned, strict=True):
        row = "".join(whole[i] for i in columns)
        kept.setdefault(row.replace(GAP, ""), (row, name))
    kept.pop("", None)
    rows, names = (list(part) for part in zip(*kept.values(), strict=True)) if kept else ([], [])
    if not rows:
        raise InputError(f"study.data.gaps={gaps}: no column of {family.path} has so few gaps; raise it")
    return columns, rows, names, len(family.names) - len(rows)


def _baselines(train: Tensor, val: Tensor, k: int) -> dict[str, Autoregressive]:
    """Each with the setting that validation rows like best."""
    fits = {"profile": Autoregressive.independent, "autoregressive": Autoregressive.fit}
    if train.shape[1] * k > _MOST:
        del fits["autoregressive"]

    def best(found: Sequence[Autoregressive]) -> Autoregressive:
        return max(found, key=lambda law: float(law.log_prob(val).sum()))

    return {name: best([fit(train, k, setting) for setting in _BASELINES[name]]) for name, fit in fits.items()}
