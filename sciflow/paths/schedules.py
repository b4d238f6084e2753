"""Schedules: how far along its geodesic a point is at time t, κ(0) = 0 and κ(1) = 1."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Cosine", "Exponential", "Linear", "Polynomial", "Schedule"]


class Schedule(Protocol):
    """A smooth monotone map of [0, 1] to itself and its derivative, elementwise."""

    def kappa(self, t: Tensor) -> Tensor:
        """Fraction κ(t) of the geodesic that is behind."""
        ...

    def dkappa(self, t: Tensor) -> Tensor:
        """Rate dκ/dt."""
        ...

    def ahead(self, t: Tensor) -> Tensor:
        """Fraction 1 − κ(t) that is ahead, to its own precision: zero at t = 1, and there alone."""
        ...


@dataclass(frozen=True)
class Linear:
    """κ = t."""

    def kappa(self, t: Tensor) -> Tensor:
        return t

    def dkappa(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def ahead(self, t: Tensor) -> Tensor:
        return 1 - t


@dataclass(frozen=True)
class Exponential:
    """κ = (1 − e^{−rt}) / (1 − e^{−r}): fast first for r > 0 (frame rotations: Yim et al. 2023, arXiv 2310.05297)."""

    rate: float

    def __post_init__(self) -> None:
        if self.rate == 0:
            raise ValueError("an exponential schedule of rate 0 is Linear()")

    def kappa(self, t: Tensor) -> Tensor:
        return torch.expm1(-self.rate * t) / math.expm1(-self.rate)

    def dkappa(self, t: Tensor) -> Tensor:
        return -self.rate * torch.exp(-self.rate * t) / math.expm1(-self.rate)

    def ahead(self, t: Tensor) -> Tensor:
        return torch.exp(-self.rate * t) * torch.expm1(-self.rate * (1 - t)) / math.expm1(-self.rate)


@dataclass(frozen=True)
class Cosine:
    """κ = sin²(πt/2): slow at both ends."""

    def kappa(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * t).square()

    def dkappa(self, t: Tensor) -> Tensor:
        return 0.5 * math.pi * torch.sin(math.pi * t)

    def ahead(self, t: Tensor) -> Tensor:
        return torch.sin(0.5 * math.pi * (1 - t)).square()


@dataclass(frozen=True)
class Polynomial:
    """κ = tⁿ: slow first for n > 1."""

    n: float

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n = {self.n} starts with infinite speed: choose n of at least 1")

    def kappa(self, t: Tensor) -> Tensor:
        return t**self.n

    def dkappa(self, t: Tensor) -> Tensor:
        return self.n * t ** (self.n - 1)

    def ahead(self, t: Tensor) -> Tensor:
        return 1 - t**self.n
