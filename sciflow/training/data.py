"""Tensors on disk: one safetensors file, read whole, indexed by batch, written by rename."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError

__all__ = ["SafetensorsDataset", "load_tensors", "save_tensors"]


def save_tensors(tensors: Mapping[str, Any], path: Path) -> None:
    """Write tensors, or dicts of tensors (stored as ``name/factor``), to a temporary name, then rename."""
    flat: dict[str, Tensor] = {}
    for name, value in tensors.items():
        flat |= {name: value} if isinstance(value, Tensor) else {f"{name}/{k}": v for k, v in value.items()}
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in flat.items()}, part)
    os.replace(part, path)


def load_tensors(path: Path) -> dict[str, Any]:
    """Read what :func:`save_tensors` wrote; a state on a product comes back as a dict. Raises InputError."""
    try:
        flat = load_file(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; run the stage that writes it first") from error
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({error}); delete it and run its stage again") from error
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        head, _, factor = name.partition("/")
        if factor:
            tree.setdefault(head, {})[factor] = value
        else:
            tree[name] = value
    return tree


class SafetensorsDataset(Dataset[dict[str, Any]]):
    """Samples of a safetensors file: every tensor (or dict of tensors) has the samples as its first dimension.

    A list of indices is answered by one indexing of each tensor, so a batch costs no Python loop.
    """

    def __init__(self, path: Path) -> None:
        self.tensors = load_tensors(path)
        lengths = {len(leaf) for leaf in _leaves(self.tensors)}
        if len(lengths) != 1 or lengths == {0}:
            raise InputError(f"{path}: needs tensors of one common, positive length, found {sorted(lengths)}")
        self.length = lengths.pop()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return _take(self.tensors, index)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        return _take(self.tensors, list(indices))


def _leaves(tree: Mapping[str, Any]) -> list[Tensor]:
    return [leaf for value in tree.values() for leaf in ([value] if isinstance(value, Tensor) else value.values())]


def _take(tree: Mapping[str, Any], index: int | list[int]) -> dict[str, Any]:
    return {name: value[index] if isinstance(value, Tensor) else _take(value, index) for name, value in tree.items()}
