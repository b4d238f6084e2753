"""Train, validation and test parts of a table: the field's protocol, and the splits that do not leak."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..manifolds import leaves, tree_map
from ..training import save_tensors

__all__ = ["Split", "leaks"]


@dataclass
class Split:
    """80 % train, 10 % validation, 10 % test, by ``numpy.random.default_rng(seed).permutation``.

    Attributes:
        unique: a point that occurs several times is kept once, so that no test row lies in the training set.
        by_group: rows of one group (a structure, a chain) go to one part together.
    """

    unique: bool = False
    by_group: bool = False

    def save(self, x: Any, groups: Sequence[str] | None, seed: int, out: Path) -> dict[str, Any]:
        """Write ``train/val/test.safetensors``; returns the counts for ``meta.json``.

        Raises:
            InputError: groups asked for where there are none, or too few rows or groups.
        """
        rows = _rows(x)
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        index = np.sort(first) if self.unique else np.arange(len(rows))
        parts = self._parts(index, groups, seed)
        for name, part in parts.items():
            chosen = torch.from_numpy(part)
            save_tensors({"x": tree_map(lambda leaf, chosen=chosen: leaf[chosen], x)}, out / f"{name}.safetensors")
        return {
            "rows": {name: len(part) for name, part in parts.items()},
            "repeated rows": len(rows) - len(first),
            "split": f"80/10/10{', repeated rows dropped' if self.unique else ''}"
            f"{', by group' if self.by_group else ''}",
            "test rows that lie in train": int(
                np.isin(inverse.reshape(-1)[parts["test"]], inverse.reshape(-1)[parts["train"]]).sum()
            ),
        }

    def _parts(self, index: np.ndarray, groups: Sequence[str] | None, seed: int) -> dict[str, np.ndarray]:
        units = [np.array([i]) for i in range(len(index))]
        if self.by_group:
            if groups is None:
                raise InputError("split.by_group=true: these rows belong to no groups; set it to false")
            _, members = np.unique(np.asarray(groups)[index], return_inverse=True)
            units = np.split(np.argsort(members, kind="stable"), np.cumsum(np.bincount(members))[:-1])
        if len(units) < 10:
            raise InputError(f"{len(units)} {'groups' if self.by_group else 'rows'}: a split takes 10 or more")
        order = np.random.default_rng(seed).permutation(len(units))
        cuts = [int(0.8 * len(units)), int(0.9 * len(units))]
        return {
            name: index[np.concatenate([units[i] for i in chosen])]
            for name, chosen in zip(("train", "val", "test"), np.split(order, cuts), strict=True)
        }


def leaks(test: Any, train: Any) -> float:
    """Share of the test points that occur, digit by digit, in the training set."""
    known = {row.tobytes() for row in _rows(train)}
    return float(np.mean([row.tobytes() in known for row in _rows(test)]))


def _rows(x: Any) -> np.ndarray:
    return np.concatenate([leaf.flatten(1).numpy() for leaf in leaves(x)], axis=1)
