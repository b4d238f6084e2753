"""Symmetric positive definite matrices."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import cholesky, solve_triangular

from ..rng import Generator, normal
from .arcs import log_sinhc
from .base import Manifold, scale
from .symmetric import expm1, log1p, symmetrize
from .wrapped import WrappedNormal

__all__ = ["SPD"]


@dataclass(frozen=True)
class SPD(Manifold[Tensor]):
    """Symmetric positive definite n×n matrices ``(…, n, n)`` with the affine-invariant metric ``tr(X⁻¹U X⁻¹V)``.

    Congruences ``X ↦ AXAᵀ`` are isometries, so the Cholesky factor of ``X = LLᵀ`` brings every operation to the
    identity as well as the square root would: ``exp_X(U) = L exp(L⁻¹UL⁻ᵀ) Lᵀ``. Exponential and logarithm are taken
    of differences (``expm1``, ``log1p``), which keeps close matrices precise and ``dist(X, X)`` zero.

    A congruence by X changes the volume of matrix entries: ``√det g = (det X)^{−(n+1)/2}``.

    Source: Pennec, Fillard, Ayache 2006; Moakher 2005.
    """

    n: int

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.n, self.n)

    @property
    def dim(self) -> int:
        return self.n * (self.n + 1) // 2

    def origin(self) -> Tensor:
        return torch.eye(self.n, dtype=torch.float64)

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        lower = _root(x)
        return x + _congruence(lower, expm1(_whiten(lower, u))).to(u.dtype)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        lower, log = _logarithm(x, y)
        return _congruence(lower, log).to(y.dtype)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``L exp(tS) Lᵀ`` and ``L S exp(tS) Lᵀ``, with ``S = log(L⁻¹ x1 L⁻ᵀ)`` and ``x0 = LLᵀ``."""
        lower, log = _logarithm(x0, x1)
        grown = expm1(scale(t, log))
        x_t = x0 + _congruence(lower, grown).to(x1.dtype)
        return x_t, _congruence(lower, log + log @ grown).to(x1.dtype)

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        log = _logarithm(x, y)[1].to(y.dtype)
        square = (log * log).flatten(-2).sum(-1)
        apart = square != 0
        return torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        lower = _root(x)
        half, moved = expm1(_whiten(lower, w) / 2), _whiten(lower, u)
        moved = moved + half @ moved  # (I + half) moved (I + half)
        return _congruence(lower, moved + moved @ half).to(u.dtype)

    def projx(self, x: Tensor) -> Tensor:
        """The symmetric part, its eigenvalues raised to a floor of a few roundings of the largest."""
        x = symmetrize(x)
        with torch.no_grad():
            eigenvalues, vectors = torch.linalg.eigh(x)
            rounding = torch.finfo(x.dtype)
            floor = 8 * rounding.eps * eigenvalues.abs().amax(-1, keepdim=True) + rounding.tiny
            lift = (vectors * (floor - eigenvalues).relu()[..., None, :]) @ vectors.mT
        return x + lift

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return symmetrize(u)

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        lower = cholesky(x)
        return (_whiten(lower, u) * _whiten(lower, v)).flatten(-2).sum(-1)

    def log_volume_rate(self, x: Tensor, u: Tensor) -> Tensor:
        return -(self.n + 1) / 2 * _trace(_whiten(cholesky(x), u))

    def log_det_exp(self, x: Tensor, u: Tensor) -> Tensor:
        """``Σ_{i<j} log sinhc((λ_i − λ_j)/2)`` of the eigenvalues of ``L⁻¹UL⁻ᵀ``."""
        eigenvalues = torch.linalg.eigvalsh(symmetrize(_whiten(cholesky(x), u)))
        i, j = torch.triu_indices(self.n, self.n, 1, device=x.device)
        return log_sinhc((eigenvalues[..., i] - eigenvalues[..., j]).square() / 4).sum(-1)

    def coordinates(self, x: Tensor) -> Tensor:
        """The n(n+1)/2 entries of ``log X``, those off the diagonal times √2: normal coordinates at the identity.

        The prior is the standard normal there, scales of X add instead of multiplying, and all of their space is
        used: the entries of X are bound to a cone, near whose boundary much happens in little room.
        """
        log = log1p(x - torch.eye(self.n, dtype=x.dtype, device=x.device))
        i, j = torch.triu_indices(self.n, self.n, 1, device=x.device)
        return torch.cat([log.diagonal(dim1=-2, dim2=-1), math.sqrt(2) * log[..., i, j]], -1)

    def cut_locus(self, x0: Tensor, x1: Tensor) -> Tensor:
        return torch.zeros_like((x0 - x1)[..., 0, 0], dtype=torch.bool)

    def prior(self) -> WrappedNormal:
        return WrappedNormal(self)

    def tangent(self, x: Tensor, w: Tensor) -> Tensor:
        """``L sym(W) Lᵀ``, as long at X as W at the identity; near the boundary W itself would leave the cone."""
        return _congruence(cholesky(x), symmetrize(w))

    def randn_tangent(self, x: Tensor, generator: Generator = None) -> Tensor:
        return self.tangent(x, normal(*x.shape, generator=generator, dtype=x.dtype, device=x.device))


def _root(x: Tensor) -> Tensor:
    """The Cholesky factor L of ``X = LLᵀ`` in double precision: ``L⁻¹YL⁻ᵀ`` has the condition numbers of X times Y."""
    return cholesky(x.double())


def _logarithm(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """L of ``X = LLᵀ``, and ``log(L⁻¹YL⁻ᵀ)``."""
    lower = _root(x)
    return lower, log1p(_whiten(lower, y.double() - x.double()))


def _whiten(lower: Tensor, u: Tensor) -> Tensor:
    """``L⁻¹ U L⁻ᵀ`` of ``L = lower``."""
    u = u.to(lower.dtype)
    return solve_triangular(lower.mT, solve_triangular(lower, u, upper=False), upper=True, left=False)


def _congruence(lower: Tensor, u: Tensor) -> Tensor:
    """``L U Lᵀ``, symmetric to the last digit."""
    return symmetrize(lower @ u @ lower.mT)


def _trace(u: Tensor) -> Tensor:
    return u.diagonal(dim1=-2, dim2=-1).sum(-1)
