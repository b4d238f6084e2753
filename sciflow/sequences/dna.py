"""Regulatory DNA: sequences of one length, each with a signal along it or a class, and new ones for the same."""

import json
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import wasserstein_distance
from torch import Tensor
from torch.utils.data import Dataset

from ..alphabets import DNA
from ..errors import InputError, require_above, require_share
from ..rng import step_generator
from ..study import Evaluation, Metric, finite, read_meta, require_prepared
from ..training import Model, Samples, TensorsDataset, load_tensors, save_tensors, split_clusters
from ..training.tables import find_columns, read_rows
from .alphabet import Alphabet
from .figures import NATIVE, SAMPLED, TRAINING
from .files import Family, read_family, write_fasta
from .identity import aligned_clusters, hamming
from .spectra import gc_share, jensen_shannon, shuffled, words

__all__ = ["DnaFiles", "DnaStudy", "Judged", "Regions", "dna_tokens", "read_table"]

_BLOCK = 8192  # training sequences that are compared at once
_MOST = 10_000  # sequences of one's own that are all compared with each other, before they are split


@dataclass
class DnaFiles:
    """DNA of your own.

    Attributes:
        path: FASTA or CSV (column ``sequence``), of one length; none: the fetched data set.
        table: CSV with a row for each ``name`` there: what the study says, and perhaps ``group`` (a chromosome, a
            locus), which stays in one split.
        held_out: share of the validation and of the test split.
        identity: without ``group``, sequences with more than this share of letters in common, place by place, are in
            one split.
    """

    path: Path | None = None
    table: Path | None = None
    held_out: float = 0.1
    identity: float = 0.8

    def __post_init__(self) -> None:
        require_share("study.data.", self, held_out=0.4, identity=1.0)
        if self.path is None and self.table is not None:
            raise InputError(f"study.data.table={self.table}: say which sequences it is of, with study.data.path=FILE")


@dataclass
class Judged:
    """How the report is made.

    Attributes:
        word: letters of the words whose spectra are compared.
        compared: samples, and held-out sequences, that are compared with all training sequences.
        oracle: a network of your own as ``torch.export.save`` writes it, from ``(B, 4, L)`` to ``(B, …)`` numbers.
    """

    word: int = 4
    compared: int = 200
    oracle: Path | None = None

    def __post_init__(self) -> None:
        require_above(0, "study.evaluation.", self, "word", "compared")


