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
from sciflow.training import FieldModel, SafetensorsDataset, Samples, read_table, save_splits


@dataclass
class Points:
    path: Path | None = None  # CSV with a header and two columns; without one, two moons are drawn
    rows: int = 4000


@dataclass
class TwoMoons:
    data: Points = field(default_factory=Points)
    width: int = 64
    depth: int = 3
    seed: int = 0  # filled from the run's seed

    def prepare(self, raw: Path | None, out: Path) -> None:
        x = read_table(self.data.path) if self.data.path else two_moons(self.data.rows, self.seed)
        if x.shape[1] != 2:
            raise InputError(f"{self.data.path}: {x.shape[1]} columns; give a table of two")
        if (x == x[0]).all(0).any():
            raise InputError(f"{self.data.path}: a column has the same number in every row; give points of a plane")
        save_splits({"x": (x - x.mean(0)) / x.std(0)}, out, self.seed)

    def dataset(self, data: Path, split: str) -> SafetensorsDataset:
        return SafetensorsDataset(data / f"{split}.safetensors")

    def model(self, data: Path) -> FieldModel:
        plane = Euclidean(2)
        coupling = OptimalTransport(GeodesicCost(plane))
        net = MLPField(plane, width=self.width, depth=self.depth)
        return FieldModel(net, GeodesicPath(plane), coupling, FlowMatching(), plane.prior())

    def write(self, samples: Samples, out: Path) -> None:
        np.savetxt(out / "samples.csv", samples.x.numpy(), delimiter=",", header="x,y", comments="")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        train, test = (self.dataset(data, split).tensors["x"] for split in ("train", "test"))
        noise = normal(*samples.x.shape, generator=step_generator(self.seed, 1))
        value, floor, reference = (energy_distance(x, test) for x in (samples.x, noise, train))
        figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True)
        for axis, x, title in zip(axes, (test, samples.x), ("held-out data", "samples"), strict=True):
            axis.scatter(*x.T, s=4, alpha=0.5)
            axis.set(title=title, xlabel="x", ylabel="y")
        caption = "Held-out data (left) and samples of the flow (right), in units of the standard deviation."
        metric = Metric(value, n=len(samples.x), floor=floor, reference=reference)
        return Evaluation({"energy_distance": metric}, {"points": figure}, {"points": caption})


def two_moons(n: int, seed: int) -> torch.Tensor:
    generator = step_generator(seed, 0)
    angle = torch.pi * uniform(n, generator=generator)
    arc = torch.stack([torch.cos(angle), torch.sin(angle)], 1)
    lower = uniform(n, 1, generator=generator) < 0.5
    return torch.where(lower, torch.tensor([1.0, 0.5]) - arc, arc) + 0.05 * normal(n, 2, generator=generator)


def energy_distance(x: torch.Tensor, y: torch.Tensor) -> float:
    """2 E|x-y| - E|x-x'| - E|y-y'| (Székely & Rizzo 2013)."""
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())
