"""Distances meet their closed forms, and their floors."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, wasserstein_distance

from sciflow.boltzmann.distances import (
    energy_w2,
    histogram,
    interatomic_distances,
    samples_w2,
    total_variation,
    total_variation_floor,
)
from sciflow.manifolds import Euclidean
from sciflow.paths import Alignment
from sciflow.rng import normal, step_generator, uniform


def _normal(*shape, key=0):
    return normal(*shape, generator=step_generator(7, key), dtype=torch.float64)


def test_energy_w2_of_equal_numbers_is_that_of_sorted_pairs():
    u, v = _normal(400), 3 * _normal(400, key=1) + 2
    expected = math.sqrt(float((u.sort().values - v.sort().values).square().mean()))
    assert energy_w2(u, v) == pytest.approx(expected, rel=1e-12)


def test_energy_w2_of_two_normals_is_closed_form():
    # W₂² = (μ − μ')² + (σ − σ')², from quantiles at n = 40 000 levels: off by the tails, some 1e-3
    levels = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000
    z = torch.special.ndtri(levels)
    assert energy_w2(z, 2 + 3 * z[::2]) == pytest.approx(math.sqrt(2**2 + 2**2), abs=2e-3)


def test_weights_are_repetitions():
    u, v = _normal(6), _normal(9, key=1)
    times = torch.tensor([1, 4, 0, 2, 1, 3])
    other = torch.tensor([2, 1, 1, 1, 3, 0, 1, 1, 1])
    repeated = energy_w2(u.repeat_interleave(times), v.repeat_interleave(other))
    assert energy_w2(u, v, times.double(), 0.3 * other.double()) == pytest.approx(repeated, rel=1e-12)


def test_a_weightless_infinity_does_not_count_and_another_does():
    u, v = torch.tensor([0.0, 1.0, math.inf]), torch.tensor([0.0, 1.0])
    assert energy_w2(u, v, torch.tensor([1.0, 1.0, 0.0])) == pytest.approx(0, abs=1e-12)
    assert energy_w2(u, v) == math.inf


def test_w2_is_at_least_w1():
    u, v = _normal(300), _normal(200, key=1).exp()
    assert energy_w2(u, v) >= wasserstein_distance(u.numpy(), v.numpy())


def test_samples_w2_on_the_line_is_energy_w2():
    u, v = _normal(50, 1), _normal(50, 1, key=1) + 1
    assert samples_w2(u, v, Euclidean(1).squared_distances) == pytest.approx(energy_w2(u[:, 0], v[:, 0]), rel=1e-9)


def test_samples_w2_of_shifted_points_is_the_shift():
    x = _normal(40, 3)
    shift = torch.tensor([0.1, 0.2, 0.2], dtype=torch.float64)
    order = torch.randperm(40, generator=step_generator(1))
    assert samples_w2(x, (x + shift)[order], Euclidean(3).squared_distances) == pytest.approx(0.3, rel=1e-6)


def test_clusters_are_compared_up_to_rotation_and_labels():
    x = _normal(6, 5, 3)
    turn = torch.linalg.qr(_normal(3, 3, key=1)).Q
    turn = turn * torch.linalg.det(turn).sign()
    labels = torch.randperm(5, generator=step_generator(2))
    moved = (x @ turn.T + 1.5)[:, labels]
    cost = Alignment(permutable=[range(5)])
    # the search for labels is local: it may miss one of few clusters, and a Euclidean assignment misses all
    assert samples_w2(moved.flip(0), x, cost) < 0.3 * samples_w2(moved.flip(0), x, _flat)


def _flat(x, y):
    return Euclidean(15).squared_distances(x.flatten(1), y.flatten(1))


def test_sizes_must_agree():
    with pytest.raises(ValueError, match="3 samples against 2"):
        samples_w2(torch.zeros(3, 1), torch.zeros(2, 1), Euclidean(1).squared_distances)


def test_histogram_keeps_all_mass_and_weighs_rows():
    values = torch.tensor([[-1.0, 0.5], [0.5, 3.0]])
    edges = torch.tensor([0.0, 1.0, 2.0])
    assert histogram(values, edges).tolist() == [0.25, 0.5, 0.0, 0.25]
    assert histogram(values, edges, torch.tensor([3.0, 1.0])).tolist() == [0.375, 0.5, 0.0, 0.125]


def test_total_variation_of_disjoint_histograms_is_one_and_of_equal_ones_zero():
    p, q = torch.tensor([1.0, 3.0, 0.0]), torch.tensor([0.0, 0.0, 5.0])
    assert total_variation(p, q) == pytest.approx(1)
    assert total_variation(p, 7 * p) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("m", [math.inf, 3000])
def test_floor_is_the_mean_total_variation_of_draws(m):
    # bins from crowded to nearly empty; 400 repetitions leave 1 % of standard error
    p = torch.softmax(4 * _normal(200), 0)
    n, generator = 2000, step_generator(3)

    def drawn(size):
        return torch.bincount(torch.multinomial(p, size, True, generator=generator), minlength=200).double()

    found = [total_variation(drawn(n), p if m == math.inf else drawn(m)) for _ in range(400)]
    assert sum(found) / 400 == pytest.approx(total_variation_floor(p, n, m), rel=0.04)


@pytest.mark.parametrize("share", [0.003, 0.05, 0.5, 0.9])
def test_floor_of_one_bin_is_that_of_the_binomial(share):
    k = np.arange(41)
    mean = (binom(40, share).pmf(k) * abs(k / 40 - share)).sum()  # of either bin, and so half of both
    assert total_variation_floor(torch.tensor([share, 1 - share]).double(), 40) == pytest.approx(mean, rel=1e-6)


def test_interatomic_distances_do_not_know_a_rotation():
    x = _normal(3, 4, 2)
    angle = uniform(1, generator=step_generator(0), dtype=torch.float64) * 6
    c, s = angle.cos(), angle.sin()
    turned = x @ torch.stack([torch.cat([c, -s]), torch.cat([s, c])])
    assert interatomic_distances(x).shape == (3, 6)
    torch.testing.assert_close(interatomic_distances(turned), interatomic_distances(x))
