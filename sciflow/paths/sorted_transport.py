"""Optimal transport in one dimension: sorting."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Euclidean, FlatTorus
from .couplings import Coupling, equal_numbers

__all__ = ["SortedTransport"]


@dataclass(frozen=True)
class SortedTransport(Coupling):
    """Exact optimal transport of squared distances on the line, ``Euclidean(1)``, and the circle, ``FlatTorus(1)``.

    On the line the sorted sources go to the sorted data. On the circle they go to the sorted data too, from some place
    on: with the data unrolled, ``y_{j+n} = y_j + 2π``, the cost ``Σ_i (x_i − y_{i+k})²`` is convex in the shift k, and
    bisection finds its least one. O(n log n), without a matrix of costs.

    Args:
        manifold: ``Euclidean(1)`` or ``FlatTorus(1)``; samples hold one number each.

    Raises:
        ValueError: on any other manifold, or samples of several numbers.

    Source: Delon, Salomon, Sobolevskii 2010 (arXiv 0902.3527).
    """

    manifold: Euclidean | FlatTorus

    def __post_init__(self) -> None:
        if self.manifold not in (Euclidean(1), FlatTorus(1)):
            raise ValueError(f"points of {self.manifold} have no order: transport them with OptimalTransport")

    def __call__(self, x0: Any, x1: Any, cond: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        n = equal_numbers(x0, x1, cond)
        if x1.numel() != n:
            raise ValueError(f"samples of {tuple(x1.shape[1:])} have no order: transport them with OptimalTransport")
        x, sources = self.manifold.projx(x0.detach()).flatten().double().sort()
        y, data = self.manifold.projx(x1.detach()).flatten().double().sort()
        if isinstance(self.manifold, FlatTorus):
            data = data.roll(-_shift(x, y))
        i0 = torch.empty_like(sources).scatter_(0, data, sources)
        return i0, torch.arange(n, device=i0.device), x1.new_ones(n)


def _shift(x: Tensor, y: Tensor) -> int:
    """The k of least ``Σ_i (x_i − y_{i+k})²``, of sorted angles ``x, y (n,)``: the first at which the cost rises."""
    n = len(x)
    turn = 2 * math.pi
    unrolled = torch.cat([y - turn, y, y + turn, y[:1] + 2 * turn])  # from index −n on
    low, high = -n, n
    while low < high:
        k = (low + high) // 2
        here, ahead = (unrolled[n + k + one : 2 * n + k + one] for one in (0, 1))
        rise = ((ahead - here) * (ahead + here - 2 * x)).sum()
        low, high = (low, k) if rise >= 0 else (k + 1, high)
    return low
