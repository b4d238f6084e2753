"""Alignment finds proper rotations and permutations of like atoms, and never mirrors a molecule."""

import pytest
import torch

from sciflow.manifolds import SO3, center
from sciflow.manifolds.quaternion import to_matrix
from sciflow.paths import Alignment, kabsch
from sciflow.rng import normal, step_generator

F64 = torch.float64


def molecules(n=6, atoms=7, seed=0):
    return normal(n, atoms, 3, generator=step_generator(seed), dtype=F64)


def rotations(n, seed=1):
    return to_matrix(SO3().random(n, generator=step_generator(seed), dtype=F64))


def residual(x0, x1):
    return (x0 - x1).square().sum((-2, -1))


def test_kabsch_undoes_a_rotation_and_a_shift():
    x0, rotation = molecules(), rotations(6)
    x1 = x0 @ rotation.mT + 3.0
    torch.testing.assert_close(kabsch(center(x0), center(x1)), rotation)
    torch.testing.assert_close(Alignment().align(x0, x1), x1)
    assert Alignment()(x0, x1).diagonal().max() < 1e-12


def test_kabsch_is_the_best_rotation():
    x0, x1 = center(molecules(seed=2)), center(molecules(seed=3))
    best = residual(Alignment().align(x0, x1), x1)
    tried = x0[:, None] @ rotations(2000).mT
    assert (residual(tried, x1[:, None]) >= best[:, None]).all()
    torch.testing.assert_close(Alignment()(x0, x1).diagonal(), best)


@pytest.mark.parametrize("permutable", [None, [[3, 4]]], ids=["labelled", "permutable"])
def test_a_chiral_molecule_never_meets_its_mirror_image(permutable):
    # a centre with four arms of different lengths: only a reflection would superpose its two hands
    hand = torch.tensor([[[0, 0, 0], [1, 1, 1], [1.5, -1.5, -1.5], [-2, 2, -2], [-2.5, -2.5, 2.5]]], dtype=F64)
    mirrored = hand * torch.tensor([-1.0, 1.0, 1.0], dtype=F64)
    alignment = Alignment(permutable)
    left_over = residual(alignment.align(mirrored, hand), hand)
    assert left_over.item() > 0.1
    torch.testing.assert_close(alignment(mirrored, hand)[0], left_over)
    assert torch.linalg.det(kabsch(center(mirrored), center(hand))) > 0


def test_planar_and_linear_molecules_align():
    for flat in ([1.0, 1.0, 0.0], [1.0, 0.0, 0.0]):
        x0 = molecules() * torch.tensor(flat, dtype=F64)
        x1 = x0 @ rotations(6).mT
        torch.testing.assert_close(Alignment().align(x0, x1), x1)
        torch.testing.assert_close(torch.linalg.det(kabsch(center(x0), center(x1))), torch.ones(6, dtype=F64))


def test_a_known_permutation_and_rotation_is_found():
    groups = [[1, 3, 5], [2, 4]]
    x1 = molecules()
    order = torch.tensor([0, 5, 4, 1, 2, 3, 6])
    x0 = x1[:, order] @ rotations(6).mT
    alignment = Alignment(groups)
    torch.testing.assert_close(alignment.align(x0, x1), x1)
    assert alignment(x0, x1).diagonal().max() < 1e-12
    assert residual(Alignment().align(x0, x1), x1).min() > 0.1


def test_permutations_never_raise_the_cost():
    x0, x1 = molecules(seed=4), molecules(seed=5)
    free, fixed = Alignment([list(range(7))])(x0, x1), Alignment()(x0, x1)
    assert (free <= fixed + 1e-12).all()
    assert (free < fixed - 0.1).any()


def test_only_like_atoms_are_exchanged():
    x0, x1 = molecules(seed=6), molecules(seed=7)
    aligned = Alignment([[0, 1, 2]]).align(x0, x1)
    between = lambda x: torch.cdist(x[:, 3:], x[:, 3:])  # noqa: E731
    torch.testing.assert_close(between(aligned), between(x0))


def test_overlapping_groups_are_refused():
    with pytest.raises(ValueError, match="disjoint"):
        Alignment([[0, 1], [1, 2]])
