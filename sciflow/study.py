"""What a domain says to the pipeline: five methods, and metrics that never stand alone."""

import json
import math
import sys
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from matplotlib.figure import Figure
from torch.utils.data import Dataset

from .errors import InputError
from .training import Model, Samples

__all__ = ["Evaluation", "Metric", "Study", "finite", "prepared_with", "read_meta", "require_prepared"]


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


def finite(metrics: dict[str, Metric]) -> dict[str, Metric]:
    """The metrics that are numbers, without errors, floors and references that are none; a line on stderr names others.

    Samples may be too few, or too bad, to give a number; that is no reason to give none of the others.
    """
    lost = [f"{name} is {metric.value}" for name, metric in metrics.items() if not math.isfinite(metric.value)]
    if lost:
        print(f"metrics left out: {', '.join(lost)}", file=sys.stderr, flush=True)
    return {name: _known(metric) for name, metric in metrics.items() if math.isfinite(metric.value)}


def _known(metric: Metric) -> Metric:
    def known(x: float | None) -> float | None:
        return None if x is None or not math.isfinite(x) else x

    return replace(metric, error=known(metric.error), floor=known(metric.floor), reference=known(metric.reference))


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

    Optional, and looked for by name: ``sources``, the data sets that ``prepare`` needs; ``conditions(data, indices,
    split="test") -> dict``, what the samples ``indices`` are conditioned on, tensors (and states) with a row each;
    ``trajectory(model, samples, out)``, which writes how samples came about; ``unlearnt(trained) -> str``, the setting
    without which a model was trained, by the study's settings ``trained``, and which its samples ask for.
    """

    def prepare(self, raw: Path | None, out: Path) -> None:
        """Raw files to ``train/val/test.safetensors`` and ``meta.json`` (units, split, checksums) in ``out``."""

    def dataset(self, data: Path, split: str) -> Dataset[Any]:
        """The prepared split: ``train``, ``val`` or ``test``."""

    def model(self, data: Path) -> Model:
        """A field or a flow, untrained, with its path, coupling, objective and prior."""

    def write(self, samples: Samples, out: Path) -> None:
        """Samples as files of the field's formats in ``out``; a third argument, ``data``, is the prepared folder."""

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        """Metrics and figures, each beside its reference and its floor."""


def prepared_with(data: Path) -> dict[str, Any]:
    """The settings of the study that made ``data``, as the pipeline keeps them in ``meta.json``; empty outside it."""
    settings: dict[str, Any] = read_meta(data).get("config", {})
    return settings


def read_meta(data: Path) -> dict[str, Any]:
    """What ``prepare`` wrote about ``data`` to ``meta.json``."""
    meta: dict[str, Any] = json.loads((data / "meta.json").read_text())
    return meta


def require_prepared(study: object, data: Path, *names: str) -> None:
    """Refuse ``data`` that were made with another value of a field ``names`` of the study, all of them of its data.

    For a study to call where it is given data. Fields of its model or of its evaluation may differ. Of a field that is
    a section all settings count.
    """
    made = prepared_with(data)
    for name in names:
        value = getattr(study, name)
        own = is_dataclass(value) and not isinstance(value, type)
        prefix, now, then = (f"{name}.", asdict(value), made.get(name) or {}) if own else ("", {name: value}, made)
        for key, asked in json.loads(json.dumps(now, default=str)).items():
            same_file = isinstance(now[key], Path) and then.get(key) and Path(then[key]).resolve() == now[key].resolve()
            if then.get(key, asked) != asked and not same_file:
                raise InputError(
                    f"study.{prefix}{key}={_written(asked)}: {data} was prepared with "
                    f"study.{prefix}{key}={_written(then[key])}; say the same, or prepare other data"
                )


def _written(value: Any) -> str:
    """As on the command line."""
    return f"[{','.join(map(_written, value))}]" if isinstance(value, list) else str(value)
