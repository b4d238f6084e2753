"""Samplers of letters: with an exact posterior they meet the joint law of the data."""

import itertools

import pytest
import torch

from sciflow.errors import InputError
from sciflow.paths import Cosine, Linear, MaskingPath, Polynomial, RatesPath, UniformPath
from sciflow.rng import sample_generators, step_generator
from sciflow.sampling import AlongPath, Confidence, Corrector, Staggered, TauLeap, sample_posterior

F64 = torch.float64
WORDS = torch.tensor(list(itertools.product(range(3), repeat=2)))
TARGET = torch.tensor([[0.30, 0.02, 0.03], [0.01, 0.25, 0.04], [0.10, 0.05, 0.20]], dtype=F64).flatten()
INDEPENDENT = torch.einsum("i,j->ij", TARGET.view(3, 3).sum(1), TARGET.view(3, 3).sum(0)).flatten()
MASKING = MaskingPath(3, Linear())
PATHS = {
    "masking": MaskingPath(3, Polynomial(2)),
    "uniform": UniformPath(3, Cosine()),
    "biased": RatesPath(3, [3.0, 0.0, 2.0, 1.0], Linear()),
}


def exact(path):
    """The posterior of letters of two correlated places, by enumeration of all words."""

    def denoise(x, t):
        of_words = path.log_conditional(x, t)[:, [0, 1], WORDS].sum(-1) + TARGET.log()
        p = of_words.softmax(-1)
        return (p[:, :, None, None] * torch.nn.functional.one_hot(WORDS, 3)).sum(1)

    return denoise


def law(x, states=3):
    return torch.bincount(x[:, 0] * states + x[:, 1], minlength=states**2) / len(x)


def at(path, n, t, generator):
    """``n`` exact draws of the process at time ``t``."""
    x1 = WORDS[torch.multinomial(TARGET, n, replacement=True, generator=generator)]
    x0 = path.prior.sample(n, 2, generator=generator)
    return path.sample(x0, x1, torch.full((n,), t, dtype=F64), generator).x_t


def law_at(path, t):
    """The law of both tokens at time ``t``."""
    every = torch.arange(path.states)[:, None].expand(-1, 2)
    p = path.log_conditional(every, torch.full((path.states,), t, dtype=F64)).exp()
    return torch.einsum("ij,xi,yj->xy", TARGET.view(3, 3), p[:, 0], p[:, 1]).flatten()


def assert_law(x, target, states=3):
    """Total variation below 3/√n: of nine words, a sample of the law itself has 1.2/√n at most in the mean."""
    assert 0.5 * (law(x, states) - target).abs().sum() < 3 / len(x) ** 0.5


def grid(steps, start=0.0, end=1.0):
    return torch.linspace(start, end, steps + 1, dtype=F64)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize(
    "step",
    [
        AlongPath,
        lambda path: TauLeap(path, 4.0),
        lambda path: TauLeap(path, lambda t: 30 * t * (1 - t)),
        lambda path: Corrector(AlongPath(path), path, 0.02, times=2),
    ],
    ids=["along", "noise", "noise in time", "corrector"],
)
def test_every_path_and_step_meets_the_joint_law(path, step):
    # two places that jump in one step are drawn apart: with 100 steps an error of about 5e-3, beside 3/√n = 0.055
    generator, n = step_generator(0), 3000
    x0 = path.prior.sample(n, 2, generator=generator)
    made = sample_posterior(exact(path), x0, grid(100), step(path), generator=generator)
    assert_law(made.x, TARGET)


@pytest.mark.parametrize("step", [Confidence(MASKING), Confidence(MASKING, 2.0), Staggered(MASKING)])
def test_one_place_a_step_is_exact(step):
    # chain rule of probability: two steps for two places, in an order that depends on what is known alone
    generator, n = step_generator(1), 20_000
    made = sample_posterior(exact(MASKING), MASKING.prior.sample(n, 2), grid(2), step, generator=generator)
    assert made.nfe == 2
    assert_law(made.x, TARGET)


@pytest.mark.parametrize("step", [AlongPath(MASKING), Confidence(MASKING), Staggered(MASKING, 1.0), TauLeap(MASKING)])
def test_all_places_in_one_step_are_independent(step):
    # and so the test above can fail: the total variation between the two laws is 0.4
    generator, n = step_generator(2), 20_000
    made = sample_posterior(exact(MASKING), MASKING.prior.sample(n, 2), grid(1), step, generator=generator)
    assert_law(made.x, INDEPENDENT)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_noise_leaves_the_laws_of_all_times(path):
    generator, n = step_generator(3), 5000
    x = at(path, n, 0.2, generator)
    leaps = sample_posterior(exact(path), x, grid(60, 0.2, 0.6), TauLeap(path, 10.0), generator=generator)
    assert_law(leaps.x, law_at(path, 0.6), path.states)
    # a corrector alone, at one time: 50 times 4 % of the places, twice each
    alone = Corrector(lambda denoise, x, t, s, generator: x, path, 0.04, times=50)
    corrected = sample_posterior(exact(path), x, grid(1, 0.2, 0.6), alone, generator=generator).x
    assert (corrected != x).any(-1).double().mean() > 0.1
    assert_law(corrected, law_at(path, 0.2), path.states)