@dataclass(frozen=True)
class Regions:
    """Sequences ``x (N, L)`` with their condition, and the split of each (or the group that stays in one)."""

    x: Tensor
    condition: Tensor
    split: Sequence[str] | None = None
    group: Sequence[str] | None = None
    classes: Sequence[str] = ()
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass
class DnaStudy(ABC):
    """DNA of one length for a condition. A study says where it comes from and how well samples meet the condition."""

    data: DnaFiles = field(default_factory=DnaFiles)
    evaluation: Judged = field(default_factory=Judged)
    architecture: Any = None
    seed: int = 0

    #: Name of the condition, as networks of sequences know it.
    condition: ClassVar[str]

    @abstractmethod
    def read(self, raw: Path) -> Regions:
        """The fetched data set."""

    @abstractmethod
    def own(self, family: Family, x: Tensor) -> Regions:
        """The user's sequences with what is said of them."""

    @abstractmethod
    def judge(self, samples: Tensor, condition: Tensor, splits: dict[str, dict[str, Tensor]]) -> dict[str, Metric]:
        """How well samples meet their condition."""

    @abstractmethod
    def draw(self, samples: Tensor, condition: Tensor, splits: dict[str, dict[str, Tensor]]) -> tuple[Figure, str]:
        """The same, as a figure with its caption."""

    def prepare(self, raw: Path | None, out: Path) -> None:
        regions = self.read(raw or Path("data/raw")) if self.data.path is None else self._own()
        parts = _parts(regions, self.data, self.seed)
        if empty := [split for split, rows in parts.items() if not len(rows)]:
            raise InputError(f"{self.data.path or raw}: no sequence of the {empty[0]} split is left; take in more")
        for split, rows in parts.items():
            kept = {"x": regions.x[rows], self.condition: regions.condition[rows]}
            save_tensors(kept, out / f"{split}.safetensors")
        meta = {
            "sequences": {split: len(rows) for split, rows in parts.items()},
            "classes": list(regions.classes),
            "left out": dict(regions.dropped),
        }
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def _own(self) -> Regions:
        assert self.data.path is not None
        family = read_family(self.data.path)
        if len(lengths := Counter(map(len, family.sequences))) > 1:
            raise InputError(f"{self.data.path}: lengths from {min(lengths)} to {max(lengths)}; cut them to one length")
        return replace(self.own(family, dna_tokens(family.sequences, self.data.path)), dropped=family.dropped)

    def dataset(self, data: Path, split: str) -> Dataset[Any]:
        return TensorsDataset(load_tensors(data / f"{split}.safetensors"), f"{data}/{split}")

    def model(self, data: Path) -> Model:
        require_prepared(self, data, "data")
        if self.architecture is None:
            raise InputError("model: none chosen; say model=posterior_flow")
        rows = load_tensors(data / "val.safetensors")
        classes = len(read_meta(data)["classes"])
        features = 0 if classes else rows[self.condition].shape[-1]
        model: Model = self.architecture.build(len(DNA), rows["x"].shape[1], classes=classes, features=features)
        return model

    def conditions(self, data: Path, indices: Sequence[int], split: str = "test") -> dict[str, Tensor]:
        """Those of the rows of the split, in turn."""
        known = load_tensors(data / f"{split}.safetensors")[self.condition]
        return {self.condition: known[torch.tensor(list(indices)) % len(known)]}

    def write(self, samples: Samples, out: Path) -> None:
        """``samples.fasta``, in the order of the conditions."""
        assert isinstance(samples.x, Tensor)
        labels = (samples.cond or {}).get("label")
        said = [""] * len(samples.x) if labels is None else [f" class={label}" for label in labels.tolist()]
        names = [f"{i:05d}{known}" for i, known in enumerate(said)]
        write_fasta(names, Alphabet(DNA).decode(samples.x), out / "samples.fasta")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        require_prepared(self, data, "data")
        assert isinstance(samples.x, Tensor)
        splits = {name: load_tensors(data / f"{name}.safetensors") for name in ("train", "val", "test")}
        asked = self.conditions(data, range(len(samples.x)))[self.condition]
        train, test = splits["train"]["x"], splits["test"]["x"]
        own, caption = self.draw(samples.x, asked, splits)
        figure, text = _spectrum(samples.x, train, test, self.evaluation.word)
        metrics = {**self._likeness(samples.x, train, test), **self.judge(samples.x, asked, splits)}
        return Evaluation(finite(metrics), {"words": figure, "condition": own}, {"words": text, "condition": caption})

    def _likeness(self, x: Tensor, train: Tensor, test: Tensor) -> dict[str, Metric]:
        """Beside as many training sequences as there are samples (reference), and shuffled held-out ones (floor)."""
        n, size = len(x), self.evaluation.word
        some = train[torch.randperm(len(train), generator=step_generator(self.seed))[:n]]
        noise = shuffled(test, seed=self.seed)
        spectra = [words(s, len(DNA), size).sum(0) for s in (test, x, noise, some)]
        gaps = [jensen_shannon(spectra[0], other) for other in spectra[1:]]
        plain = torch.randint(len(DNA), test.shape, generator=step_generator(self.seed, 1))
        gc = [float(wasserstein_distance(gc_share(s), gc_share(test))) for s in (x, plain, some)]
        few = self.evaluation.compared
        away, fresh = (
            torch.stack([hamming(s[:few], part) for part in train.split(_BLOCK)]).amin(0) / s.shape[1]
            for s in (x, test)
        )
        known = {row.tobytes() for row in train.numpy().astype(np.uint8)}
        rows = [row.tobytes() for row in x.numpy().astype(np.uint8)]
        return {
            f"words_{size}": Metric(gaps[0], n=n, floor=gaps[1], reference=gaps[2], unit="nat"),
            "gc_distance": Metric(gc[0], n=n, floor=gc[1], reference=gc[2]),
            "nearest_train": Metric(float(away.mean()), n=len(away), reference=float(fresh.mean()), unit="differ"),
            "copies": Metric(sum(row in known for row in rows) / n, n=n, reference=0.0),
            "unique": Metric(len(set(rows)) / n, n=n, reference=1.0),
        }


