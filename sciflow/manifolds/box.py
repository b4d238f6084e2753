"""Boxes: every coordinate between two bounds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..rng import uniform
from .domain import ConvexDomain
from .priors import Uniform

__all__ = ["Box"]


@dataclass(frozen=True)
class Box(ConvexDomain):
    """``low_i ≤ x_i ≤ high_i``. Paths fold by the triangle wave in every coordinate, however many walls they meet.

    Raises:
        InputError: when the bounds are not finite, do not rise, or are not equally many.
    """

    low: Sequence[float]
    high: Sequence[float]

    def __post_init__(self) -> None:
        low, high = tuple(map(float, self.low)), tuple(map(float, self.high))
        rising = all(-math.inf < a < b < math.inf for a, b in zip(low, high, strict=False))
        if len(low) != len(high) or not low or not rising:
            raise InputError(f"Box(low={low}, high={high}): give finite bounds low < high, as many of each")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (len(self.low),)

    @property
    def dim(self) -> int:
        return len(self.low)

    def billiard(self, x: Tensor, w: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self._bounds(x)
        width = high - low
        free = x + w
        past = (free - (low + high) / 2) / width  # the box is [−½, ½]
        beyond = past.abs() - 0.5 - 32 * torch.finfo(free.dtype).eps
        walls = past.sign() * beyond.clamp_min(0).ceil()  # met, those on the low side counted negative
        even = walls.remainder(2) == 0
        end = torch.where(even, free - walls * width, low + (low - free) + (walls + 1) * width)
        return end.clamp(low, high), torch.where(even, u, -u)

    def projx(self, x: Tensor) -> Tensor:
        return x.clamp(*self._bounds(x))

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def coordinates(self, x: Tensor) -> Tensor:
        """The box scaled to [−1, 1] in every coordinate."""
        low, high = self._bounds(x)
        return ((x - low) - (high - x)) / (high - low)

    def prior(self) -> Uniform:
        return Uniform(self, sum(math.log(b - a) for a, b in zip(self.low, self.high, strict=True)), self._noise)

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        low, high = torch.tensor([self.low, self.high], dtype=like.dtype, device=like.device)
        return low, high

    def _noise(self, *shape: int, **kwargs: object) -> Tensor:
        u = uniform(*shape, **kwargs)  # type: ignore[arg-type]
        return torch.lerp(*self._bounds(u), u)
