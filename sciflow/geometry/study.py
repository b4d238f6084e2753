"""What every study on a manifold shares: a table in, a density and samples out, both beside their floors."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ..errors import InputError
from ..manifolds import Manifold
from ..rng import step_generator
from ..study import Evaluation, Metric
from ..training import Model, SafetensorsDataset, Samples, load_tensors
from ..training.tables import write_table
from .floors import COMPARED, Floors, energy_distance, floors, nearest
from .split import Split, leaks

__all__ = ["Drawing", "ManifoldStudy", "Points", "Splits", "raw_file"]


@dataclass(frozen=True)
class Points:
    """Points of a table ``x (N, *point_shape)``, and the group that each row belongs to, where there are groups."""

    x: Tensor
    groups: Sequence[str] | None = None


@dataclass(frozen=True)
class Splits:
    """Prepared data, ``(N, *point_shape)`` each."""

    train: Tensor
    val: Tensor
    test: Tensor


@dataclass(frozen=True)
class Drawing:
    """A figure and what is printed under it."""

    figure: Figure
    caption: str


@dataclass
class ManifoldStudy(ABC):
    """Learn the density of points on a manifold, and draw from it. A study says where points come from and how they
    are looked at."""

    split: Split = field(default_factory=Split)
    architecture: Any = None
    seed: int = 0

    @property
    @abstractmethod
    def manifold(self) -> Manifold[Any]:
        """Where the points live."""

    @abstractmethod
    def read(self, raw: Path | None) -> Points:
        """The user's table, the fetched data set or a synthetic one."""

    @abstractmethod
    def columns(self, x: Tensor) -> dict[str, np.ndarray]:
        """Points in the units of the user's table, a column each."""

    @abstractmethod
    def draw(self, samples: Samples, splits: Splits) -> dict[str, Drawing]:
        """Figures by name, each showing samples beside held-out data."""

    def published(self) -> float | None:
        """Test NLL in print for these data, if any."""
        return None

    def log_density(self, x: Tensor) -> Tensor | None:
        """The true log-density ``(N,)`` where the data are synthetic."""
        return None

    def floors(self, splits: Splits) -> Floors:
        """What the held-out likelihood is printed beside."""
        return floors(self.manifold, splits.train, splits.val, splits.test)

    def prepare(self, raw: Path | None, out: Path) -> None:
        points = self.read(raw)
        meta = self.split.save(points.x, points.groups, self.seed, out)
        (out / "meta.json").write_text(json.dumps({"manifold": str(self.manifold), **meta}, indent=1))

    def dataset(self, data: Path, split: str) -> SafetensorsDataset:
        return SafetensorsDataset(data / f"{split}.safetensors")

    def model(self, data: Path) -> Model:
        if self.architecture is None:
            raise InputError("model: none chosen; say model=geodesic_flow")
        model: Model = self.architecture.build(self.manifold)
        return model

    def write(self, samples: Samples, out: Path) -> None:
        """samples.csv in the units of the user's table, with the log-density where it was followed."""
        assert isinstance(samples.x, Tensor)
        known = {} if samples.logq is None else {"logq": samples.logq.numpy()}
        write_table({**self.columns(samples.x), **known}, out / "samples.csv")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        splits = Splits(*(load_tensors(data / f"{name}.safetensors")["x"] for name in ("train", "val", "test")))
        drawings = self.draw(samples, splits)
        return Evaluation(
            {**self._likelihoods(samples, splits), **self._divergence(samples), **self._distances(samples, splits)},
            {name: drawing.figure for name, drawing in drawings.items()},
            {name: drawing.caption for name, drawing in drawings.items()},
        )

    def _likelihoods(self, samples: Samples, splits: Splits) -> dict[str, Metric]:
        """Held-out NLL of the flow beside kernels on the training data, all in nats by the Riemannian volume."""
        n = len(splits.test)
        beside = self.floors(splits)
        truth = self.log_density(splits.test)
        reference = None if truth is None else -float(truth.mean())
        metrics = {
            "nll_prior": Metric(beside.prior, n=n, unit="nat"),
            "nll_kde": Metric(beside.kde, n=n, unit="nat"),
            "nll_kde_mixture": Metric(beside.mixture, n=n, unit="nat"),
            "nll_kde_widths": Metric(beside.widths, n=n, unit="nat"),
        }
        if samples.test_logp is None or samples.test_logp_error is None:
            return metrics
        nll = -samples.test_logp.double()
        error = float(nll.std()) / n**0.5
        gain = Metric(float(nll.mean()), error, n, beside.widths, reference, "nat", self.published())
        tolerance = Metric(float(samples.test_logp_error.mean()), n=n, unit="nat")
        if truth is not None and reference is not None:  # point by point, which removes the spread of the data
            excess = truth.double() + nll
            spread = float(excess.std()) / n**0.5
            metrics["nll_excess"] = Metric(float(excess.mean()), spread, n, beside.widths - reference, 0.0, "nat")
        return {"nll": gain, **metrics, "nll_integration_error": tolerance}

    def _divergence(self, samples: Samples) -> dict[str, Metric]:
        """``KL(q‖p) = E_q[log q − log p]`` from the true density p, of the samples and (its floor) of the prior."""
        assert isinstance(samples.x, Tensor)
        truth = self.log_density(samples.x)
        if truth is None or samples.logq is None or not truth.isfinite().all():  # infinite where p vanishes
            return {}
        gap, n = samples.logq.double() - truth.double(), len(truth)
        noise = self.manifold.random(n, generator=step_generator(self.seed, 2), dtype=samples.x.dtype)
        beside = self.log_density(noise)
        assert beside is not None
        floor = float((self.manifold.prior().log_prob(noise).double() - beside.double()).mean())
        return {"kl": Metric(float(gap.mean()), float(gap.std()) / n**0.5, n, floor, 0.0, "nat")}

    def _distances(self, samples: Samples, splits: Splits) -> dict[str, Metric]:
        assert isinstance(samples.x, Tensor)
        x, n = samples.x.to(splits.test), min(len(samples.x), len(splits.test))
        noise = self.manifold.random(len(x), generator=step_generator(self.seed, 1), dtype=x.dtype)
        gap, floor, reference = (energy_distance(self.manifold, y, splits.test) for y in (x, noise, splits.train))
        copies, fresh = (float(nearest(self.manifold, y, splits.train).median()) for y in (x, splits.test))
        return {
            "energy_distance": Metric(gap, n=min(n, COMPARED), floor=floor, reference=reference),
            "nearest_train": Metric(copies, n=n, reference=fresh),
            "test_rows_in_train": Metric(leaks(splits.test, splits.train), n=len(splits.test), reference=0.0),
        }


def raw_file(raw: Path | None, name: str, file: str) -> Path:
    """A file of a fetched data set. Raises InputError, with the command that fetches it."""
    path = (raw or Path("data/raw")) / name / file
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; run `sciflow fetch {name}` first, or give your own with data.path=FILE"
        )
    return path
