"""Symmetric positive definite matrices: mixtures of known density, or one's own covariances or diffusion tensors."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import SPD, Hyperbolic, WrappedNormal
from ..training import Samples
from ..training.tables import find_columns, numbers, read_rows
from .density_figures import calibration, histograms
from .mixtures import Mixture, MixtureStudy, refuse
from .spd_figures import glyphs, shape, shape_discs, shapes
from .study import Drawing, Splits

__all__ = ["SPDMatrices"]

SPREAD = 1.0  # of the means around the identity
ASYMMETRIC = 1e-3  # of the largest entry
SINGULAR = 1e-6  # of the largest eigenvalue; single precision sees no smaller one


@dataclass
class SPDMatrices(MixtureStudy):
    """Covariances, diffusion tensors, metric tensors. A table has columns s11, s12, … snn: all of the entries, or those
    of the upper triangle, in any unit: its mean size, a congruence and so an isometry, is taken off and put back.

    Attributes:
        n: rows of a matrix.
    """

    n: int = 2

    def __post_init__(self) -> None:
        if not 2 <= self.n <= 9:
            raise InputError(f"study.n={self.n}: matrices of 2 to 9 rows")

    @property
    def manifold(self) -> SPD:
        return SPD(self.n)

    def means(self, generator: torch.Generator) -> Tensor:
        around = WrappedNormal(self.manifold, scale=SPREAD)
        return around.sample(self.data.components, generator=generator, dtype=torch.float64)

    @cached_property
    def size(self) -> float:
        """Geometric mean of all eigenvalues of the user's table; 1 without one."""
        if self.data.path is None:
            return 1.0
        return math.exp(float(torch.logdet(self._table(self.data.path)).mean()) / self.n)

    def read_table(self, path: Path) -> Tensor:
        return (self._table(path) / self.size).float()

    def columns(self, x: Tensor) -> dict[str, np.ndarray]:
        table = (x.double() * self.size).numpy()
        return {f"s{i + 1}{j + 1}": table[:, i, j] for i in range(self.n) for j in range(i, self.n)}

    def draw(self, samples: Samples, splits: Splits) -> dict[str, Drawing]:
        plane = {"disc": shape_discs(samples, splits, self.shape_density)} if self.n == 2 else {}
        return {
            **plane,
            "glyphs": glyphs(samples, splits),
            "shapes": histograms(shapes, samples, splits, self.truth),
            **calibration(samples, splits, self.log_density),
        }

    @property
    def shape_density(self) -> Mixture | None:
        """Of 2×2 matrices, the density of :func:`shape`, size integrated out: an isotropic normal splits into both."""
        if self.data.path is not None:
            return None
        means, weights = self.modes
        scale = self.data.scale / math.sqrt(2)  # lengths in the plane of shapes are √2 times those of curvature −1
        return Mixture([WrappedNormal(Hyperbolic(2), mean, scale) for mean in shape(means)], weights)

    def _table(self, path: Path) -> Tensor:
        header, rows = read_rows(path)
        known = [name.lower() for name in header]
        if f"s{self.n + 1}{self.n + 1}" in known:
            raise InputError(f"{path}: a column s{self.n + 1}{self.n + 1} in {self.n}×{self.n} matrices; say study.n=…")
        whole = "s21" in known
        places = [(i, j) for i in range(self.n) for j in range(0 if whole else i, self.n)]
        found = find_columns(path, header, [[f"s{i + 1}{j + 1}"] for i, j in places])
        matrices = np.zeros((len(rows), self.n, self.n))
        for (i, j), column in zip(places, numbers(path, header, rows, found).T, strict=True):
            matrices[:, i, j] = column
            if not whole:
                matrices[:, j, i] = column
        _check(path, matrices)
        return torch.from_numpy((matrices + matrices.transpose(0, 2, 1)) / 2)


def _check(path: Path, matrices: np.ndarray) -> None:
    gap = abs(matrices - matrices.transpose(0, 2, 1)).max((1, 2))
    refuse(
        path,
        gap > ASYMMETRIC * abs(matrices).max((1, 2)),
        lambda i: f"entries across differ by {gap[i]:.3g}; give symmetric matrices",
    )
    eigenvalues = np.linalg.eigvalsh(matrices)
    low, high = eigenvalues[:, 0], eigenvalues[:, -1]
    refuse(
        path,
        low <= SINGULAR * high,
        lambda i: f"eigenvalues from {low[i]:.3g} to {high[i]:.3g}; give positive definite matrices",
    )
