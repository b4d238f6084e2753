"""Families of sequences by their common words of three letters."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from .residues import LETTERS

__all__ = ["SHARED", "cluster", "shared_words"]

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
