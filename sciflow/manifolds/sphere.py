"""The unit sphere."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .arcs import arc_over_sine, cos_sinc
from .base import Manifold
from .priors import Uniform

__all__ = ["Sphere"]


@dataclass(frozen=True)
class Sphere(Manifold[Tensor]):
    """S^d as unit vectors of R^{d+1}; tangents are ambient vectors orthogonal to the point.

    ``exp_x(u) = cos|u| x + sin|u| u/|u|``, with θ = atan2(|v|, ⟨x, y⟩), v = y − ⟨x, y⟩x, in the logarithm.
    Antipodes are joined through the coordinate axis that is most orthogonal to ``x``.
    """

    d: int
    injectivity_radius = math.pi

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.d + 1,)

    @property
    def dim(self) -> int:
        return self.d

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        cos, sinc = cos_sinc(_dot(u, u))
        return cos * x + sinc * u

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        x, y = torch.broadcast_tensors(x, y)
        cosine, v = _polar(x, y)
        antipodal = _antipodal(cosine, v)
        square = torch.where(antipodal, 1.0, _dot(v, v))
        away = math.pi * _normalize(self.proju(x, _flattest_axis(x)))
        return torch.where(antipodal, away, arc_over_sine(square, cosine) * v)

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        square = _dot(w, w)
        _, sinc = cos_sinc(square)
        _, half_sinc = cos_sinc(square / 4)
        return u - _dot(w, u) * (half_sinc**2 / 2 * w + sinc * x)

    def projx(self, x: Tensor) -> Tensor:
        return _normalize(x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u - _dot(x, u) * x

    def cut_locus(self, x0: Tensor, x1: Tensor) -> Tensor:
        return _antipodal(*_polar(x0, x1)).squeeze(-1)

    def prior(self) -> Uniform:
        n = (self.d + 1) / 2
        return Uniform(self, math.log(2) + n * math.log(math.pi) - math.lgamma(n))


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum(-1, keepdim=True)


def _normalize(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def _polar(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """cos θ and the part of ``y`` orthogonal to ``x``, taken from the nearer of ±x so that nothing cancels."""
    cosine = _dot(x, y)
    near = y - torch.where(cosine < 0, -x, x)
    return cosine, near - _dot(x, near) * x


def _antipodal(cosine: Tensor, v: Tensor) -> Tensor:
    return (cosine < 0) & (_dot(v, v) < (32 * torch.finfo(v.dtype).eps) ** 2)


def _flattest_axis(x: Tensor) -> Tensor:
    axis = x.detach().abs().argmin(-1, keepdim=True)
    return torch.zeros_like(x).scatter(-1, axis, 1.0)
