"""Couplings: which source point goes with which data point.

A coupling returns indices and weights, so that labels, masks and graphs follow their points.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..manifolds import leaves, tree_map

__all__ = ["Coupling", "Independent", "Pair", "Reflow", "equal_numbers"]


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
        return _as_they_come(x1)


@dataclass(frozen=True)
class Reflow(Coupling):
    """Stored pairs ``(x0, φ(x0))`` of a flow φ, which stay as φ made them, whatever paired the data before.

    The law of the data is that of ``φ(x0)``, paths of a flow do not cross, and the velocity that is regressed on the
    geodesics between the pairs has straighter ones: fewer steps do (rectified flow: Liu, Gong, Liu 2022,
    arXiv:2209.03003; of protein backbones Yue et al. 2025, arXiv:2502.14637). Loaders take it where data bring their
    own sources.
    """

    def __call__(self, x0: Any, x1: Any, cond: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        equal_numbers(x0, x1, None)
        return _as_they_come(x1)


def _as_they_come(x1: Any) -> tuple[Tensor, Tensor, Tensor]:
    first = leaves(x1)[0]
    index = torch.arange(len(first), device=first.device)
    return index, index, first.new_ones(len(first))


def equal_numbers(x0: Any, x1: Any, cond: dict[str, Tensor] | None) -> int:
    """The number of points on either side of a permutation, which counts every atom of a padded cloud.

    Raises:
        ValueError: when the numbers differ, or a condition ``mask (n, N)`` hides atoms.
    """
    sources, data = len(leaves(x0)[0]), len(leaves(x1)[0])
    if sources != data:
        raise ValueError(f"{sources} sources for {data} data points: draw as many sources as data")
    mask = (cond or {}).get("mask")
    if mask is not None and not mask.bool().all():
        raise ValueError("transport of padded clouds would count the padding: batch clouds of one size")
    return data
