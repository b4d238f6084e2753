"""Splits: every row in one part, parts that do not leak, and the protocol's own permutation."""

import numpy as np
import pytest
import torch

from sciflow.errors import InputError
from sciflow.geometry.split import Split, leaks
from sciflow.training import load_tensors

PARTS = ("train", "val", "test")


def rows(n=50, repeated=10):
    """Row ``i`` holds the number i; the last ``repeated`` rows are the first ones again."""
    x = torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 2)
    return torch.cat([x, x[:repeated]])


def parts(split, x, out, groups=None, seed=0):
    counts = split.save(x, groups, seed, out)
    return counts, [load_tensors(out / f"{name}.safetensors")["x"] for name in PARTS]


@pytest.mark.parametrize("n", [10, 11, 19, 60])
def test_every_row_is_in_one_part(tmp_path, n):
    _, found = parts(Split(), rows(n, 0), tmp_path)
    assert [len(part) for part in found] == [int(0.8 * n), int(0.9 * n) - int(0.8 * n), n - int(0.9 * n)]
    assert sorted(torch.cat(found)[:, 0].tolist()) == list(range(n))


def test_the_permutation_is_that_of_the_protocol(tmp_path):
    x, order = rows(40, 0), np.random.default_rng(3).permutation(40)
    _, found = parts(Split(), x, tmp_path, seed=3)
    assert torch.equal(torch.cat(found), x[torch.from_numpy(order)])


def test_repeated_rows_leak_and_are_counted(tmp_path):
    x = rows(20, 20)
    counts, (train, _, test) = parts(Split(), x, tmp_path)
    assert counts["repeated rows"] == 20
    leaked = sum(row.tolist() in train.tolist() for row in test)
    assert counts["test rows that lie in train"] == leaked > 0
    assert leaks(test, train) == pytest.approx(leaked / len(test))


def test_unique_rows_do_not_leak(tmp_path):
    counts, found = parts(Split(unique=True), rows(), tmp_path)
    assert sorted(torch.cat(found)[:, 0].tolist()) == list(range(50))
    assert counts["test rows that lie in train"] == 0 == leaks(found[2], found[0])
    assert counts["repeated rows"] == 10


@pytest.mark.parametrize("unique", [False, True])
def test_a_group_stays_together(tmp_path, unique):
    x = rows()
    names = [f"g{int(value) % 12}" for value in x[:, 0]]
    _, found = parts(Split(unique=unique, by_group=True), x, tmp_path, names)
    groups = [{int(value) % 12 for value in part[:, 0]} for part in found]
    assert [len(group) for group in groups] == [9, 1, 2]
    assert set().union(*groups) == set(range(12))
    assert sorted(torch.cat(found)[:, 0].tolist()) == sorted(range(50) if unique else x[:, 0].tolist())


def test_another_seed_is_another_split(tmp_path):
    found = []
    for k, seed in enumerate((0, 0, 1)):
        (tmp_path / str(k)).mkdir()
        found.append(parts(Split(), rows(), tmp_path / str(k), seed=seed)[1][0])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_states_of_a_product_are_split_together(tmp_path):
    x = rows(30, 0)
    _, found = parts(Split(), {"r": x, "q": x.unsqueeze(-1)}, tmp_path)
    for part in found:
        assert torch.equal(part["r"], part["q"].squeeze(-1))


def test_what_cannot_be_split_is_one_line(tmp_path):
    with pytest.raises(InputError, match="9 rows: a split takes 10 or more"):
        Split().save(rows(9, 0), None, 0, tmp_path)
    with pytest.raises(InputError, match="3 groups"):
        Split(by_group=True).save(rows(30, 0), ["a", "b", "c"] * 10, 0, tmp_path)
    with pytest.raises(InputError, match="these rows belong to no groups"):
        Split(by_group=True).save(rows(), None, 0, tmp_path)
