"""Families of sequences by their common words of three letters, and splits that never part a family."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from ..errors import InputError
from ..rng import step_generator
from .residues import LETTERS

__all__ = ["SHARED", "cluster", "shared_words", "split_clusters"]

SHARED = 0.2  # of the words of the sequence that has fewer: more is of one family
_BLOCK = 1024  # sequences that are compared to all others at once


def cluster(sequences: Sequence[str], containment: float = SHARED) -> list[int]:
    """The cluster of each sequence, 0, 1, …: two that share more of their words than ``containment`` are in the same.

    Training data from other clusters therefore hold no near-duplicate of held-out data. Unrelated proteins of 60 to 256
    residues share a thirtieth of their words; those of many hundreds up to a fifth, so that some are joined by chance.
    """
    words = _words(sequences)
    links = []
    for start in range(0, len(sequences), _BLOCK):
        shared = _contained(words[start : start + _BLOCK], words).tocoo()
        near = shared.data > containment
        links.append(np.stack([shared.row[near] + start, shared.col[near]]))
    row, column = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(row)), (row, column)), shape=(len(sequences), len(sequences)))
    return connected_components(graph, directed=False)[1].tolist()


def shared_words(a: Sequence[str], b: Sequence[str]) -> torch.Tensor:
    """(len(a), len(b)): words of three letters in common, as a share of those of the sequence that has fewer."""
    return torch.from_numpy(_contained(_words(a), _words(b)).toarray())


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
        raise InputError(f"{len(clusters)} proteins of {len(sizes)} clusters cannot be split by clusters; give more")
    parts: dict[str, list[int]] = {name: [] for name in (*shares, "train")}
    for i, one in enumerate(clusters):
        parts[split_of.get(one, "train")].append(i)
    return parts


def _words(sequences: Sequence[str]) -> csr_array:
    """(n, 21³): which words each sequence has."""
    rows, columns = [], []
    for i, sequence in enumerate(sequences):
        types = np.array([LETTERS.find(letter) % 21 for letter in sequence], dtype=np.int64)
        found = np.unique(types[:-2] * 441 + types[1:-1] * 21 + types[2:])
        rows.append(np.full(len(found), i))
        columns.append(found)
    row, column = np.concatenate(rows), np.concatenate(columns)
    return csr_array((np.ones(len(row), dtype=np.float32), (row, column)), shape=(len(sequences), 21**3))


def _contained(a: csr_array, b: csr_array) -> csr_array:
    shared = (a @ b.T).tocoo()
    sizes_a, sizes_b = a.sum(1), b.sum(1)
    shared.data /= np.minimum(sizes_a[shared.row], sizes_b[shared.col])
    return shared.tocsr()
