"""Paths of tokens: their laws, and the rates and jumps that keep to them."""

import itertools

import pytest
import torch

from sciflow.errors import InputError
from sciflow.paths import Cosine, Linear, MaskingPath, Polynomial, RatesPath, UniformPath
from sciflow.rng import sample_generators, step_generator

F64 = torch.float64
COLUMNS = [[0.5, 0.2, 0.3], [0.1, 0.0, 0.9]]  # laws of two places; at the second, letter 1 is certain where it stands
PATHS = {
    "masking": MaskingPath(3, Polynomial(2)),
    "uniform": UniformPath(3, Cosine()),
    "biased": RatesPath(3, [3.0, 1.0, 2.0], Linear()),
    "half masks": RatesPath(3, [1.0, 0.0, 1.0, 2.0], Linear()),
    "columns": RatesPath(3, torch.tensor(COLUMNS), Polynomial(3)),
}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def frequencies(x, states):
    """Of each place of ``x (n, L)``: ``(L, states)``."""
    return torch.nn.functional.one_hot(x, states).to(F64).mean(0)


def conditional(path, t):
    """``p_t(y | x1 = k)`` of two places, ``(k, L, y)``."""
    every = torch.arange(path.states)[:, None].expand(-1, 2)
    return path.log_conditional(every, torch.full((path.states,), t, dtype=F64)).exp().permute(2, 1, 0)


def close(found, law, n):
    """To five standard errors of a frequency among ``n``."""
    assert (found - law).abs().max() < 5 * 0.5 / n**0.5


@every_path
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_points_follow_the_conditional_law(path, t):
    n, generator = 5000, step_generator(0)
    law = conditional(path, t)
    torch.testing.assert_close(law.sum(-1), torch.ones_like(law[..., 0]))
    for letter in range(3):
        x0, x1 = path.prior.sample(n, 2, generator=generator), torch.full((n, 2), letter)
        x_t = path.sample(x0, x1, torch.full((n,), t, dtype=F64), generator).x_t
        close(frequencies(x_t, path.states), law[letter], n)
    if t == 0:  # then it is the source's, whose probabilities the prior tells
        each = torch.tensor(list(itertools.product(range(path.states), repeat=2)))
        both = (law[0, 0, :, None] * law[0, 1]).flatten()
        torch.testing.assert_close(path.prior.log_prob(each).exp(), both)


@every_path
@pytest.mark.parametrize("t", [0.2, 0.7])
def test_rates_solve_the_forward_equation(path, t):
    # ∂p(y)/∂t = Σ_x p(x) u(y | x) − p(y) Σ_z u(z | y); central differences of h, whose error is h²
    h = 1e-5
    change = (conditional(path, t + h) - conditional(path, t - h)) / (2 * h)
    every = torch.arange(path.states)[:, None].expand(-1, 2)
    p, times = conditional(path, t), torch.full((path.states,), t, dtype=F64)
    for letter in range(3):
        given = torch.full((path.states, 2), letter)
        posterior = torch.nn.functional.one_hot(given, 3).to(F64)
        rates = path.velocity(posterior, every, times)  # (x, L, y)
        assert (rates >= 0).all()
        assert rates.gather(-1, every[..., None]).eq(0).all()
        flow = torch.einsum("lx,xly->ly", p[letter], rates) - p[letter] * rates.sum(-1).T
        torch.testing.assert_close(flow, change[letter], atol=1e-8, rtol=1e-8)


@every_path
def test_rates_of_a_sample_lead_to_its_letter(path):
    n = 50
    x1 = torch.randint(3, (n, 2), generator=step_generator(1))
    t = torch.linspace(0.1, 0.9, n, dtype=F64)
    drawn = path.sample(path.prior.sample(n, 2, generator=step_generator(2)), x1, t, step_generator(3))
    rate = path.schedule.dkappa(t) / (1 - path.schedule.kappa(t))
    away = drawn.x_t != x1
    torch.testing.assert_close(drawn.u_t.sum(-1), away * rate[:, None])
    assert away.any()
    torch.testing.assert_close(drawn.u_t.gather(-1, x1[..., None])[..., 0], away * rate[:, None])


def generator_of(path, posterior, t, noise):
    """Rates ``(S, S)``, x to y, of one place whose posterior stays, every place drawn anew at rate ``noise``."""
    states, t = path.states, torch.tensor(t, dtype=F64)
    padded = torch.nn.functional.pad(posterior, (0, states - path.k)).repeat(states, 1)
    certain = path.prior.probabilities == 0
    padded[certain] = torch.eye(states, dtype=F64)[certain]
    kappa = path.schedule.kappa(t)
    rate = path.schedule.dkappa(t) / (1 - kappa)
    anew = kappa * padded + (1 - kappa) * path.prior.probabilities
    return rate * (padded - torch.eye(states, dtype=F64)) + noise * (anew - torch.eye(states, dtype=F64))


