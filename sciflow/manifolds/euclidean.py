"""Flat space, and the subspace of particle systems with their centre of mass at the origin."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Manifold, center
from .pairs import EXACT
from .priors import Normal

__all__ = ["Euclidean"]

_SHORT = 16  # coordinates up to which differences are as fast as one matrix product


@dataclass(frozen=True)
class Euclidean(Manifold[Tensor]):
    """R^d. With ``centered`` the last event dimension holds N particles, ``(B, *E, N, d)``, of zero mean.

    A centred state has (N−1)·d degrees of freedom: the density of its prior, and of every flow that starts from it,
    is the one on that subspace. ``dim`` counts the d coordinates of one particle.
    """

    d: int
    centered: bool = False

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.d,)

    @property
    def dim(self) -> int:
        return self.d

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return x + u

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return y - x

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        return u

    def projx(self, x: Tensor) -> Tensor:
        return center(x) if self.centered else x

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return center(u) if self.centered else u

    def squared_distances(self, x: Tensor, y: Tensor) -> Tensor:
        a, b = x.flatten(1), y.flatten(1)
        if a.shape[1] <= _SHORT:
            return torch.cdist(a, b, compute_mode=EXACT).square()
        a, b = a.double(), b.double()  # where the norms, which cancel, leave single precision whole
        norms = a.square().sum(1)[:, None] + b.square().sum(1)
        return torch.addmm(norms, a, b.T, alpha=-2).clamp_min(0.0).to(x.dtype)

    def cut_locus(self, x0: Tensor, x1: Tensor) -> Tensor:
        return torch.zeros_like((x0 - x1)[..., 0], dtype=torch.bool)

    def prior(self) -> Normal:
        return Normal(self.d, centered=self.centered)
