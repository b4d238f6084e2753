"""Couplings: which source point goes with which data point.

A coupling returns indices and weights, so that labels, masks and graphs follow their points.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..manifolds import Manifold, leaves, tree_map
from .alignment import Alignment

__all__ = ["Coupling", "GeodesicCost", "Independent", "OptimalTransport", "Pair"]

Cost = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class Pair:
    """A batch of coupled points."""

    x0: Any
    """Sources ``(B, *E, *point_shape)``."""
    x1: Any
    """Data, of the same shape."""
    weight: Tensor
    """Weight of each pair in the loss, ``(B,)``."""
    cond: dict[str, Tensor]
    """What is known of each data point, ``(B, …)`` each."""


class Coupling(ABC):
    """A joint distribution of sources and data, given on the indices of a batch."""

    @abstractmethod
    def __call__(self, x0: Any, x1: Any, cond: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Couple ``x0`` and ``x1``, n points each: source indices, data indices and weights, all ``(n,)``."""

    def align(self, x0: Any, x1: Any) -> Any:
        """Sources moved by a symmetry of the prior towards their matched data; the sources themselves by default."""
        return x0

    def pair(self, x0: Any, x1: Any, cond: dict[str, Tensor] | None = None) -> Pair:
        """Couple a batch; ``cond`` belongs to the data, and follows it."""
        i0, i1, weight = self(x0, x1, cond)
        matched0, matched1 = tree_map(lambda x: x[i0], x0), tree_map(lambda x: x[i1], x1)
        followed = {name: value[i1] for name, value in (cond or {}).items()}
        return Pair(self.align(matched0, matched1), matched1, weight, followed)


@dataclass(frozen=True)
class Independent(Coupling):
    """Pairs as they come: source i with data i."""

    def __call__(self, x0: Any, x1: Any, cond: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        first = leaves(x1)[0]
        index = torch.arange(len(first), device=first.device)
        return index, index, first.new_ones(len(first))


@dataclass(frozen=True)
class OptimalTransport(Coupling):
    """Minibatch optimal transport: the permutation of the sources with the least total cost, without replacement.

    With ``condition_weight`` each source first takes the condition of the data it came with, and a pair of different
    conditions costs that much more (times the squared distance for real-valued conditions). A conditional flow needs
    this: plain transport ties the source to the condition, which sampling then breaks.

    Args:
        cost: ``(x0 (n, …), x1 (n, …)) -> (n, n)``; an :class:`Alignment` also rotates the matched sources. Costs count
            every point: a ragged batch (a condition ``mask (n, N)`` that is not all true) is refused.
        condition_weight: in the units of ``cost``; 0 ignores conditions.

    Source: Tong et al. 2023 (arXiv 2302.00482), Pooladian et al. 2023 (arXiv 2304.14772); conditions: Cheng, Schwing
    2025 (arXiv 2503.10636).
    """

    cost: Cost
    condition_weight: float = 0.0

    def __call__(self, x0: Any, x1: Any, cond: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        first = leaves(x1)[0]
        n, sources = len(first), len(leaves(x0)[0])
        if sources != n:
            raise ValueError(f"{sources} sources for {n} data points: draw as many sources as data")
        mask = (cond or {}).get("mask")
        if mask is not None and not mask.bool().all():
            raise ValueError("transport of padded clouds would count the padding: batch clouds of one size")
        cost = self.cost(x0, x1)
        if self.condition_weight:
            for value in (cond or {}).values():
                cost = cost + self.condition_weight * _mismatch(value)
        data, source = linear_sum_assignment(cost.detach().T.double().cpu().numpy())
        i0, i1 = (torch.as_tensor(index, device=first.device) for index in (source, data))
        return i0, i1, first.new_ones(n)

    def align(self, x0: Any, x1: Any) -> Any:
        return self.cost.align(x0, x1) if isinstance(self.cost, Alignment) else x0


@dataclass(frozen=True)
class GeodesicCost:
    """Squared geodesic distances, summed over E: ``(x0 (n, …), x1 (m, …)) -> (n, m)``."""

    manifold: Manifold[Any]

    def __call__(self, x0: Any, x1: Any) -> Tensor:
        left, right = tree_map(lambda x: x[:, None], x0), tree_map(lambda x: x[None], x1)
        u = self.manifold.logmap(left, right)
        square = self.manifold.inner(left, u, u)
        return square.reshape(*square.shape[:2], -1).sum(-1)


def _mismatch(cond: Tensor) -> Tensor:
    """Pairwise ``(n, n)``: squared distance of real conditions, 0/1 of labels, masks and graphs."""
    flat = cond.reshape(len(cond), -1)
    if cond.is_floating_point():
        exact = "donot_use_mm_for_euclid_dist"  # the default leaves equal conditions apart
        return torch.cdist(flat, flat, compute_mode=exact).square()
    return (flat[:, None] != flat[None]).any(-1).to(torch.get_default_dtype())
