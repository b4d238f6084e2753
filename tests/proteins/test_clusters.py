"""Clusters keep relatives together."""

import torch

from sciflow.proteins.clusters import cluster, shared_words
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
