"""Enhancers of a given cell type."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..alphabets import DNA
from ..errors import InputError
from ..study import Metric
from .dna import DnaStudy, Regions, read_table
from .figures import NATIVE, SAMPLED
from .files import Family
from .oracle import answers
from .spectra import shuffled, words

__all__ = ["EnhancerStudy"]

_FILES = {"fly_brain": "DeepFlyBrain_data.pkl", "melanoma": "DeepMEL2_data.pkl"}
_SPLITS = {"train": "train", "valid": "val", "test": "test"}
_ARRAYS = {"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"}  # of numpy: all that arrays are made of


@dataclass
class EnhancerStudy(DnaStudy):
    """Enhancers by the class of cells in which they are accessible, of the fly brain or of human melanoma, as Taskiran
    et al. 2024 gathered them and Stark et al. 2024 (arXiv:2402.05841) design them.

    Labels of your own are a column ``label``, of ``data.path`` itself or of ``data.table``.

    Attributes:
        cells: ``fly_brain`` or ``melanoma``, where ``data.path`` gives no others.
    """

    cells: str = "fly_brain"

    condition: ClassVar[str] = "label"

    def __post_init__(self) -> None:
        if self.cells not in _FILES:
            raise InputError(f"study.cells={self.cells!r}: use one of {', '.join(_FILES)}, or data.path=FILE")

    @property
    def sources(self) -> tuple[str, ...]:
        return ("enhancer",) if self.data.path is None else ()

    def read(self, raw: Path) -> Regions:
        """Arrays ``{train,valid,test}_data (N, L, 4)`` and ``y_… (N, classes)``, of zeros and ones."""
        path = raw / "enhancer" / _FILES[self.cells]
        with path.open("rb") as file:
            arrays = _arrays(file, path)
        if missing := [f"{a}" for s in _SPLITS for a in (f"{s}_data", f"y_{s}") if a not in arrays]:
            raise InputError(f"{path}: has no array {missing[0]}; fetch it again")
        x = np.concatenate([np.asarray(arrays[f"{split}_data"]).argmax(-1) for split in _SPLITS])
        labels = np.concatenate([np.asarray(arrays[f"y_{split}"]).argmax(-1) for split in _SPLITS])
        split = [name for given, name in _SPLITS.items() for _ in range(len(arrays[f"y_{given}"]))]
        classes = [f"class {i}" for i in range(np.asarray(arrays["y_train"]).shape[-1])]
        return Regions(torch.from_numpy(x).long(), torch.from_numpy(labels).long(), split, classes=classes)

    def own(self, family: Family, x: Tensor) -> Regions:
        labels, group = family.labels, None
        if self.data.table is not None:
            header, rows, group = read_table(self.data.table, family.names)
            if [name.lower() for name in header] != ["label"]:
                raise InputError(f"{self.data.table}: columns {', '.join(header)}; give name, label and perhaps group")
            labels = [row[0] for row in rows]
        if labels is None:
            raise InputError(f"{self.data.path}: give the classes as well, in a column label or with data.table=FILE")
        classes = sorted(set(labels))
        if len(classes) < 2:
            raise InputError(f"{self.data.table or self.data.path}: one label, {classes[0]}; classes are two or more")
        return Regions(x, torch.tensor([classes.index(label) for label in labels]), group=group, classes=classes)

    def judge(self, samples: Tensor, condition: Tensor, splits: dict[str, dict[str, Tensor]]) -> dict[str, Metric]:
        """How often words tell the class that was asked for, beside real sequences and the most frequent class."""
        test, few = splits["test"], 2000
        told = _Words(splits["train"], self.evaluation.word)
        hits = [(told(x) == y).double().mean() for x, y in ((samples, condition), (test["x"], test["label"]))]
        common = float(condition.bincount().max() / len(condition))
        error = float(hits[0] * (1 - hits[0]) / len(samples)) ** 0.5
        metrics = {"class_told_by_words": Metric(float(hits[0]), error, len(samples), common, float(hits[1]))}
        if self.evaluation.oracle is not None:
            parts = (samples, shuffled(test["x"], seed=self.seed), splits["train"]["x"], test["x"])
            found = [answers(self.evaluation.oracle, x[:few]) for x in parts]
            value, floor, reference = (_frechet(other, found[-1]) for other in found[:-1])
            metrics["frechet"] = Metric(value, n=min(few, len(samples)), floor=floor, reference=reference)
        return metrics

    def draw(self, samples: Tensor, condition: Tensor, splits: dict[str, dict[str, Tensor]]) -> tuple[Figure, str]:
        """Classes that words tell, class by class."""
        test, told = splits["test"], _Words(splits["train"], self.evaluation.word)
        classes = int(max(part["label"].max() for part in splits.values())) + 1
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        ax = figure.subplots()
        for name, x, y, colour, shift in (
            ("held out", test["x"], test["label"], NATIVE, -0.2),
            ("samples", samples, condition, SAMPLED, 0.2),
        ):
            hits = torch.zeros(classes, dtype=torch.float64).index_add_(0, y, (told(x) == y).double())
            ax.bar(np.arange(classes) + shift, hits / y.bincount(minlength=classes), 0.4, color=colour, label=name)
        ax.set(xlabel="class", ylabel="share told by words", ylim=(0, 1))
        ax.legend(frameon=False)
        return figure, (
            f"Share of sequences of each class whose class a naive Bayes classifier tells, trained on the words of "
            f"{self.evaluation.word} letters of training sequences: held-out enhancers and {len(samples)} samples."
        )


class _Words:
    """A naive Bayes classifier of the words of training sequences, each counted once more."""

    def __init__(self, rows: Mapping[str, Tensor], size: int) -> None:
        labels, self.size = rows["label"], size
        counts = torch.ones(int(labels.max()) + 1, len(DNA) ** size, dtype=torch.float64)
        for x, y in zip(rows["x"].split(4096), labels.split(4096), strict=True):
            counts.index_add_(0, y, words(x, len(DNA), size).double())
        self.prior = (labels.bincount().double() / len(labels)).log()
        self.law = (counts / counts.sum(1, keepdim=True)).log()

    def __call__(self, x: Tensor) -> Tensor:
        """Classes ``(n,)``."""
        return (words(x, len(DNA), self.size).double() @ self.law.T + self.prior).argmax(1)


def _frechet(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of two normal laws, ``|μ−ν|² + tr(A + B − 2 √(√A B √A))``, fitted to rows."""
    (mean_a, cov_a), (mean_b, cov_b) = ((x.mean(0), torch.atleast_2d(x.T.cov())) for x in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    return float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross)


class _OnlyArrays(pickle.Unpickler):
    """Reads pickled arrays of numpy, and refuses whatever else a pickle might make or run."""

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in _ARRAYS:
            return super().find_class(module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}, no array")


def _arrays(file: BinaryIO, path: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = _OnlyArrays(file).load()
        _ = found.keys()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a dictionary of arrays ({error}); it is not read further") from error
    return found
