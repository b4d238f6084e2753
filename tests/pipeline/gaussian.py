"""A study small enough for every law of the pipeline: a Gaussian whose mean is learnt.

It dies where KILL_IN says, by the signal KILL_BY.
"""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from sciflow.errors import InputError
from sciflow.rng import Generator, normal, step_generator
from sciflow.study import Evaluation, Metric
from sciflow.training import Model, SafetensorsDataset, Samples, save_tensors


class Gaussian(Model):
    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(2))
        self.calls = 0

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        if self.training:
            self._die("loss", at=30)
        noise = normal(*batch["x"].shape, generator=generator)
        return (batch["x"] + 0.1 * noise - self.mean).square().sum(-1)

    def sample(
        self, n: int, cond: dict[str, Tensor] | None = None, generator: Generator = None, *, steps: int = 1
    ) -> Samples:
        self._die("sample", at=3)
        z = normal(n, 2, generator=generator)
        return Samples(self.mean + z, -0.5 * z.square().sum(-1), steps, x0=z)

    def log_prob(self, x: Tensor, cond: dict[str, Tensor] | None = None, tolerance: float = 0.0) -> Tensor:
        return tolerance - 0.5 * (x - self.mean).square().sum(-1)

    def _die(self, where: str, at: int) -> None:
        self.calls += 1
        if os.environ.get("KILL_IN") == where and self.calls == at:
            os.kill(os.getpid(), signal.Signals[os.environ["KILL_BY"]])


@dataclass
class Table:
    path: Path | None = None
    rows: int = 60


@dataclass
class Evaluating:
    value: float = 1.0


@dataclass
class GaussianStudy:
    data: Table = field(default_factory=Table)
    evaluation: Evaluating = field(default_factory=Evaluating)
    seed: int = 0

    def prepare(self, raw: Path | None, out: Path) -> None:
        if self.data.path is None:
            x = 2 + normal(self.data.rows, 2, generator=step_generator(self.seed))
        else:
            try:
                x = torch.from_numpy(np.loadtxt(self.data.path, delimiter=",", skiprows=1, dtype=np.float32))
            except ValueError as error:
                raise InputError(f"{self.data.path}: {error}; give a table of numbers") from error
        for split, part in zip(("train", "val", "test"), x.tensor_split(3), strict=True):
            save_tensors({"x": part}, out / f"{split}.safetensors")
        (out / "meta.json").write_text(json.dumps({"units": "none"}))

    def dataset(self, data: Path, split: str) -> SafetensorsDataset:
        return SafetensorsDataset(data / f"{split}.safetensors")

    def model(self, data: Path) -> Gaussian:
        return Gaussian()

    def write(self, samples: Samples, out: Path) -> None:
        np.savetxt(out / "samples.csv", samples.x.numpy(), delimiter=",", header="x,y", comments="")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        figure = Figure()
        figure.subplots().scatter(*samples.x.T)
        metric = Metric(self.evaluation.value, error=0.5, n=len(samples.x), reference=2.0, floor=0.0, unit="kT")
        return Evaluation({"mean": metric}, {"cloud": figure}, {"cloud": "The samples."})
