"""Tensors come back as they were saved, batches as they were indexed, and broken files in one line."""

from pathlib import Path

import pytest
import torch

from sciflow.errors import InputError
from sciflow.training import SafetensorsDataset, load_tensors, save_tensors


def test_states_on_a_product_come_back(tmp_path: Path) -> None:
    tree = {"x": {"position": torch.arange(6.0).view(2, 3), "angle": torch.zeros(2, 1)}, "logq": torch.ones(2)}
    save_tensors(tree, tmp_path / "a.safetensors")
    back = load_tensors(tmp_path / "a.safetensors")
    assert torch.equal(back["x"]["position"], tree["x"]["position"])
    assert set(back) == {"x", "logq"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


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