@pytest.mark.parametrize("noise", [0.0, 2.0])
@pytest.mark.parametrize(
    "path", [MaskingPath(1), UniformPath(2), RatesPath(3, [2.0, 1.0, 3.0, 1.0], Cosine())], ids=["one", "two", "four"]
)
def test_a_step_is_the_exponential_of_its_rates(path, noise):
    # the chain of time-dependent rates, in pieces so short that midpoint rates err by 1e-5
    t, s, n, pieces = 0.2, 0.7, 200_000, 400
    posterior = torch.tensor([0.3, 0.7, 0.1], dtype=F64)[: path.k]
    posterior = posterior / posterior.sum()
    chain = torch.eye(path.states, dtype=F64)
    for i in range(pieces):
        middle = t + (s - t) * (i + 0.5) / pieces
        chain = chain @ torch.linalg.matrix_exp((s - t) / pieces * generator_of(path, posterior, middle, noise))
    x = torch.arange(path.states)[:, None].expand(-1, n)
    times, ends = (torch.full((path.states,), time, dtype=F64) for time in (t, s))
    held, generator = posterior.expand(*x.shape, -1), step_generator(4)
    y = path.advance(held, x, times, ends, generator)
    y = path.redraw(held, y, ends, -torch.expm1(-noise * (ends - times)), generator)
    close(frequencies(y.T, path.states), chain, n)


@every_path
def test_the_last_jumps_end_in_letters_of_the_posterior(path):
    n, generator = 20_000, step_generator(5)
    posterior = torch.tensor([[0.2, 0.5, 0.3], [0.0, 1.0, 0.0]], dtype=F64)
    x = path.prior.sample(n, 2, generator=generator)  # each of them may be noise
    t, s = torch.full((n,), 0.4, dtype=F64), torch.ones(n, dtype=F64)
    y = path.advance(posterior.expand(n, -1, -1), x, t, s, generator)
    close(frequencies(y, path.states)[:, :3], posterior, n)
    assert (y[:, 1] == 1).all()
    assert (path.advance(posterior.expand(n, -1, -1), x, t, t, generator) == x).all()


def test_what_cannot_be_noise_stays_whatever_a_network_says():
    path, n = MaskingPath(3), 1000
    x = torch.randint(3, (n, 2), generator=step_generator(6))
    wrong = torch.full((n, 2, 3), 1 / 3)
    t, s = torch.full((n,), 0.5), torch.full((n,), 1.0)
    assert (path.advance(wrong, x, t, s, step_generator(7)) == x).all()
    assert (path.velocity(wrong, x, t) == 0).all()
    redrawn = path.redraw(wrong, x, t, s, step_generator(8))
    assert ((redrawn == x) | (redrawn == 3)).all()
    close((redrawn == 3).to(F64).mean(0), torch.tensor(0.5), n)  # covered as often as the path has masks at ½


@every_path
def test_a_redrawn_place_keeps_the_law_of_its_time(path):
    # one place a sample, letters of a law w, its exact posterior: p_t stays, whatever share is drawn anew
    n, t = 50_000, 0.4
    w = torch.tensor([0.6, 0.3, 0.1], dtype=F64)
    generator, times = step_generator(9), torch.full((n,), t, dtype=F64)
    x1 = torch.multinomial(w.expand(2, -1), n, replacement=True, generator=generator).T
    x = path.sample(path.prior.sample(n, 2, generator=generator), x1, times, generator).x_t
    law = torch.einsum("k,kly->ly", w, conditional(path, t))
    for share in (0.3, 1.0):
        posterior = (w.log() + path.log_conditional(x, times)).softmax(-1)
        moved = path.redraw(posterior, x, times, torch.full_like(times, share), generator)
        assert (moved != x).any()
        close(frequencies(moved, path.states), law, n)
        x = moved


@every_path
def test_every_sample_has_its_own_generator(path):
    def run(rows, start):
        generators = sample_generators(3, start, len(rows))
        x = path.prior.sample(len(rows), 2, generator=generators)
        t = torch.full((len(rows),), 0.3)
        x = path.sample(x, rows, t, generators).x_t
        posterior = torch.tensor([0.2, 0.5, 0.3]).expand(len(rows), 2, 3)
        x = path.advance(posterior, x, t, t + 0.3, generators)
        return path.redraw(posterior, x, t + 0.3, t, generators)

    x1 = torch.randint(3, (20, 2), generator=step_generator(10))
    assert (run(x1, 0)[7:11] == run(x1[7:11], 7)).all()


@pytest.mark.parametrize("source", [[0.5, 0.5], [-1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [float("nan"), 1.0, 1.0]])
def test_a_source_that_is_no_law_is_refused(source):
    with pytest.raises(InputError, match="at least 3"):
        RatesPath(3, source)
