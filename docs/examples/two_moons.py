"""A study of your own is one file: a dataclass with five methods. This one learns two moons, or any table of points.

    sciflow run study=docs/examples/two_moons.py --out results/two_moons
    sciflow run study=docs/examples/two_moons.py --out results/mine data.path=mine.csv
"""

from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from sciflow.errors import InputError
from sciflow.manifolds import Euclidean
from sciflow.nets import MLPField
from sciflow.objectives import FlowMatching
from sciflow.paths import GeodesicCost, GeodesicPath, OptimalTransport
from sciflow.rng import normal, step_generator, uniform
from sciflow.study import Evaluation, Metric
from sciflow.training import FieldModel, SafetensorsDataset, Samples, save_tensors


@dataclass
class Table:
    path: Path | None = None  # CSV with a header and two columns; by default two moons are drawn
    rows: int = 4000


@dataclass
class TwoMoons:
    data: Table = field(default_factory=Table)
    width: int = 64
    depth: int = 3
    seed: int = 0

    def prepare(self, raw: Path | None, out: Path) -> None:
        x = two_moons(self.data.rows, self.seed) if self.data.path is None else read_points(self.data.path)
        x = (x - x.mean(0)) / x.std(0)
        for split, part in zip(("val", "test", "train"), x.tensor_split([len(x) // 10, len(x) // 5]), strict=True):
            save_tensors({"x": part}, out / f"{split}.safetensors")

    def dataset(self, data: Path, split: str) -> SafetensorsDataset:
        return SafetensorsDataset(data / f"{split}.safetensors")

    def model(self, data: Path) -> FieldModel:
        plane = Euclidean(2)
        net = MLPField(plane, width=self.width, depth=self.depth)
        coupling = OptimalTransport(GeodesicCost(plane))
        return FieldModel(net, GeodesicPath(plane), coupling, FlowMatching(), plane.prior())

    def write(self, samples: Samples, out: Path) -> None:
        np.savetxt(out / "samples.csv", samples.x.numpy(), delimiter=",", header="x,y", comments="")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        train, test = (self.dataset(data, split).tensors["x"] for split in ("train", "test"))
        noise = normal(*samples.x.shape, generator=step_generator(self.seed, 1))
        metric = Metric(
            energy_distance(samples.x, test), n=len(test),
            reference=energy_distance(train[: len(test)], test), floor=energy_distance(noise, test),
        )
        figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True)
        for axis, x, title in zip(axes, (test, samples.x), ("data", "samples"), strict=True):
            axis.scatter(*x.T, s=4, alpha=0.5)
            axis.set(title=title, xlabel="x", ylabel="y")
        caption = "Held-out data (left) and samples of the flow (right), standardised coordinates."
        return Evaluation({"energy_distance": metric}, {"points": figure}, {"points": caption})


def two_moons(n: int, seed: int) -> torch.Tensor:
    generator = step_generator(seed, 0)
    upper, angle = uniform(n, generator=generator) < 0.5, torch.pi * uniform(n, generator=generator)
    arc = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    moons = torch.where(upper[:, None], arc, torch.tensor([1.0, 0.5]) - arc)
    return moons + 0.05 * normal(n, 2, generator=generator)


def read_points(path: Path) -> torch.Tensor:
    try:
        rows = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2, dtype=np.float32)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; give a CSV with a header and two columns of numbers") from error
    if rows.shape[1] != 2 or len(rows) < 20 or not np.isfinite(rows).all():
        raise InputError(f"{path}: a table of {rows.shape}; give at least 20 rows of two finite numbers")
    return torch.from_numpy(rows)[torch.randperm(len(rows), generator=step_generator(0))]


def energy_distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """2 E|x−y| − E|x−x'| − E|y−y'| (Székely & Rizzo 2013)."""
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())
