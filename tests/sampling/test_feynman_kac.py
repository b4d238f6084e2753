"""Feynman–Kac steering on a space small enough to count: its law, its normalisation, and that weights are exact."""

import pytest
import torch

from sciflow.paths import MaskingPath, UniformPath
from sciflow.rng import sample_generators, step_generator
from sciflow.sampling import AlongPath, Staggered, feynman_kac, sample_posterior

F64 = torch.float64
K, SITES = 3, 3
PATH = MaskingPath(K)
LAW = torch.rand(K, K, K, generator=step_generator(0), dtype=F64).pow(3)  # sites depend on each other
LAW /= LAW.sum()
REWARD = 4 * torch.rand(K, K, K, generator=step_generator(1), dtype=F64)
REWARD[0, 1] = -torch.inf  # forbidden
Z = (LAW * REWARD.exp()).sum()
STEERED = LAW * REWARD.exp() / Z


def denoise(x, t):
    """The exact posterior: sites at which a row is masked are summed out."""
    fits = [(x[:, i, None] == torch.arange(K)) | (x[:, i, None] == K) for i in range(SITES)]
    joint = torch.einsum("abc,na,nb,nc->nabc", LAW, *(fit.to(F64) for fit in fits))
    sites = [joint.sum([j + 1 for j in range(SITES) if j != i]) for i in range(SITES)]
    return torch.stack(sites, 1) / joint.sum((1, 2, 3))[:, None, None]


def reward(x):
    return REWARD[x.unbind(-1)]


def steer(n, particles, generator, grid=4):
    x0 = torch.full((n, particles, SITES), K)
    times = torch.linspace(0, 1, grid, dtype=F64)
    return feynman_kac(denoise, x0, times, Staggered(PATH), reward, generator=generator)  # exact: letter by letter


def distance(x, law, weights=None):
    cells = (x * torch.tensor([K * K, K, 1])).sum(-1)
    shares = torch.bincount(cells, weights, minlength=K**SITES)
    return float(0.5 * (shares / shares.sum() - law.flatten()).abs().sum())


def test_the_error_of_the_law_falls_with_the_particles():
    """From the law without reward (1 particle) to the steered one; bias O(1/P) above the noise of n draws."""
    n = 6000
    errors = [distance(steer(n, p, step_generator(2)).x, STEERED) for p in (1, 4, 32)]
    noise = float(
        (STEERED * (1 - STEERED) / (2 * torch.pi * n)).sqrt().sum()
    )  # mean distance of n draws from their law
    assert errors[0] == pytest.approx(float(0.5 * (LAW - STEERED).abs().sum()), abs=3 * noise)
    assert errors[0] > 3 * errors[1] > 3 * errors[2]
    assert errors[2] < 3 * noise


@pytest.mark.parametrize("particles", [1, 2, 6])
def test_weights_are_exact_at_any_number_of_particles(particles):
    """``E[e^logw] = Z``, and weighted samples follow the steered law."""
    rollout = steer(20_000, particles, step_generator(3))
    w = rollout.logw.exp()
    assert abs(w.mean() - Z) < 4 * w.std() / len(w) ** 0.5
    ess = w.sum() ** 2 / w.square().sum()
    assert distance(rollout.x, STEERED, w) < 2 / ess**0.5  # 27 cells: √(2/π·27)/2 = 2.1 σ/√n at most, less where uneven
    assert not (rollout.x[w > 0][:, :2] == torch.tensor([0, 1])).all(-1).any()


def test_nothing_to_reward_changes_nothing():
    """Without differences in reward no particle is drawn anew, and weights say the reward."""
    x0 = torch.full((4000, 3, SITES), K)
    times = torch.linspace(0, 1, 4, dtype=F64)

    def same(x):
        return torch.full(x.shape[:1], 0.7, dtype=F64)

    rollout = feynman_kac(denoise, x0, times, Staggered(PATH), same, generator=step_generator(4))
    torch.testing.assert_close(rollout.logw, torch.full((4000,), 0.7, dtype=F64), rtol=0, atol=1e-12)
    assert distance(rollout.x, LAW) < 2 / 4000**0.5
    assert rollout.nfe == 3  # as often as without steering


def test_where_all_is_forbidden_weights_say_so():
    x0 = torch.full((5, 4, SITES), K)
    times = torch.linspace(0, 1, 4, dtype=F64)

    def never(x):
        return torch.full(x.shape[:1], -torch.inf, dtype=F64)

    rollout = feynman_kac(denoise, x0, times, AlongPath(PATH), never, generator=step_generator(4))
    assert rollout.logw.isneginf().all()
    assert (rollout.x < K).all()


def test_sample_i_is_from_generator_i():
    whole, part = steer(6, 5, sample_generators(0, 0, 6)), steer(2, 5, sample_generators(0, 4, 2))
    assert torch.equal(whole.x[4:], part.x)
    assert torch.equal(whole.logw[4:], part.logw)


def test_conditions_follow_their_particles():
    """Two conditions, two laws: rows of a batch are not mixed when particles are drawn anew."""
    path = UniformPath(K)

    def known(x, t, letter):  # of independent sites: the letter of the condition, or others
        p = torch.full((len(x), SITES, K), 0.2, dtype=F64)
        p.scatter_(-1, letter[:, None, None].expand(-1, SITES, 1), 0.6)
        return (p.log() + path.log_conditional(x, t)).softmax(-1)

    n, steps = 3000, 20
    letter = torch.arange(n) % 2
    x0 = path.prior.sample(n, 4, SITES, generator=step_generator(5))
    values = torch.tensor([0.0, 0.0, 1.0], dtype=F64)
    given = {"cond": {"letter": letter}, "generator": step_generator(6)}
    grid = torch.linspace(0, 1, steps, dtype=F64)
    rollout = feynman_kac(known, x0, grid, AlongPath(path), lambda x: values[x].sum(-1), **given)
    for which in (0, 1):
        law = torch.full((K,), 0.2, dtype=F64).index_fill(0, torch.tensor([which]), 0.6) * values.exp()
        own, w = rollout.x[letter == which], rollout.logw[letter == which].exp()
        shares = own.flatten().bincount(w.repeat_interleave(SITES), minlength=K) / w.sum() / SITES
        assert float(0.5 * (shares - law / law.sum()).abs().sum()) < 0.04  # noise 0.01, and steps of 1/20


def test_one_particle_is_the_sampler_itself():
    """Its draws of clean sequences aside, nothing is chosen: the law is that of sample_posterior."""
    n, grid = 8000, torch.linspace(0, 1, 4, dtype=F64)
    plain = sample_posterior(denoise, torch.full((n, SITES), K), grid, Staggered(PATH), generator=step_generator(7)).x
    assert distance(plain, LAW) < 2 / n**0.5
    rollout = steer(n, 1, step_generator(8))
    assert distance(rollout.x, LAW) < 2 / n**0.5
    torch.testing.assert_close(rollout.logw, reward(rollout.x), rtol=1e-12, atol=1e-12)
