"""The normal distribution of a tangent space, wrapped onto the manifold by its exponential map."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..rng import Generator
from .base import Manifold

__all__ = ["WrappedNormal"]


@dataclass(frozen=True, eq=False)
class WrappedNormal:
    r"""Density of ``exp_mean(u)``, ``u ~ N(0, scale²)`` in the tangent space, with respect to the Riemannian volume.

    .. math:: p(x) = \sum_{u:\ \exp_m u = x} N(u; 0, \sigma^2) / |\det d\exp_m(u)|

    over all preimages that matter: on a compact manifold a wide normal goes round many times. Where a whole sphere
    of tangents arrives at one point (on spheres and rotations at the mean, from the second round on, and at its
    antipode) the density has an integrable pole; at the mean itself the sum leaves these rounds out.

    ``mean`` is one point ``(*point_shape)``, the manifold's ``origin`` by default; ``scale`` is in units of length.

    Raises:
        InputError: on a product, which takes a ``ProductPrior`` of one wrapped normal a factor; on centred particles,
            which take a ``Normal``; with a boundary, which folds the tangent space onto itself; without a logarithm.

    Source: Nagano et al. 2019, arXiv:1902.02992; Falorsi et al. 2019, arXiv:1903.02958.
    """

    manifold: Manifold[Tensor]
    mean: Tensor | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.manifold.point_shape, dict) or getattr(self.manifold, "centered", False):
            raise InputError(f"no WrappedNormal on {self.manifold}: give a ProductPrior of its factors, or a Normal")
        if self.manifold.injectivity_radius == 0 or not self.manifold.has_logmap:
            raise InputError(
                f"no WrappedNormal on {self.manifold}, which has a boundary or no logarithm: give its prior(), or a "
                "density of its own (Dirichlet, PiecewiseLinear)"
            )
        if not 0 < self.scale < math.inf:
            raise InputError(f"WrappedNormal scale={self.scale}: give a positive number")

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Draw ``(*shape, *point_shape)``."""
        if device is None and generator is not None:
            first = generator if isinstance(generator, torch.Generator) else next(iter(generator), None)
            device = first.device if first is not None else None
        mean = self._mean(dtype or torch.get_default_dtype(), device).expand(*shape, *self.manifold.point_shape)
        return self.manifold.expmap(mean, self.scale * self.manifold.randn_tangent(mean, generator))

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density ``(B,)`` of ``x (B, *E, *point_shape)``."""
        mean = self._mean(x.dtype, x.device).expand(x.shape)
        dim = self.manifold.dim
        reach = (9 + math.sqrt(dim)) * self.scale  # beyond it lies e^-40 of the mass
        square, log_det = self.manifold.preimages(mean, self.manifold.logmap(mean, x), reach)
        log_density = torch.logsumexp(-0.5 * square / self.scale**2 - log_det, 0).sum(-1)
        constant = dim * math.log(self.scale * math.sqrt(2 * math.pi))
        return (log_density - constant).flatten(1).sum(1) if log_density.ndim > 1 else log_density - constant

    def _mean(self, dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
        mean = self.manifold.origin() if self.mean is None else self.mean
        return mean.to(dtype=dtype, device=device)
