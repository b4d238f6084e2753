"""Tensors come back as they were saved, batches as they were indexed, and broken files in one line."""

import os
from pathlib import Path

import pytest
import torch

from sciflow.errors import InputError
from sciflow.training import SafetensorsDataset, load_tensors, save_splits, save_tensors


def test_states_on_a_product_come_back(tmp_path: Path) -> None:
    tree = {"x": {"position": torch.arange(6.0).view(2, 3), "angle": torch.zeros(2, 1)}, "logq": torch.ones(2)}
    save_tensors(tree, tmp_path / "a.safetensors")
    back = load_tensors(tmp_path / "a.safetensors")
    assert torch.equal(back["x"]["position"], tree["x"]["position"])
    assert set(back) == {"x", "logq"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_modes_follow_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "a.safetensors"
    before = os.umask(umask)
    try:
        save_tensors({"x": torch.zeros(2)}, path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_list_of_indices_is_a_batch(tmp_path: Path) -> None:
    save_tensors({"x": {"a": torch.arange(5)}, "label": torch.arange(5) * 10}, tmp_path / "a.safetensors")
    batch = SafetensorsDataset(tmp_path / "a.safetensors").__getitems__([3, 1])
    assert batch["x"]["a"].tolist() == [3, 1]
    assert batch["label"].tolist() == [30, 10]


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_tensors(tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a safetensors file"):
        load_tensors(tmp_path / "broken.safetensors")
    save_tensors({"x": torch.zeros(2), "y": torch.zeros(3)}, tmp_path / "ragged.safetensors")
    with pytest.raises(InputError, match="one common, positive length"):
        SafetensorsDataset(tmp_path / "ragged.safetensors")


@pytest.mark.parametrize("n", [3, 10, 57])
def test_splits_share_nothing_and_lose_nothing(tmp_path: Path, n: int) -> None:
    save_splits({"x": torch.arange(n), "label": torch.arange(n) * 2}, tmp_path, seed=1)
    parts = [SafetensorsDataset(tmp_path / f"{split}.safetensors").tensors for split in ("train", "val", "test")]
    assert sorted(torch.cat([part["x"] for part in parts]).tolist()) == list(range(n))
    assert all(torch.equal(part["label"], part["x"] * 2) for part in parts)


def test_too_few_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 samples cannot be split"):
        save_splits({"x": torch.arange(2)}, tmp_path, seed=1)
