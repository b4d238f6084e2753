"""Priors: densities on manifolds with respect to the Riemannian volume."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..rng import Generator, normal
from .base import Manifold, Prior, center

__all__ = ["Normal", "ProductPrior", "Uniform"]


@dataclass(frozen=True)
class Normal:
    """Isotropic normal ``N(0, scale²)`` on R^d; ``centered`` puts it on the particles' zero-centre-of-mass subspace.

    Centred states are ``(B, *E, N, d)`` and the density lives on the (N−1)·d dimensional subspace:
    ``log p(x) = −|x|²/2σ² − (N−1)·d·log(σ√(2π))`` (Köhler, Klein, Noé 2020, arXiv 2006.02425).
    """

    d: int
    scale: float = 1.0
    centered: bool = False

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw ``(*shape, d)``."""
        x = self.scale * normal(*shape, self.d, generator=generator, dtype=dtype, device=device)
        return center(x) if self.centered else x

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` of ``x (B, *E, d)``."""
        dims = x[:1].numel()
        if self.centered:
            dims -= dims // x.shape[-2]
        return -0.5 * (x / self.scale).square().flatten(1).sum(-1) - dims * math.log(
            self.scale * math.sqrt(2 * math.pi)
        )


@dataclass(frozen=True)
class Uniform:
    """Uniform density ``1/vol`` on a compact manifold.

    ``noise(*shape, generator=…, dtype=…, device=…)`` draws ambient coordinates whose projection is uniform: normal
    vectors on a sphere, whole turns on a torus. ``log_volume`` is that of one point's manifold.
    """

    manifold: Manifold[Tensor]
    log_volume: float
    noise: Callable[..., Tensor] = normal

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw ``(*shape, *point_shape)``."""
        shape = (*shape, *self.manifold.point_shape)
        return self.manifold.projx(self.noise(*shape, generator=generator, dtype=dtype, device=device))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` of ``x (B, *E, *point_shape)``: a constant."""
        points = math.prod(x.shape[1 : x.ndim - len(self.manifold.point_shape)])
        return x.new_full(x.shape[:1], -points * self.log_volume)


@dataclass(frozen=True)
class ProductPrior:
    """Independent priors, one a factor: ``log p(x) = Σ_k log p_k(x_k)``."""

    factors: dict[str, Prior[Tensor]]

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> dict[str, Tensor]:
        """Draw every factor with the same leading ``shape``."""
        return {
            name: prior.sample(*shape, generator=generator, dtype=dtype, device=device)
            for name, prior in self.factors.items()
        }

    def log_prob(self, x: dict[str, Tensor]) -> Tensor:
        """Log-density ``(B,)``, summed over the factors."""
        return torch.stack([prior.log_prob(x[name]) for name, prior in self.factors.items()]).sum(0)