@pytest.mark.parametrize("source", [[0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [3.0, 1.0, 2.0, 1.0]])
def test_noise_has_no_poles(source):
    # at t = 0, where rates over κ would be infinite, and with as much noise as a number holds
    path, generator = RatesPath(3, source, Cosine()), step_generator(4)
    x0 = path.prior.sample(2000, 2, generator=generator)
    made = sample_posterior(exact(path), x0, grid(1, 0.0, 0.5), TauLeap(path, 1e12), generator=generator)
    p = law_at(path, 0.5).view(path.states, path.states)
    independent = torch.einsum("i,j->ij", p.sum(1), p.sum(0)).flatten()
    # one step: places drawn apart from the posterior at 0, which is the law of either letter
    assert_law(made.x, independent, path.states)


@pytest.mark.parametrize("places", [1, 7])
@pytest.mark.parametrize("path", [MaskingPath(4, Cosine()), MaskingPath(4)], ids=["cosine", "linear"])
@pytest.mark.parametrize(
    "step",
    [
        AlongPath,
        lambda p: TauLeap(p, 20.0),
        lambda p: Corrector(AlongPath(p), p, 0.9),
        Confidence,
        lambda p: Confidence(p, 3.0),
        Staggered,
        lambda p: Staggered(p, 0.4),
    ],
    ids=["along", "noise", "corrector", "confidence", "temperature", "left to right", "staggered"],
)
def test_every_sample_has_its_own_generator_and_no_mask_is_left(step, path, places):
    def denoise(x, t):
        return torch.stack([(x == k) + 0.3 * k + t[:, None] for k in range(4)], -1).softmax(-1)

    times = torch.cat([torch.rand(11, generator=step_generator(5)).sort().values, torch.ones(1)])
    times[0] = 0

    def run(start, n):
        generators = sample_generators(6, start, n)
        x0 = path.prior.sample(n, places, generator=generators)
        return sample_posterior(denoise, x0, times, step(path), generator=generators)

    whole = run(0, 300)
    assert ((whole.x >= 0) & (whole.x < 4)).all()
    assert (run(40, 9).x == whole.x[40:49]).all()
    assert whole.nfe == (22 if step(path).__class__ is Corrector else 11)


def test_the_most_certain_place_comes_first():
    p = torch.tensor([[0.4, 0.6], [0.1, 0.9], [0.5, 0.5]])
    path = MaskingPath(2)

    def first(temperature, n=3000):
        x0, half = path.prior.sample(n, 3), torch.tensor([0.0, 1 / 3])
        step = Confidence(path, temperature)
        x = sample_posterior(lambda x, t: p.expand(len(x), 3, 2), x0, half, step, generator=step_generator(7)).x
        assert ((x != 2).sum(-1) <= 2).all()
        return (x != 2).double().mean(0)

    strict, random = first(0.0), first(1e6)
    assert strict[1] == 1
    assert strict[2] == 0
    assert (random - 1 / 3).abs().max() < 0.04  # five standard errors


def test_left_to_right_uncovers_one_place_a_step():
    path = MaskingPath(2)
    for uncovered in range(1, 6):
        x = sample_posterior(
            lambda x, t: torch.full((len(x), 5, 2), 0.5),
            path.prior.sample(50, 5),
            torch.linspace(0, 1, 6, dtype=F64)[: uncovered + 1],
            Staggered(path),
            generator=step_generator(8),
        ).x
        assert (x[:, :uncovered] < 2).all()
        assert (x[:, uncovered:] == 2).all()


@pytest.mark.parametrize("step", [AlongPath(MASKING), Confidence(MASKING), Staggered(MASKING), TauLeap(MASKING)])
def test_letters_that_are_known_stay(step):
    x0 = torch.tensor([[3, 1, 3, 0, 3]]).expand(100, -1)
    x = sample_posterior(
        lambda x, t: torch.full((*x.shape, 3), 1 / 3), x0, grid(4), step, generator=step_generator(9)
    ).x
    assert (x[:, [1, 3]] == torch.tensor([1, 0])).all()
    assert (x < 3).all()


@pytest.mark.parametrize("step", [Confidence, Staggered])
def test_an_order_needs_masks(step):
    with pytest.raises(ValueError, match="masks"):
        step(UniformPath(3))


def test_hooks_compose_and_calls_of_the_network_are_counted():
    def sharper(power):
        return lambda denoise: lambda x, t, **cond: (denoise(x, t, **cond).log() * power).softmax(-1)

    def twice(denoise):
        return lambda x, t, **cond: (denoise(x, t, **cond) + denoise(x, t, **cond)) / 2

    def denoise(x, t, row):
        return (row[:, None, None] * torch.tensor([1.0, 2.0, 3.0])).expand(len(x), 2, 3).softmax(-1)

    asked = []

    def step(denoise, x, t, s, generator):
        asked.append(denoise(x, t))
        return x

    row = torch.tensor([1.0, 2.0])
    made = sample_posterior(
        denoise, torch.full((2, 2), 3), torch.linspace(0, 1, 5), step, [sharper(2), twice], {"row": row}
    )
    assert made.nfe == 8
    torch.testing.assert_close(asked[0][:, 0], (2 * row[:, None] * torch.tensor([1.0, 2.0, 3.0])).softmax(-1))


@pytest.mark.parametrize("times", [[0.0, 0.5, 0.5, 1.0], [1.0, 0.0], [0.0, 1.5], [[0.0, 1.0]], [0.0, float("nan")]])
def test_a_grid_that_does_not_rise_is_refused(times):
    with pytest.raises(InputError, match="rise from 0 to 1"):
        sample_posterior(exact(MASKING), torch.full((2, 2), 3), torch.tensor(times), AlongPath(MASKING))
