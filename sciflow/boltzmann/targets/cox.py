"""The log-Gaussian Cox process."""

import csv
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ...errors import InputError
from ...rng import normal, step_generator
from .base import Target

__all__ = ["LogGaussianCox"]


@dataclass(frozen=True)
class LogGaussianCox(Target):
    r"""Posterior of the log-intensity ``x (B, grid²)`` of a point process in the unit square.

    .. math:: u(x) = -\log N(x; μ, K) - \sum_m (x_m y_m - e^{x_m}/\text{grid}^2), \qquad
              K_{mn} = σ² \exp(-|m - n| / (β\,\text{grid})), \quad μ = \log 126 - σ²/2, \quad β = 1/33, \quad σ² = 1.91

    with the counts y of the points in the cells (Møller, Syversveen & Waagepetersen 1998, Scand. J. Stat. 25, 451; grid
    = 40 in the literature of samplers). The data of that literature, 126 Finnish pines, do not come with this package:
    ``points`` is your own table of x, y in [0, 1]; without one, a field is drawn from the prior and points from it,
    both named by ``seed``, and no published evidence applies. ln Z is not known, and leaves out the factorials of the
    counts.
    """

    grid: int = 40
    points: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid < 1:
            raise InputError(f"grid = {self.grid}: set it to 1 or more")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.grid**2,)

    @property
    def mean(self) -> float:
        return math.log(126) - _VARIANCE / 2

    @cached_property
    def root(self) -> Tensor:
        """Lower Cholesky factor ``(grid², grid²)`` of the prior's covariance, float64: x = mean + root z."""
        axis = torch.arange(self.grid, dtype=torch.float64)
        cells = torch.cartesian_prod(axis, axis)
        return torch.linalg.cholesky(_VARIANCE * torch.exp(-torch.cdist(cells, cells) / (_BETA * self.grid)))

    @cached_property
    def counts(self) -> Tensor:
        """Points in each cell, ``(grid²,)``."""
        if self.points is None:
            generator = step_generator(self.seed)
            field = self.mean + self.root @ normal(self.grid**2, generator=generator, dtype=torch.float64)
            return torch.poisson(field.exp() / self.grid**2, generator=generator)
        cell = (_read(Path(self.points)) * self.grid).long().clamp(max=self.grid - 1)
        return torch.bincount(cell[:, 0] * self.grid + cell[:, 1], minlength=self.grid**2).double()

    def potential(self, x: Tensor) -> Tensor:
        root, counts = self.root.to(x), self.counts.to(x)
        z = torch.linalg.solve_triangular(root, (x - self.mean).mT, upper=False)
        norm = self.grid**2 / 2 * math.log(2 * math.pi) + root.diagonal().log().sum()
        return norm + z.square().sum(0) / 2 - (x * counts - x.exp() / self.grid**2).sum(-1)


_VARIANCE = 1.91
_BETA = 1 / 33


def _read(path: Path) -> Tensor:
    """Points ``(n, 2)`` of a table with a header and two columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[float(value) for value in row[:2]] for row in list(csv.reader(file))[1:] if row]
        points = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2)
    except (OSError, ValueError) as error:
        raise InputError(f"points = {path}: {error}; give a table of x, y with a header") from error
    if not len(points) or points.min() < 0 or points.max() > 1:
        raise InputError(f"points = {path}: {len(points)} points; give some, with x and y from 0 to 1")
    return points
