"""Hyperbolic space, as a hyperboloid in Minkowski space."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..rng import Generator, normal
from .arcs import arsinhc, cosh_sinhc, log_sinhc
from .base import Manifold
from .wrapped import WrappedNormal

__all__ = ["Hyperbolic", "from_poincare", "to_poincare"]


def to_poincare(x: Tensor) -> Tensor:
    """Poincaré-ball coordinates ``p = x_s / (1 + x_0)``, ``(…, d)`` with ``|p| < 1``, of points ``x (…, d+1)``."""
    return x[..., 1:] / (1 + x[..., :1])


def from_poincare(p: Tensor) -> Tensor:
    """Points ``(1 + |p|², 2p) / (1 − |p|²)``, ``(…, d+1)``, of Poincaré-ball coordinates ``p (…, d)``, ``|p| < 1``."""
    return _lift(2 * p / (1 - _dot(p, p)))


@dataclass(frozen=True)
class Hyperbolic(Manifold[Tensor]):
    """H^d of curvature −1: points ``(x_0, x_s) (…, d+1)`` with ``−x_0² + |x_s|² = −1``, the time ``x_0 > 0`` first.

    Tangents are ambient, orthogonal to the point in the Minkowski product. Every operation goes through the frame
    that the boost from the origin brings to ``x``, in which a tangent is the plain vector ``w = u_s − p u_0``, with
    ``p = x_s / (1 + x_0)``: there lengths are Euclidean and nothing cancels, whereas the Minkowski product of two
    tangents at radius r loses digits as e^{2r}.

    ``proju`` keeps ``w``: it projects along ``x + origin``, orthogonally for the product ``w·w'`` that ``inner``
    extends to ambient vectors. A network's output of order one is thus a velocity of order one everywhere; the
    Minkowski-orthogonal projection would stretch it by x_0. ``log_volume_rate`` is the divergence of that frame.
    """

    d: int

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.d + 1,)

    @property
    def dim(self) -> int:
        return self.d

    def origin(self) -> Tensor:
        return torch.eye(self.d + 1, dtype=torch.float64)[0]

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        w = _frame(x, u)
        cosh, sinhc = cosh_sinhc(_dot(w, w))
        return _lift(cosh * x[..., 1:] + sinhc * _ambient(x, w)[..., 1:])  # of w: u's rounding may not fit its length

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        """The boost that brings ``x`` to the origin takes ``y`` to ``sinh d · n``; the logarithm there is ``d · n``."""
        chord, square = _chord(x, y)
        sinh_n = chord - 2 * square * to_poincare(x)
        return _ambient(x, arsinhc(square) / (1 + square).sqrt() * sinh_n)

    def dist(self, x: Tensor, y: Tensor) -> Tensor:
        """``2 arsinh(|y − x|/2)`` of the Minkowski length of the difference; its gradient at ``x = y`` is zero."""
        square = _chord(x, y)[1].squeeze(-1)
        apart = square != 0
        return torch.where(apart, 2 * torch.where(apart, square, 1.0).sqrt().asinh(), 0.0)

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        """The triangle with the origin turns the frame by its area: the rotor ``1 − p·q − p∧q`` from x to y.

        Of δ = q − p: ``1 − p·q = (|δ|² + 1 − |p|² + 1 − |q|²)/2`` and ``p∧q = p∧δ``, or all would cancel far out.
        """
        y = self.expmap(x, w)
        p, delta, v = to_poincare(x), _chord(x, y)[0] / (1 + y[..., :1]), _frame(x, u)
        square, across = _dot(delta, delta), _dot(p, delta)
        scalar = square / 2 + 1 / (1 + x[..., :1]) + 1 / (1 + y[..., :1])
        first = p * _dot(delta, v) - delta * _dot(p, v)
        second = p * _dot(delta, first) - delta * _dot(p, first)
        norm = scalar**2 + _dot(p, p) * square - across**2
        return _ambient(y, v + 2 * (scalar * first + second) / norm)

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``(sinh((1 − t)d) x0 + sinh(td) x1) / sinh d``, a sum in which far points do not cancel, and its velocity.

        ``d (cosh(td) x1 − cosh((1 − t)d) x0) / sinh d`` is taken of ``x1 − x0``, which keeps close points precise.
        """
        t = t.reshape(t.shape + (1,) * (max(x0.ndim, x1.ndim) - t.ndim))
        half = _chord(x0, x1)[1]  # sinh²(d/2)
        square = 4 * half * arsinhc(half) ** 2  # d²
        ahead, (cosh, sinhc) = cosh_sinhc((1 - t) ** 2 * square)[1], cosh_sinhc(t**2 * square)
        bend = cosh_sinhc(square / 4)[1] * cosh_sinhc((t - 0.5) ** 2 * square)[1]
        whole = cosh_sinhc(square)[1]
        x_t = _lift(((1 - t) * ahead / whole * x0 + t * sinhc / whole * x1)[..., 1:])
        return x_t, cosh / whole * (x1 - x0) + (t - 0.5) * square * bend / whole * x0

    def projx(self, x: Tensor) -> Tensor:
        return _lift(x[..., 1:])

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return _ambient(x, _frame(x, u))

    def inner(self, x: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return (_frame(x, u) * _frame(x, v)).sum(-1)

    def log_volume_rate(self, x: Tensor, u: Tensor) -> Tensor:
        return -(to_poincare(x) * _frame(x, u)).sum(-1)

    def log_det_exp(self, x: Tensor, u: Tensor) -> Tensor:
        return (self.d - 1) * log_sinhc(self.inner(x, u, u))

    def coordinates(self, x: Tensor) -> Tensor:
        """The logarithm at the origin, ``(…, d)``: of the size of the distance, where ambient ones grow as its exp."""
        space = x[..., 1:]
        return arsinhc(_dot(space, space)) * space

    def cut_locus(self, x0: Tensor, x1: Tensor) -> Tensor:
        return torch.zeros_like((x0 - x1)[..., 0], dtype=torch.bool)

    def prior(self) -> WrappedNormal:
        return WrappedNormal(self)

    def randn_tangent(self, x: Tensor, generator: Generator = None) -> Tensor:
        return _ambient(x, normal(*x.shape[:-1], self.d, generator=generator, dtype=x.dtype, device=x.device))


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum(-1, keepdim=True)


def _lift(space: Tensor) -> Tensor:
    return torch.cat([(1 + _dot(space, space)).sqrt(), space], -1)


def _frame(x: Tensor, u: Tensor) -> Tensor:
    """Tangents ``u (…, d+1)`` at ``x`` in the frame boosted from the origin, ``(…, d)``."""
    return u[..., 1:] - to_poincare(x) * u[..., :1]


def _ambient(x: Tensor, w: Tensor) -> Tensor:
    """Undo ``_frame``: the boost of ``(0, w)`` from the origin to ``x``."""
    time = _dot(x[..., 1:], w)
    return torch.cat([time, w + to_poincare(x) * time], -1)


def _chord(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """``y − x`` in the frame at ``x``, and ``sinh²(d/2)``, a quarter of its Minkowski square.

    With ``c = dx_s − p dx_0`` and ``dx_0 = dx_s·(x_s + y_s)/(x_0 + y_0)``, which close points do not cancel,
    ``sinh²(d/2) = |c|² (1 + x_0) / 4(1 + y_0)``: the Poincaré ball's ``|p − q|² / (1 − |p|²)(1 − |q|²)``.
    """
    x, y = torch.broadcast_tensors(x, y)
    dx = (y - x)[..., 1:]
    dx_0 = _dot(dx, (x + y)[..., 1:]) / (x + y)[..., :1]
    chord = dx - to_poincare(x) * dx_0
    return chord, _dot(chord, chord) * (1 + x[..., :1]) / (4 * (1 + y[..., :1]))
