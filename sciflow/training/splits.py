"""Splits of data that never part a cluster."""

from collections.abc import Sequence

import numpy as np
import torch

from ..errors import InputError
from ..rng import step_generator

__all__ = ["split_clusters"]


def split_clusters(clusters: Sequence[int], shares: dict[str, float], seed: int) -> dict[str, list[int]]:
    """Indices of the samples of each split: clusters in an order of chance fill ``shares`` in turn, ``train`` the rest.

    A cluster that is larger than a share fills none while there are smaller ones.

    Raises:
        InputError: fewer clusters than splits.
    """
    sizes = np.bincount(clusters)
    order = torch.randperm(len(sizes), generator=step_generator(seed)).tolist()
    order.sort(key=lambda one: sizes[one] > min(shares.values()) * len(clusters))
    split_of: dict[int, str] = {}
    for name, share in shares.items():
        filled = 0
        while order and filled < share * len(clusters):
            one = order.pop(0)
            split_of[one] = name
            filled += sizes[one]
    if not order:
        raise InputError(f"{len(clusters)} samples of {len(sizes)} clusters cannot be split by clusters; give more")
    parts: dict[str, list[int]] = {name: [] for name in (*shares, "train")}
    for i, one in enumerate(clusters):
        parts[split_of.get(one, "train")].append(i)
    return parts
