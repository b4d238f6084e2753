"""Rotations of three-dimensional space."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .arcs import arc_over_sine, cos_sinc, rounds
from .base import Manifold
from .pairs import EXACT, over_sites
from .priors import Uniform
from .quaternion import conjugate, multiply, rotate

__all__ = ["SO3"]


@dataclass(frozen=True)
class SO3(Manifold[Tensor]):
    """SO(3) as unit quaternions ``(…, 4)``, w first, where q and −q are one point.

    Tangents are body-frame rotation vectors ``(…, 3)`` [rad]: ``exp_q(u) = q·(cos|u|/2, sin(|u|/2) u/|u|)``. The metric
    is their dot product, so that the distance is the rotation angle in [0, π] and the volume is 8π². The logarithm
    takes 2·atan2(|v|, |w|) of ``q⁻¹·r = ±(w, v)``, exact to rounding up to and at π. A half turn, where both signs are
    as near, goes about the axis with v₁ + v₂/√2 + v₃/√3 > 0.
    """

    injectivity_radius = math.pi

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (4,)

    @property
    def tangent_shape(self) -> tuple[int, ...]:
        return (3,)

    @property
    def dim(self) -> int:
        return 3

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return multiply(x, _exp(u))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        cosine = (x * y).sum(-1, keepdim=True)
        nearer = torch.where(cosine < 0, -y, y)
        v = multiply(conjugate(x), nearer - x)[..., 1:]  # of the difference: close rotations keep their precision
        sign = _sign_at_half_turn(cosine.squeeze(-1), v.movedim(-1, 0))[..., None]
        return 2 * arc_over_sine((v * v).sum(-1, keepdim=True), cosine.abs()) * sign * v

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """``x0·(cos tα, sin tα v/|v|)`` and ``2α v/|v|``, the same body-frame vector all along; α is half the angle."""
        x, y = (p.movedim(-1, 0).contiguous() for p in torch.broadcast_tensors(x0, x1))  # sums are fastest over rows
        t = t.reshape(t.shape + (1,) * (x.ndim - 1 - t.ndim))
        cosine = (x * y).sum(0)
        near = torch.where(cosine < 0, -1.0, 1.0) * y - x
        a, b = x[1:], near[1:]
        v = x[0] * b - near[0] * a - a.roll(-1, 0) * b.roll(1, 0) + a.roll(1, 0) * b.roll(-1, 0)
        sign = _sign_at_half_turn(cosine, v)
        square = (v * v).sum(0)
        still = square < torch.finfo(v.dtype).eps ** 2  # α/sin α is one to rounding, and v/|v| has no derivative
        sine = torch.where(still, 1.0, square).sqrt()
        half = torch.where(still, 0.0, torch.atan2(sine, cosine.abs()))
        rate = torch.where(still, 2.0, 2 * half / sine) * sign
        ahead = (near - (x * near).sum(0) * x) * sign  # x0·(0, v)
        x_t = (t * half).cos() * x + torch.where(still, t, (t * half).sin() / sine) * ahead
        return x_t.movedim(0, -1), (rate * v).movedim(0, -1)

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        return rotate(_exp(-w / 2), u)

    def projx(self, x: Tensor) -> Tensor:
        return x / x.norm(dim=-1, keepdim=True)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def embed(self, x: Tensor, u: Tensor) -> Tensor:
        return multiply(x, torch.cat([torch.zeros_like(u[..., :1]), u / 2], dim=-1))

    def coordinates(self, x: Tensor) -> Tensor:
        i, j = torch.triu_indices(4, 4, device=x.device)
        return x[..., i] * x[..., j]  # even in q

    def origin(self) -> Tensor:
        return torch.eye(4, dtype=torch.float64)[0]

    def log_det_exp(self, x: Tensor, u: Tensor) -> Tensor:
        return self.preimages(x, u, 0.0)[1][1, ..., 0]

    def preimages(self, x: Tensor, u: Tensor, reach: float) -> tuple[Tensor, Tensor]:
        square, log_ratio = rounds((u * u).sum(-1, keepdim=True) / 4, math.pi, reach / 2)
        return 4 * square, 2 * log_ratio

    def squared_distances(self, x: Tensor, y: Tensor) -> Tensor:
        def square(a: Tensor, b: Tensor) -> Tensor:  # as on the sphere, with the nearer of ±b; twice its angle
            near, far = (torch.cdist(a, c, compute_mode=EXACT) for c in (b, -b))
            return (4 * torch.atan2(torch.minimum(near, far), torch.maximum(near, far))).square()

        return over_sites(square, x, y)

    def cut_locus(self, x0: Tensor, x1: Tensor) -> Tensor:
        return _is_half_turn((x0 * x1).sum(-1))

    def prior(self) -> Uniform:
        return Uniform(self, math.log(8 * math.pi**2))


def _exp(u: Tensor) -> Tensor:
    cos, sinc = cos_sinc((u * u).sum(-1, keepdim=True) / 4)
    return torch.cat([cos, sinc * u / 2], dim=-1)


def _is_half_turn(cosine: Tensor) -> Tensor:
    """To rounding, of the cosine of half the angle."""
    return cosine.abs() < 16 * torch.finfo(cosine.dtype).eps


def _sign_at_half_turn(cosine: Tensor, v: Tensor) -> Tensor:
    """The sign of ``v (3, …)`` that both quaternions of one rotation agree on; elsewhere their cosines already do."""
    side = v[0] + v[1] / math.sqrt(2) + v[2] / math.sqrt(3)  # zero for no axis that comes up by itself
    return torch.where(_is_half_turn(cosine) & (side < 0), -1.0, 1.0).to(v.dtype)
