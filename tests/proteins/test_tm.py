"""TM-scores: identity, rigid motions, mirror images, a closed form, and chains that do not correspond."""

import math
import os
import tarfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sciflow.manifolds import SO3
from sciflow.manifolds.quaternion import rotate
from sciflow.proteins.structure import parse_structure
from sciflow.proteins.tm import ascend, d0, kernel, superpose, tm_score
from sciflow.proteins.tm_align import _alignment, nearest_tm, pairwise_tm, tm_align


def walk(n: int, seed: int, batch: int = 1) -> Tensor:
    """Compact chains of steps of 0.38 nm."""
    g = torch.Generator().manual_seed(seed)
    steps = torch.randn(batch, n, 3, generator=g, dtype=torch.float64)
    return 0.38 * (steps / steps.norm(dim=-1, keepdim=True)).cumsum(1)


def turned(x: Tensor, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    q = SO3().projx(torch.randn(len(x), 4, generator=g, dtype=x.dtype))
    return rotate(q[:, None], x) + 5 * torch.randn(len(x), 1, 3, generator=g, dtype=x.dtype)


def helix(n: int) -> Tensor:
    """Cα of an α-helix: 0.15 nm and 100° a residue, radius 0.23 nm."""
    i = torch.arange(n, dtype=torch.float64)
    return torch.stack([0.23 * (i * math.radians(100)).cos(), 0.23 * (i * math.radians(100)).sin(), 0.15 * i], -1)[None]


def test_superposition_is_exact_and_weighs() -> None:
    x = walk(40, 0)
    y = turned(x)
    moved, rmsd = superpose(x, y)
    torch.testing.assert_close(moved, y, atol=1e-10, rtol=0)
    assert rmsd < 1e-10
    weight = (torch.arange(40) < 12).double()[None]
    moved, rmsd = superpose(x, torch.where(weight[..., None] > 0, y, 0.0), weight)  # the others do not count, and move
    torch.testing.assert_close(moved, y, atol=1e-10, rtol=0)
    assert rmsd < 1e-10


def test_superposition_is_the_best_of_its_neighbours() -> None:
    x, y, weight = walk(30, 1), walk(30, 2), torch.rand(1, 30, dtype=torch.float64)
    moved, rmsd = superpose(x, y, weight)
    centre = (weight[..., None] * y).sum(1) / weight.sum()
    for k in range(6):
        small = SO3().expmap(
            SO3().origin()[None], 1e-3 * torch.eye(3, dtype=torch.float64)[k % 3][None] * (1, -1)[k // 3]
        )
        near = rotate(small, moved - centre) + centre
        assert ((weight * (near - y).square().sum(-1)).sum() / weight.sum()).sqrt() > rmsd


def test_scale_of_the_score() -> None:
    expected = [0.05, 0.05, (1.24 * 85 ** (1 / 3) - 1.8) / 10]
    torch.testing.assert_close(d0(torch.tensor([5.0, 17.0, 100.0])), torch.tensor(expected))


def test_same_shape_is_one_and_mirror_image_is_not() -> None:
    for x in (walk(100, 3), helix(100)):
        torch.testing.assert_close(tm_score(turned(x), x), torch.ones(1, dtype=x.dtype), atol=1e-10, rtol=0)
        assert tm_score(x * x.new_tensor([1, 1, -1]), x) < 0.7  # of a helix, thin beside d0, the axes still coincide


def test_score_forgets_rigid_motions_of_either() -> None:
    x, y = walk(64, 4, 3), walk(64, 5, 3)
    torch.testing.assert_close(tm_score(turned(x, 1), turned(y, 2)), tm_score(x, y), atol=1e-6, rtol=0)


def test_score_finds_the_half_that_fits() -> None:
    """Half the residues are the same and the rest far away: half the score, and what is far adds nothing."""
    x = walk(80, 6)
    y = turned(x)
    y[:, 40:] += 1000.0 * torch.arange(1, 41, dtype=torch.float64)[:, None]
    assert tm_score(x, y).item() == pytest.approx(0.5, abs=1e-6)


def test_score_counts_what_the_mask_shows_over_a_length() -> None:
    x, y = walk(60, 7, 2), walk(60, 8, 2)
    mask = torch.arange(60) < torch.tensor([[45], [60]])
    padded = tm_score(torch.where(mask[..., None], x, 77.0), y, mask)
    torch.testing.assert_close(padded[:1], tm_score(x[:1, :45], y[:1, :45]), atol=1e-9, rtol=0)
    half = tm_score(x, x, mask, torch.tensor([90.0, 120.0]))
    torch.testing.assert_close(half, torch.full((2,), 0.5, dtype=half.dtype), atol=1e-9, rtol=0)


def test_ascent_never_descends() -> None:
    x, y = walk(50, 9, 4), walk(50, 10, 4)
    mask, scale = torch.ones(4, 50, dtype=torch.float64), d0(torch.full((4,), 50.0, dtype=torch.float64))
    scores = []
    for _ in range(15):
        scores.append(kernel((x - y).square().sum(-1), scale[:, None]).sum(-1))
        x = ascend(x, y, mask, scale, 1)
    assert (torch.stack(scores).diff(dim=0) > -1e-12).all()
    assert (scores[-1] > scores[0]).all()


def test_alignment_is_the_best_of_all() -> None:
    """Against every monotonic alignment of small tables, by recursion."""

    def best(value: list[list[float]]) -> float:
        if not value or not value[0]:
            return 0.0
        rest = [row[:-1] for row in value]
        return max(best(value[:-1]), best(rest), best(rest[:-1]) + value[-1][-1])

    value = torch.rand(20, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    value = torch.where(value < 0.5, 0.0, value)
    partner, paired = _alignment(value)
    total = (value.gather(-1, partner[..., None])[..., 0] * paired).sum(-1)
    torch.testing.assert_close(total, torch.tensor([best(v.tolist()) for v in value], dtype=torch.float64))
    for row, here in zip(partner, paired, strict=True):
        assert (row[here].diff() > 0).all()


def test_a_piece_is_found_in_the_whole_wherever_it_is() -> None:
    whole = walk(90, 11).float()
    pieces = [whole[0], whole[0, 20:70], torch.cat([whole[0, :30], whole[0, 45:]]), turned(whole)[0]]
    found = pairwise_tm(pieces, [whole[0]])[:, 0]
    torch.testing.assert_close(found, torch.ones(4), atol=1e-3, rtol=0)
    back = pairwise_tm([whole[0]], pieces)[0]
    torch.testing.assert_close(back, torch.tensor([1.0, 50 / 90, 75 / 90, 1.0]), atol=0.02, rtol=0)


def test_alignment_superposes() -> None:
    y = walk(90, 14).float()
    x = torch.cat([turned(y)[:, 20:70], torch.full((1, 4, 3), 9.0)], 1)  # padded
    there = (torch.ones(1, 54) * (torch.arange(54) < 50)).bool()
    moved, scores = tm_align(x, there, y, torch.ones(1, 90, dtype=torch.bool))
    torch.testing.assert_close(moved[:, :50], y[:, 20:70], atol=1e-3, rtol=0)
    torch.testing.assert_close(scores[0, 0], torch.tensor(1.0), atol=1e-4, rtol=0)


def test_mirror_images_do_not_align() -> None:
    x = walk(90, 12).float()[0]
    assert pairwise_tm([x], [x * x.new_tensor([1, 1, -1])]).item() < 0.5


def test_pairs_do_not_depend_on_their_batch() -> None:
    chains = [turned(walk(n, n), n)[0].float() for n in (30, 45, 64, 80, 17)]
    matrix = pairwise_tm(chains)
    torch.testing.assert_close(matrix.diagonal(), torch.ones(5))
    one = [torch.ones(1, len(chains[k]), dtype=torch.bool) for k in (0, 3)]
    alone = tm_align(chains[0][None], one[0], chains[3][None], one[1])[1][0]
    torch.testing.assert_close(torch.stack([matrix[0, 3], matrix[3, 0]]), alone, atol=1e-4, rtol=0)


def test_alignment_is_never_above_one() -> None:
    chains = [walk(n, 100 + n)[0].float() for n in range(20, 60, 5)]
    assert (pairwise_tm(chains, chains) <= 1 + 1e-5).all()


def test_the_nearest_is_found_among_many() -> None:
    """Each piece in the chain that it was cut from, of more than are aligned."""
    chains = [walk(60 + k, 200 + k)[0].float() for k in range(25)]
    scores, places = nearest_tm([turned(c[None, k : k + 45])[0] for k, c in enumerate(chains[:10])], chains)
    assert places == list(range(10))
    torch.testing.assert_close(scores, torch.ones(10), atol=1e-3, rtol=0)


def test_points_score_as_points() -> None:
    """A chain at one point: the score of a superposed centre, not a number that cannot be."""
    point = torch.zeros(60, 3)
    score = pairwise_tm([point], [walk(60, 13)[0].float()])
    assert 0 < score.item() < 0.3


@pytest.mark.skipif("SCIFLOW_MIRROR" not in os.environ, reason="reads the data set structures")
def test_real_chains_score_about_as_published_code_says() -> None:
    """Against tmtools 0.3.0, another search for the same maximum; both are lower bounds."""
    chains: list[Tensor] = []
    with tarfile.open(Path(os.environ["SCIFLOW_MIRROR"]) / "structures/complexes.tar.xz", "r|xz") as tar:
        while len(chains) < 8:
            member = tar.next()
            assert member is not None
            file = tar.extractfile(member)
            chains += [c.atoms[:, 1] for c in parse_structure(file.read(), member.name)[0]] if file else []
    rows = [
        (2, 1, 0.995, 0.995),
        (3, 1, 0.399, 0.272),
        (6, 5, 0.342, 0.361),
        (7, 6, 0.483, 0.483),
        (5, 4, 0.234, 0.205),
    ]
    for i, j, over_i, over_j in rows:
        found = pairwise_tm([chains[i], chains[j]])
        torch.testing.assert_close(found[[0, 1], [1, 0]], torch.tensor([over_i, over_j]), atol=0.04, rtol=0)
