"""What a domain says to the pipeline: five methods, and metrics that never stand alone."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from matplotlib.figure import Figure
from torch.utils.data import Dataset

from .training import Model, Samples

__all__ = ["Evaluation", "Metric", "Study"]


@dataclass
class Metric:
    """A number with what it must be read beside.

    Its error, the sample size, the trivial baseline (floor), what a perfect answer would give (reference), what was
    published.
    """

    value: float
    error: float | None = None
    n: int | None = None
    floor: float | None = None
    reference: float | None = None
    unit: str | None = None
    published: float | None = None


@dataclass
class Evaluation:
    """Metrics and figures of one run; ``captions`` (by figure name) are what the report prints under each figure."""

    metrics: dict[str, Metric]
    figures: dict[str, Figure] = field(default_factory=dict)
    captions: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class Study(Protocol):
    """A scientific question: data on a manifold and a field that moves noise to data.

    A study is a dataclass: its fields are its configuration (names and types are checked), its methods are the domain.
    """

    def prepare(self, raw: Path | None, out: Path) -> None:
        """Raw files to ``train/val/test.safetensors`` and ``meta.json`` (units, split, checksums) in ``out``."""

    def dataset(self, data: Path, split: str) -> Dataset[Any]:
        """The prepared split: ``train``, ``val`` or ``test``."""

    def model(self, data: Path) -> Model:
        """A field or a flow, untrained, with its path, coupling, objective and prior."""

    def write(self, samples: Samples, out: Path) -> None:
        """Samples as files of the field's own formats in ``out``."""

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        """Metrics and figures, each beside its reference and its floor."""