def dna_tokens(sequences: Sequence[str], path: Path) -> Tensor:
    """Numbers ``(N, L)`` of letters. Raises InputError where they are not those of DNA."""
    if unknown := set("".join(sequences)) - set(DNA):
        raise InputError(f"{path}: has the letter {min(unknown)!r}; DNA is written in {', '.join(DNA)}")
    return Alphabet(DNA).encode(sequences)


def read_table(path: Path, names: Sequence[str]) -> tuple[list[str], list[list[str]], list[str] | None]:
    """Other columns of a CSV file and their values, and its groups, in the order of sequences of these names.

    Raises:
        InputError: no column ``name``, or no row of that name, or several.
    """
    header, rows = read_rows(path)
    (key,) = find_columns(path, header, [["name"]])
    given = [row[key].split()[0] if row[key].strip() else "" for row in rows]
    by_name = dict(zip(given, rows, strict=True))
    if repeated := [name for name, times in Counter(given).items() if times > 1 and name in names]:
        raise InputError(f"{path}: {repeated[0]} has several rows (and {len(repeated) - 1} more names); give it one")
    if missing := [name for name in names if name not in by_name]:
        raise InputError(f"{path}: no row of the name {missing[0]} (and {len(missing) - 1} more of the FASTA file)")
    ordered = [by_name[name] for name in names]
    lower = [name.lower() for name in header]
    group = [row[lower.index("group")] for row in ordered] if "group" in lower else None
    others = [i for i, name in enumerate(lower) if name not in ("name", "group")]
    return [header[i] for i in others], [[row[i] for i in others] for row in ordered], group


def _parts(regions: Regions, data: DnaFiles, seed: int) -> dict[str, Tensor]:
    """Rows of each split: the data's own, or by chance, a group in one split; without groups, those that are alike."""
    if regions.split is not None:
        names = np.array(regions.split)
        return {split: torch.from_numpy((names == split).nonzero()[0]) for split in ("train", "val", "test")}
    if regions.group is not None:
        groups = np.unique(regions.group, return_inverse=True)[1].tolist()
    elif len(regions.x) <= _MOST:
        groups = aligned_clusters(regions.x, len(DNA), data.identity, data.path or Path("data/raw"))
    else:
        print(
            f"{data.path}: more than {_MOST} sequences are not compared, and those that are alike may be in several "
            "splits; a column group in study.data.table keeps them together",
            file=sys.stderr,
            flush=True,
        )
        groups = list(range(len(regions.x)))
    parts = split_clusters(groups, {"test": data.held_out, "val": data.held_out}, seed)
    return {split: torch.tensor(rows) for split, rows in parts.items()}


def _spectrum(x: Tensor, train: Tensor, test: Tensor, size: int) -> tuple[Figure, str]:
    """Shares of words among samples over those of held-out sequences; lengths of CG content beside."""
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    shares = [(counts := words(s, len(DNA), size).sum(0).double()) / counts.sum() for s in (test, x)]
    seen = (shares[0] > 0) & (shares[1] > 0)
    left.loglog(shares[0][seen], shares[1][seen], ".", color=SAMPLED, alpha=0.6, ms=4)
    low, high = float(shares[0][seen].min()), float(shares[0].max())
    left.loglog([low, high], [low, high], color="black", lw=1)
    left.set(xlabel=f"share of a word of {size}, held out", ylabel="share among samples")
    bins = np.linspace(0, 1, 51)
    for name, s, colour in (("training", train, TRAINING), ("held out", test, NATIVE), ("samples", x, SAMPLED)):
        right.hist(gc_share(s), bins.tolist(), density=True, histtype="step", color=colour, label=name, lw=1.5)
    right.set(xlabel="share of G and C", ylabel="density of sequences")
    right.legend(frameon=False)
    return figure, (
        f"Left: each of the {int(seen.sum())} words of {size} letters that both have, its share among {len(x)} samples "
        "over that among held-out sequences. Right: share of G and C in training, held-out and sampled sequences."
    )
