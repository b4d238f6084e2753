"""The unit sphere."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .arcs import arc_over_sine, cos_sinc, rounds
from .base import Manifold
from .pairs import EXACT, over_sites
from .priors import Uniform

__all__ = ["Sphere"]


@dataclass(frozen=True)
class Sphere(Manifold[Tensor]):
    """S^d as unit vectors of R^{d+1}; tangents are ambient vectors orthogonal to the point.

    ``exp_x(u) = cos|u| x + sin|u| u/|u|``, with θ = atan2(|v|, ⟨x, y⟩), v = y − ⟨x, y⟩x, in the logarithm.
    Antipodes are joined through the first coordinate axis, or the second where ``x`` is too close to the first.
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
        away = math.pi * _normalize(_aside(x.movedim(-1, 0)).movedim(0, -1))
        return torch.where(antipodal, away, arc_over_sine(square, cosine) * v)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``cos(tθ) x0 + sin(tθ) e`` and ``θ (cos(tθ) e − sin(tθ) x0)``, with the unit vector e = v/|v|."""
        x, y = (p.movedim(-1, 0).contiguous() for p in torch.broadcast_tensors(x0, x1))  # sums are fastest over rows
        t = t.reshape(t.shape + (1,) * (x.ndim - 1 - t.ndim))
        cosine, v = _polar(x, y, 0)
        cosine, degenerate = cosine[0], (v * v).sum(0) < _close(v)
        antipodal = degenerate & (cosine < 0)
        still = degenerate ^ antipodal  # θ/sin θ is one to rounding, and e has no derivative
        v = torch.where(antipodal, _aside(x), v)
        sine = torch.where(still, 1.0, (v * v).sum(0)).sqrt()
        angle = torch.where(degenerate, math.pi * antipodal.to(v.dtype), torch.atan2(sine, cosine))
        rate = torch.where(still, 1.0, angle / sine)
        sin, cos = (t * angle).sin(), (t * angle).cos()
        x_t = cos * x + torch.where(still, t, sin / sine) * v
        u_t = rate * cos * v - angle * sin * x
        return x_t.movedim(0, -1), u_t.movedim(0, -1)

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        square = _dot(w, w)
        _, sinc = cos_sinc(square)
        _, half_sinc = cos_sinc(square / 4)
        return u - _dot(w, u) * (half_sinc**2 / 2 * w + sinc * x)

    def projx(self, x: Tensor) -> Tensor:
        return _normalize(x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u - _dot(x, u) * x

    def origin(self) -> Tensor:
        return torch.eye(self.d + 1, dtype=torch.float64)[0]

    def log_det_exp(self, x: Tensor, u: Tensor) -> Tensor:
        return self.preimages(x, u, 0.0)[1][1, ..., 0]

    def preimages(self, x: Tensor, u: Tensor, reach: float) -> tuple[Tensor, Tensor]:
        square, log_ratio = rounds(_dot(u, u), 2 * math.pi, reach)
        return square, (self.d - 1) * log_ratio

    def squared_distances(self, x: Tensor, y: Tensor) -> Tensor:
        def square(a: Tensor, b: Tensor) -> Tensor:  # tan(θ/2) = |a − b|/|a + b|, precise at both ends
            return (2 * torch.atan2(*(torch.cdist(a, c, compute_mode=EXACT) for c in (b, -b)))).square()

        return over_sites(square, x, y)

    def cut_locus(self, x0: Tensor, x1: Tensor) -> Tensor:
        return _antipodal(*_polar(x0, x1)).squeeze(-1)

    def prior(self) -> Uniform:
        n = (self.d + 1) / 2
        return Uniform(self, math.log(2) + n * math.log(math.pi) - math.lgamma(n))


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum(-1, keepdim=True)


def _normalize(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def _polar(x: Tensor, y: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
    """cos θ and the part of ``y`` orthogonal to ``x``, taken from the nearer of ±x so that nothing cancels."""
    cosine = (x * y).sum(dim, keepdim=True)
    near = y - cosine.sign() * x
    return cosine, near - (x * near).sum(dim, keepdim=True) * x


def _close(v: Tensor) -> float:
    """Below this squared sine, points are one or antipodes to rounding."""
    return (32 * torch.finfo(v.dtype).eps) ** 2


def _antipodal(cosine: Tensor, v: Tensor) -> Tensor:
    return (cosine < 0) & (_dot(v, v) < _close(v))


def _aside(x: Tensor) -> Tensor:
    """A vector orthogonal to ``x``, components first: from the first axis, or from the second if ``x`` is near that."""
    steep = x[0].abs() > 0.7
    axis = torch.zeros_like(x)
    axis[0], axis[1] = ~steep, steep
    return axis - torch.where(steep, x[1], x[0]) * x
