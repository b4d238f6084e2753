"""Rotations: mixtures of known density on SO(3), or one's own quaternions or matrices."""

from dataclasses import dataclass, field
from itertools import permutations, product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import SO3
from ..manifolds.quaternion import from_matrix
from ..training import Samples
from ..training.tables import find_columns, numbers, read_rows
from .density_figures import calibration, histograms
from .mixtures import MixtureStudy, MixtureTable, refuse
from .rotation_figures import angles, axis_density, mollweide
from .study import Drawing, Splits

__all__ = ["RotationTable", "Rotations"]

QUATERNION = ("w", "x", "y", "z")
MATRIX = tuple(f"r{i}{j}" for i in (1, 2, 3) for j in (1, 2, 3))
MODES = ("random", "cube")
LOOSE = 0.01  # a table rounded to two digits still holds rotations


@dataclass
class RotationTable(MixtureTable):
    """Columns w, x, y, z (quaternions of any sign), or r11, r12, … r33 (matrices, row by row).

    Attributes:
        modes: of the mixture: ``random``, or ``cube``: the 24 rotations after which a cube looks the same.
    """

    modes: str = "random"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.modes not in MODES:
            raise InputError(f"data.modes={self.modes!r}: use one of {', '.join(MODES)}")


@dataclass
class Rotations(MixtureStudy):
    """Orientations: poses of objects and of molecules, crystal grains, attitudes."""

    data: RotationTable = field(default_factory=RotationTable)

    @property
    def manifold(self) -> SO3:
        return SO3()

    def means(self, generator: torch.Generator) -> Tensor:
        if self.data.modes == "cube":
            return cube()
        return self.manifold.random(self.data.components, generator=generator, dtype=torch.float64)

    def read_table(self, path: Path) -> Tensor:
        header, rows = read_rows(path)
        as_matrix = "r11" in [name.lower() for name in header]
        wanted = [[name] for name in (MATRIX if as_matrix else QUATERNION)]
        values = numbers(path, header, rows, find_columns(path, header, wanted))
        return _positive(_matrices(path, values) if as_matrix else _quaternions(path, values)).float()

    def columns(self, x: Tensor) -> dict[str, np.ndarray]:
        return dict(zip(QUATERNION, _positive(x).numpy().T, strict=True))

    def draw(self, samples: Samples, splits: Splits) -> dict[str, Drawing]:
        return {
            "mollweide": mollweide(samples, splits, self.log_density),
            "axis": axis_density(samples, splits, self.log_density),
            "angles": histograms(angles, samples, splits, self.truth),
            **calibration(samples, splits, self.log_density),
        }


def cube() -> Tensor:
    """The 24 rotations of a cube, ``(24, 4)``, float64: signed permutations of the axes that are no reflections."""
    axes = torch.eye(3, dtype=torch.float64)
    signs = torch.tensor(list(product((1.0, -1.0), repeat=3)), dtype=torch.float64)
    matrices = torch.cat([signs[:, None] * axes[list(order)] for order in permutations(range(3))])
    return from_matrix(matrices[torch.linalg.det(matrices) > 0])


def _positive(q: Tensor) -> Tensor:
    return torch.where(q[:, :1] < 0, -q, q)


def _quaternions(path: Path, values: np.ndarray) -> Tensor:
    norm = np.linalg.norm(values, axis=1)
    refuse(path, abs(norm - 1) > LOOSE, lambda i: f"a quaternion of norm {norm[i]:.4g}; divide it by its norm")
    return torch.from_numpy(values / norm[:, None])


def _matrices(path: Path, values: np.ndarray) -> Tensor:
    matrices = values.reshape(-1, 3, 3)
    off = abs(matrices.transpose(0, 2, 1) @ matrices - np.eye(3)).max((1, 2))
    refuse(path, off > LOOSE, lambda i: f"RᵀR is {off[i]:.2g} off the identity; give orthonormal rotation matrices")
    refuse(path, np.linalg.det(matrices) < 0, lambda i: "a reflection (determinant −1); give rotation matrices")
    return from_matrix(torch.from_numpy(matrices))
