"""The double well, and products of double wells."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import InputError
from ...rng import Generator, uniform
from .base import ExactTarget
from .grid import Grid

__all__ = ["DoubleWell", "ManyWell"]


@dataclass(frozen=True)
class DoubleWell(ExactTarget):
    """u(x) = a x₁ + b x₁² + c x₁⁴, and + x₂²/2 in two dimensions.

    The constants are those of stochastic normalizing flows (Wu, Köhler & Noé 2020, arXiv:2002.06707): wells at −1.71
    and 1.75, 1.7 kT apart, with 9.9 kT between the deeper one and the barrier.
    """

    dim: int = 2
    a: float = -0.5
    b: float = -6.0
    c: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim not in (1, 2):
            raise InputError(f"dim = {self.dim}: a double well has 1 or 2")
        if not self.c > 0:
            raise InputError(f"c = {self.c}: set it above 0, or the density has no finite mass")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    def potential(self, x: Tensor) -> Tensor:
        u = self._well(x[..., 0])
        return u if self.dim == 1 else u + x[..., 1] ** 2 / 2

    def states(self, x: Tensor) -> dict[str, Tensor]:
        return {"right": x[:, 0] > 0}

    def free_energy(self, x1: Tensor) -> Tensor:
        return self._well(x1) / self.temperature

    @property
    def log_z(self) -> float:
        """By quadrature in x₁, exact to rounding."""
        return self._grid.log_z + (self.dim - 1) * 0.5 * math.log(2 * math.pi * self.temperature)

    def sample(self, n: int, generator: Generator = None) -> Tensor:
        return self.draw(uniform(n, 3, generator=generator, dtype=torch.float64))

    def draw(self, u: Tensor) -> Tensor:
        """Points ``(*, dim)`` from uniform numbers ``u (*, 3)``."""
        well = self._grid.draw(u[..., :2])
        if self.dim == 1:
            return well
        return torch.cat([well, self.temperature**0.5 * torch.special.ndtri(u[..., 2:])], -1)

    def _well(self, x: Tensor) -> Tensor:
        return self.a * x + self.b * x**2 + self.c * x**4

    @cached_property
    def _grid(self) -> Grid:
        reach = 1 + (abs(self.a) + abs(self.b)) / self.c + (100 * self.temperature / self.c) ** 0.25
        return Grid.around(lambda x: self._well(x[:, 0]) / self.temperature, ((-reach, reach),), 1 << 16)


@dataclass(frozen=True)
class ManyWell(ExactTarget):
    """dim/2 independent two-dimensional double wells, 2^(dim/2) modes (Midgley et al. 2022, arXiv:2208.01893).

    Dimensions 2i and 2i+1 are the wells' x₁ and x₂. In 32 dimensions ln Z = 16 (ln 11784.509 + ½ ln 2π) = 164.70.
    """

    dim: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim < 2 or self.dim % 2:
            raise InputError(f"dim = {self.dim}: many wells have an even number of dimensions")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    def potential(self, x: Tensor) -> Tensor:
        return self._well.potential(x.unflatten(-1, (-1, 2))).sum(-1)

    def states(self, x: Tensor) -> dict[str, Tensor]:
        """Share of the wells that are on their right side."""
        return {"right": (x[:, ::2] > 0).double().mean(1)}

    def free_energy(self, x1: Tensor) -> Tensor:
        return self._well.free_energy(x1)

    @property
    def log_z(self) -> float:
        return self.dim // 2 * self._well.log_z

    def sample(self, n: int, generator: Generator = None) -> Tensor:
        u = uniform(n, self.dim // 2, 3, generator=generator, dtype=torch.float64)
        return self._well.draw(u).flatten(1)

    @cached_property
    def _well(self) -> DoubleWell:
        return DoubleWell(temperature=self.temperature)
