"""Splits keep clusters together."""

from collections import Counter

import pytest

from sciflow.errors import InputError
from sciflow.training import split_clusters


def test_splits_take_whole_clusters_and_all_samples() -> None:
    clusters = [0] * 60 + [1] * 10 + [2 + i // 2 for i in range(130)]
    for seed in range(5):
        parts = split_clusters(clusters, {"test": 0.1, "val": 0.05}, seed)
        assert list(parts) == ["test", "val", "train"]
        assert sorted(i for part in parts.values() for i in part) == list(range(200))
        of = {name: {clusters[i] for i in part} for name, part in parts.items()}
        assert not (of["test"] & of["val"] | of["test"] & of["train"] | of["val"] & of["train"])
        assert 20 <= len(parts["test"]) < 22
        assert 10 <= len(parts["val"]) < 12
        assert 0 in of["train"]  # the giant fills no share while there are others
    assert parts == split_clusters(clusters, {"test": 0.1, "val": 0.05}, 4)
    assert Counter(map(len, split_clusters([0, 1, 2], {"test": 0.1, "val": 0.1}, 0).values())) == {1: 3}


def test_too_few_clusters_are_one_line() -> None:
    with pytest.raises(InputError, match="4 samples of 2 clusters"):
        split_clusters([0, 0, 1, 1], {"test": 0.1, "val": 0.1}, 0)
