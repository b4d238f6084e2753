"""Data on disk: safetensors read whole, indexed by batch and written by rename; splits on their way in."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError
from ..rng import step_generator

__all__ = ["SafetensorsDataset", "TensorsDataset", "load_tensors", "save_splits", "save_tensors"]


def save_tensors(tensors: Mapping[str, Any], path: Path) -> None:
    """Write tensors, or dicts of tensors (stored as ``name/factor``), to a temporary name, then rename.

    With the mode of any other new file, by the umask: safetensors makes files that only their owner can read.
    """
    flat = _flat(tensors)
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch()
    mode = part.stat().st_mode
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in flat.items()}, part)
    part.chmod(mode)
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
        *heads, last = name.split("/")
        branch = tree
        for head in heads:
            branch = branch.setdefault(head, {})
        branch[last] = value
    return tree


def save_splits(tensors: Mapping[str, Any], out: Path, seed: int, held_out: float = 0.1) -> None:
    """Shuffle samples by seed and write ``test``, ``val`` (each the fraction ``held_out``) and ``train`` to ``out``.

    Right for independent samples only: frames of one trajectory, or rows of one molecule, belong into one split.
    """
    total = len(_leaves(tensors)[0])
    order = torch.randperm(total, generator=step_generator(seed)).tolist()
    n = max(1, round(held_out * total))
    if total < 3:
        raise InputError(f"{total} samples cannot be split into train, val and test; give more data")
    for split, chosen in (("test", order[:n]), ("val", order[n : 2 * n]), ("train", order[2 * n :])):
        save_tensors(_take(tensors, chosen), out / f"{split}.safetensors")


class TensorsDataset(Dataset[dict[str, Any]]):
    """Samples in memory, ``{"x": …, …}``: every tensor (or dict of tensors) has the samples as its first dimension.

    A list of indices is answered by one indexing of each tensor, so a batch costs no Python loop.
    """

    def __init__(self, tensors: Mapping[str, Any], name: str = "data") -> None:
        self.tensors = dict(tensors)
        lengths = {len(leaf) for leaf in _leaves(self.tensors)}
        if len(lengths) != 1 or lengths == {0}:
            raise InputError(f"{name}: needs tensors of one common, positive length, found {sorted(lengths)}")
        self.length = lengths.pop()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return _take(self.tensors, index)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        return _take(self.tensors, list(indices))


class SafetensorsDataset(TensorsDataset):
    """Samples of a safetensors file, as :func:`save_tensors` writes it."""

    def __init__(self, path: Path) -> None:
        super().__init__(load_tensors(path), str(path))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}
    for name, value in tree.items():
        flat |= {prefix + name: value} if isinstance(value, Tensor) else _flat(value, f"{prefix}{name}/")
    return flat


def _leaves(tree: Mapping[str, Any]) -> list[Tensor]:
    return list(_flat(tree).values())


def _take(tree: Mapping[str, Any], index: int | list[int]) -> dict[str, Any]:
    return {name: value[index] if isinstance(value, Tensor) else _take(value, index) for name, value in tree.items()}
