"""Mixtures of Gaussians in the plane and beyond."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import InputError
from ...rng import Generator, uniform
from .base import ExactTarget

__all__ = ["GaussianMixture"]


@dataclass(frozen=True)
class GaussianMixture(ExactTarget):
    """p(x) = 1/K Σₖ N(x; μₖ, σ²) with ln Z = 0 at temperature 1 (Midgley et al. 2022, arXiv:2208.01893: K = 40).

    The means are uniform in [−extent, extent]^dim, drawn in float32 by torch's CPU generator seeded with ``seed``; the
    standard deviation σ is softplus(1).
    """

    dim: int = 2
    modes: int = 40
    extent: float = 40.0
    scale: float = 1.3132616875182228
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("dim", "modes", "extent", "scale"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} = {getattr(self, name)}: set it above 0")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @cached_property
    def means(self) -> Tensor:
        """Centres ``(modes, dim)`` in float64."""
        generator = torch.Generator().manual_seed(self.seed)
        return (2 * uniform(self.modes, self.dim, generator=generator, dtype=torch.float32).double() - 1) * self.extent

    def potential(self, x: Tensor) -> Tensor:
        norm = math.log(self.modes) + self.dim * math.log(2 * math.pi * self.scale**2) / 2
        square = (x[:, None] - self.means.to(x)).square().sum(-1)
        return norm - torch.logsumexp(-square / (2 * self.scale**2), 1)

    @property
    def log_z(self) -> float | None:
        return 0.0 if self.temperature == 1 else None

    def states(self, x: Tensor) -> dict[str, Tensor]:
        """Which centre is the nearest."""
        nearest = self.modes_of(x)
        return {f"mode_{k}": nearest == k for k in range(self.modes)}

    def modes_of(self, x: Tensor) -> Tensor:
        """Index ``(B,)`` of the nearest centre."""
        return torch.cdist(x.double(), self.means.to(x.device)).argmin(1)

    def sample(self, n: int, generator: Generator = None) -> Tensor:
        """Exact at temperature 1."""
        if self.temperature != 1:
            raise InputError(f"temperature = {self.temperature}: a mixture is drawn exactly at 1 only")
        u = uniform(n, 1 + self.dim, generator=generator, dtype=torch.float64)
        mode = (u[:, 0] * self.modes).long()
        return self.means.to(u.device)[mode] + self.scale * torch.special.ndtri(u[:, 1:])
