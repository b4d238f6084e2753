"""Clusters keep relatives together, and splits keep clusters together."""

from collections import Counter

import pytest
import torch

from sciflow.errors import InputError
from sciflow.proteins.clusters import cluster, shared_words, split_clusters
from sciflow.proteins.residues import AMINO_ACIDS


def _random(n: int, length: int, seed: int) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    return ["".join(AMINO_ACIDS[i] for i in row) for row in torch.randint(20, (n, length), generator=generator)]


def test_shared_words_are_counted_against_the_shorter() -> None:
    table = shared_words(["ACDEFGHIK", "ACDEF", "AC"], ["ACDEF", "WWWW", "CDEFGACD"])
    expected = [[1, 0, 4 / 6], [1, 0, 1], [0, 0, 0]]  # ACD CDE DEF …; CDE DEF EFG FGA GAC ACD
    torch.testing.assert_close(table, torch.tensor(expected), rtol=0, atol=1e-6)


def test_relatives_are_in_one_cluster_and_strangers_are_not() -> None:
    parents = _random(30, 120, 0)
    half = [parent[:60] + other for parent, other in zip(parents, _random(30, 60, 1), strict=True)]
    found = cluster(parents + half)
    assert found[:30] == found[30:]  # half of the words in common
    assert len(set(found)) == 30  # by chance 1.5 %


def test_no_two_clusters_have_more_words_in_common() -> None:
    families = [
        parent[:k] + other
        for parent in _random(8, 90, 2)
        for k, other in zip((90, 60, 40, 25), _random(4, 65, 3), strict=True)
    ]
    found, table = torch.tensor(cluster(families, containment=0.3)), shared_words(families, families)
    assert 1 < len(found.unique()) < len(families)
    assert table[found[:, None] != found].max() <= 0.3
    for one in found.unique():  # each is held together by links above it
        members = table[found == one][:, found == one] > 0.3
        reach = torch.matrix_power(members.double(), len(members))
        assert (reach > 0).all()


def test_short_sequences_have_no_words_and_stand_alone() -> None:
    assert len(set(cluster(["AC", "AC", "", "ACDEF"]))) == 4


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
    with pytest.raises(InputError, match="4 proteins of 2 clusters"):
        split_clusters([0, 0, 1, 1], {"test": 0.1, "val": 0.1}, 0)
