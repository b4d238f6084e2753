"""What it costs to send a source to a data point."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Manifold

__all__ = ["Cost", "GeodesicCost", "mismatch"]

Cost = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class GeodesicCost:
    """Squared geodesic distances, summed over E: ``(x0 (n, …), x1 (m, …)) -> (n, m)``."""

    manifold: Manifold[Any]

    def __call__(self, x0: Any, x1: Any) -> Tensor:
        return self.manifold.squared_distances(x0, x1)


def mismatch(cond: Tensor) -> Tensor:
    """Pairwise ``(n, n)``: squared distance of real conditions, 0/1 of labels, masks and graphs."""
    flat = cond.reshape(len(cond), -1)
    if cond.is_floating_point():
        exact = "donot_use_mm_for_euclid_dist"  # the default leaves equal conditions apart
        return torch.cdist(flat, flat, compute_mode=exact).square()
    return (flat[:, None] != flat[None]).any(-1).to(torch.get_default_dtype())
