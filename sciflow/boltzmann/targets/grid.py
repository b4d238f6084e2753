"""Integrals and draws of densities in one and two dimensions, on a grid."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

__all__ = ["Grid"]

Box = tuple[tuple[float, float], ...]

_COARSE = 256  # cells a dimension of the search for the box
_NEGLIGIBLE = 60.0  # kT above the lowest energy, where no mass is left: e^-60 < 1e-26


@dataclass(frozen=True)
class Grid:
    """A density exp(−energy(x)) on a box outside which its mass is below rounding.

    ``energy`` takes points ``(B, d)``, d ≤ 2. The midpoint rule converges faster than any power of the cell width for
    an analytic density that vanishes at the walls with its derivatives.
    """

    energy: Callable[[Tensor], Tensor]
    box: Box
    cells: int

    @classmethod
    def around(cls, energy: Callable[[Tensor], Tensor], box: Box, cells: int) -> Self:
        """The grid on the part of ``box`` that has mass."""
        coarse = cls(energy, box, _COARSE)
        inside = coarse.centres[coarse.log_mass > coarse.log_mass.max() - _NEGLIGIBLE]
        low, high = inside.amin(0) - coarse.width, inside.amax(0) + coarse.width
        return cls(energy, tuple(zip(low.tolist(), high.tolist(), strict=True)), cells)

    @property
    def width(self) -> Tensor:
        low, high = torch.tensor(self.box, dtype=torch.float64).T
        return (high - low) / self.cells

    @cached_property
    def centres(self) -> Tensor:
        axes = [
            low + (high - low) * (torch.arange(self.cells, dtype=torch.float64) + 0.5) / self.cells
            for low, high in self.box
        ]
        return torch.cartesian_prod(*axes).reshape(-1, len(axes))

    @cached_property
    def log_mass(self) -> Tensor:
        """ln of the integral over each cell, by the midpoint rule."""
        return -self.energy(self.centres) + self.width.log().sum()

    @cached_property
    def log_z(self) -> float:
        return float(self.log_mass.logsumexp(0))

    def draw(self, u: Tensor) -> Tensor:
        """Points ``(*, d)`` from uniform numbers ``u (*, 1 + d)``: the cell by inverse CDF, then uniform in the cell.

        Averages of smooth functions are off by the square of the cell width.
        """
        cell = torch.searchsorted(self._cumulative.to(u.device), u[..., 0].contiguous())
        cell = cell.clamp(max=len(self.centres) - 1)  # 1 by rounding only
        return self.centres.to(u.device)[cell] + (u[..., 1:] - 0.5) * self.width.to(u.device)

    @cached_property
    def _cumulative(self) -> Tensor:
        return self.log_mass.softmax(0).cumsum(0)
