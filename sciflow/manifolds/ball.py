"""The ball."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..rng import normal, uniform
from .domain import ConvexDomain
from .priors import Uniform

__all__ = ["Ball"]


@dataclass(frozen=True)
class Ball(ConvexDomain):
    """``|x| ≤ radius`` in R^d. Billiard paths in closed form, however often they are reflected.

    A path stays in the plane of its first chord and the centre. It meets the wall at the same angle β every time, by
    chords of length ``2R sin β``, each of which turns the picture by 2β: the number of whole chords is a quotient, and
    the rest is one rotation. Paths along the wall slide on a great circle, the limit of short chords.

    Raises:
        InputError: when the radius is not a positive number.
    """

    d: int
    radius: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.radius < math.inf:
            raise InputError(f"Ball radius={self.radius}: give a positive number")

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.d,)

    @property
    def dim(self) -> int:
        return self.d

    def billiard(self, x: Tensor, w: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        x, w, u = torch.broadcast_tensors(x, w, u)
        free = x + w
        outside = _dot(free, free) > self.radius**2 * (1 + 32 * torch.finfo(x.dtype).eps)
        end, carried = self._reflected(torch.where(outside, x, 0.0), torch.where(outside, w, 2 * self.radius), u)
        return self.projx(torch.where(outside, end, free)), torch.where(outside, carried, u)

    def _reflected(self, x: Tensor, w: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """``billiard`` of a path that meets the wall, in the plane of its first normal n and the tangent t there."""
        radius = self.radius
        length = _dot(w, w).sqrt()
        forward = w / length
        along = _dot(x, forward)
        depth = (radius**2 - _dot(x, x)).clamp_min(0)
        half_chord = (along**2 + depth).clamp_min((torch.finfo(x.dtype).eps * radius) ** 2).sqrt()
        outward = along > 0  # the root of the quadratic equation that does not cancel
        first = torch.where(outward, depth / torch.where(outward, along + half_chord, 1.0), half_chord - along)
        n = (x + first * forward) / radius
        sine = half_chord / radius
        t, cosine = _direction(forward - sine * n)
        angle = torch.atan2(sine, cosine)
        left = length - first
        chords = (left / (2 * half_chord)).floor().clamp_min(0)
        rest = left - chords * 2 * half_chord

        turn = 2 * angle * chords
        end_n, end_t = turn.cos() * n + turn.sin() * t, turn.cos() * t - turn.sin() * n
        end = (radius - rest * sine) * end_n + rest * cosine * end_t

        # chords + 1 reflections: an even number is a rotation, an odd one a reflection at the first wall and a rotation
        even = chords.remainder(2) == 1
        by_n, by_t = _dot(u, n), _dot(u, t)
        start_n, whole = torch.where(even, by_n, -by_n), torch.where(even, turn + 2 * angle, turn)
        to_n = whole.cos() * start_n - whole.sin() * by_t
        to_t = whole.sin() * start_n + whole.cos() * by_t
        return end, u + (to_n - by_n) * n + (to_t - by_t) * t

    def projx(self, x: Tensor) -> Tensor:
        outside = _dot(x, x) > self.radius**2
        return torch.where(outside, self.radius * _direction(x)[0], x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def coordinates(self, x: Tensor) -> Tensor:
        """The ball scaled to radius 1."""
        return x / self.radius

    def prior(self) -> Uniform:
        half = self.d / 2
        log_volume = half * math.log(math.pi) - math.lgamma(half + 1) + self.d * math.log(self.radius)
        return Uniform(self, log_volume, self._noise)

    def _noise(self, *shape: int, **kwargs: object) -> Tensor:
        direction = torch.nn.functional.normalize(normal(*shape, **kwargs), dim=-1)  # type: ignore[arg-type]
        u = uniform(*shape[:-1], 1, **kwargs)  # type: ignore[arg-type]
        return self.radius * u ** (1 / self.d) * direction


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum(-1, keepdim=True)


def _direction(v: Tensor) -> tuple[Tensor, Tensor]:
    """``v/|v|`` and ``|v|``; zeros, with zero gradients, for a zero vector."""
    square = _dot(v, v)
    some = square > 0
    length = torch.where(some, square, 1.0).sqrt()
    return v / length, torch.where(some, length, 0.0)
