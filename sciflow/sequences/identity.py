"""How alike sequences are, aligned or not, and clusters of those that are."""

from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import one_hot

from ..errors import InputError
from .alphabet import NOTHING

__all__ = ["aligned_clusters", "clusters", "edit_distances", "hamming", "identities"]

_BLOCK = 4096  # pairs that are compared at once
_PAIRS = 2**16  # whose identities are found at once
_ROWS = 1024  # of an alignment that are compared with all others at once


def clusters(near: np.ndarray | csr_array, path: Path) -> list[int]:
    """The cluster of each sequence, 0, 1, …: chains of near ones (n, n) join. Raises InputError: fewer than three."""
    count, found = connected_components(near, directed=False)
    if count < 3:
        raise InputError(
            f"{path}: {len(found)} distinct sequences in {count} clusters, too few for three splits; give more"
            + (", or raise study.data.identity" if len(found) > 2 else "")
        )
    return found.tolist()


def aligned_clusters(x: Tensor, gap: int, identity: float, path: Path) -> list[int]:
    """Of rows (n, L) that share more than ``identity`` of the columns in which either has a letter."""
    hot = one_hot(x, gap + 1)[..., :gap].flatten(1).float()
    there = (x != gap).float()
    near = []
    for start in range(0, len(x), _ROWS):
        part = slice(start, start + _ROWS)
        either = there[part].sum(1)[:, None] + there.sum(1) - there[part] @ there.T
        near.append(csr_array((hot[part] @ hot.T > identity * either).numpy()))
    return clusters(vstack(near), path)


def hamming(x: Tensor, y: Tensor) -> Tensor:
    """Columns (n,) in which rows (n, L) of an alignment differ from the nearest row of ``y (m, L)``."""
    k = int(max(x.max(), y.max())) + 1
    a = one_hot(x, k).flatten(1).float()
    same = [(a @ one_hot(part, k).flatten(1).float().T).amax(1) for part in y.split(_ROWS)]
    return x.shape[1] - torch.stack(same).amax(0)


def identities(a: Tensor, b: Tensor) -> np.ndarray:
    """(len(a), len(b)): 1 − edit distance / length of the longer; found for each pair once where ``b`` is ``a``."""
    i, j = np.triu_indices(len(a)) if b is a else np.indices((len(a), len(b))).reshape(2, -1)
    lengths = [(s < NOTHING).sum(1).numpy() for s in (a, b)]
    distances = np.concatenate([
        edit_distances(a[i[k : k + _PAIRS]], b[j[k : k + _PAIRS]]) for k in range(0, len(i), _PAIRS)
    ])  # fmt: skip
    found = np.zeros((len(a), len(b)))
    found[i, j] = 1 - distances / np.maximum(lengths[0][i], lengths[1][j])
    return np.maximum(found, found.T) if b is a else found


def edit_distances(a: Tensor, b: Tensor) -> np.ndarray:
    """Least numbers of substitutions, insertions and deletions (n,) between pairs of encoded sequences (n, L), (n, M).

    Levenshtein's recursion, all pairs of a block at once.
    """
    found = np.empty(len(a), dtype=np.int16)
    for start in range(0, len(a), _BLOCK):
        x, y = (np.ascontiguousarray(s[start : start + _BLOCK].numpy().T.astype(np.int8)) for s in (a, b))
        ends_x, ends_y = ((s < NOTHING).sum(0) for s in (x, y))
        row = np.repeat(np.arange(len(y) + 1, dtype=np.int16)[:, None], x.shape[1], 1)
        pairs = np.arange(x.shape[1])
        distance = row[ends_y, pairs]
        for i, letter in enumerate(x[: ends_x.max()], 1):
            new = np.empty_like(row)
            new[0] = i
            np.minimum(row[1:] + 1, row[:-1] + (y != letter), out=new[1:])
            for j in range(1, len(new)):
                np.minimum(new[j], new[j - 1] + 1, out=new[j])
            row = new
            distance = np.where(ends_x == i, row[ends_y, pairs], distance)
        found[start : start + _BLOCK] = distance
    return found
