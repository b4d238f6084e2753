"""Distances between all points of two batches, in bounded memory."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["EXACT", "over_rows", "over_sites"]

EXACT = "donot_use_mm_for_euclid_dist"  # of torch.cdist, whose default leaves equal points apart

_NUMBERS = 2**24  # in one intermediate tensor, 64 MiB in single precision


def over_rows(square: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """``Σ_E square(x_i, y_j)``, ``(n, m)``; ``square`` takes broadcast ``(…, *E, *point_shape)`` to ``(…, *E)``."""
    rows = max(1, _NUMBERS // max(1, y.numel()))
    parts = [square(part[:, None], y[None]) for part in x.split(rows)]
    return torch.cat([part[..., None].flatten(2).sum(-1) for part in parts])


def over_sites(square: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """``Σ_s square(x_s, y_s)``, ``(n, m)``, over the places s of E, for points that are vectors.

    ``square`` maps ``(S, n, P)`` and ``(S, m, P)`` to ``(S, n, m)``.
    """
    left, right = (z[:, None].flatten(1, -2).movedim(1, 0) for z in (x, y))
    places = max(1, _NUMBERS // max(1, len(x) * len(y)))
    total = x.new_zeros(len(x), len(y))
    for a, b in zip(left.split(places), right.split(places), strict=True):
        total = total + square(a.contiguous(), b.contiguous()).sum(0)
    return total
