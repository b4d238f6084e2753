"""Neal's funnel."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import InputError
from ...rng import Generator, normal
from .base import ExactTarget

__all__ = ["Funnel"]


@dataclass(frozen=True)
class Funnel(ExactTarget):
    """x₀ ~ N(0, scale²), xᵢ | x₀ ~ N(0, exp(x₀)), with ln Z = 0 at temperature 1 (Neal 2003, Ann. Statist. 31, 705)."""

    dim: int = 10
    scale: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim < 2:
            raise InputError(f"dim = {self.dim}: a funnel has 2 or more")
        if not self.scale > 0:
            raise InputError(f"scale = {self.scale}: set it above 0")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    def potential(self, x: Tensor) -> Tensor:
        neck, rest = x[..., 0], x[..., 1:]
        norm = math.log(self.scale) + self.dim / 2 * math.log(2 * math.pi)
        cone = rest.square().sum(-1) * torch.exp(-neck) + (self.dim - 1) * neck
        return norm + (neck / self.scale).square() / 2 + cone / 2

    @property
    def log_z(self) -> float:
        t = self.temperature
        norm = math.log(self.scale) + self.dim / 2 * math.log(2 * math.pi)
        flat = math.log(self.scale) + self.dim / 2 * math.log(2 * math.pi * t)
        return flat - norm / t + self._drift * self._tilt / 2

    @property
    def _tilt(self) -> float:
        """What is left of exp(x₀) to the power (dim − 1)/2 at other temperatures than 1."""
        return (self.dim - 1) / 2 * (1 - 1 / self.temperature)

    @property
    def _drift(self) -> float:
        """Mean of x₀."""
        return self._tilt * self.temperature * self.scale**2

    def sample(self, n: int, generator: Generator = None) -> Tensor:
        z = self.temperature**0.5 * normal(n, self.dim, generator=generator, dtype=torch.float64)
        neck = self._drift + self.scale * z[:, :1]
        return torch.cat([neck, torch.exp(neck / 2) * z[:, 1:]], 1)
