"""Where the φ and ψ of a set of chains lie: a density on the torus and the region that holds 98 % of them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..manifolds import wrap
from .conformation import Backbones

__all__ = ["Region"]

_BINS = 72  # of 5°
_WIDTH = math.radians(5)  # of the kernel
_HELD = 0.98


@dataclass(frozen=True)
class Region:
    """``density (72, 72)`` over (φ, ψ) per rad², in bins of 5° from −π; above ``level`` lie 98 % of the residues."""

    density: Tensor
    level: Tensor

    @classmethod
    def of(cls, chains: Backbones) -> "Region":
        """Counts in bins, smoothed by a wrapped normal kernel of 5°."""
        angles, there = chains.phi_psi()
        place = _place(angles[there])
        counts = torch.bincount(place, minlength=_BINS**2).to(angles).view(_BINS, _BINS)
        apart = torch.arange(_BINS).to(angles) * (2 * math.pi / _BINS)
        row = (-0.5 * (wrap(apart) / _WIDTH).square()).exp()
        kernel = torch.stack([row.roll(k) for k in range(_BINS)]) / row.sum()
        density = kernel @ counts @ kernel.mT / counts.sum() * (_BINS / (2 * math.pi)) ** 2
        return cls(density, density.flatten()[place].quantile(1 - _HELD))

    def inside(self, angles: Tensor) -> Tensor:
        """Whether (φ, ψ) ``(…, 2)`` in radians lie in the region."""
        return self.density.flatten()[_place(angles)] >= self.level

    @property
    def area(self) -> float:
        """Its share of the torus: what uniform angles score."""
        return float((self.density >= self.level).double().mean())


def _place(angles: Tensor) -> Tensor:
    row, column = ((angles + math.pi) * (_BINS / (2 * math.pi))).floor().long().remainder(_BINS).unbind(-1)
    return row * _BINS + column
