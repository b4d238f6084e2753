"""Bounds of the likelihood of letters: what enumeration gives, and below the truth."""

import itertools

import pytest
import torch

from sciflow.paths import (
    Cosine,
    DirichletPath,
    GumbelSoftmaxPath,
    LogitPath,
    MaskingPath,
    Polynomial,
    RatesPath,
    UniformPath,
)
from sciflow.rng import sample_generators, step_generator
from sciflow.sampling import token_bound

F64 = torch.float64
WORDS = torch.tensor(list(itertools.product(range(3), repeat=2)))
TARGET = torch.tensor([[0.30, 0.02, 0.03], [0.01, 0.25, 0.04], [0.10, 0.05, 0.20]], dtype=F64).flatten()
PATHS = {
    "masking": MaskingPath(3, Polynomial(2)),
    "uniform": UniformPath(3, Cosine()),
    "biased": RatesPath(3, [3.0, 1.0, 2.0]),
    "mixed": RatesPath(3, [1.0, 0.0, 2.0, 1.0]),
}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


def posterior(path, wrong=0.0):
    """The posterior of TARGET by enumeration, or ``wrong`` by another law of words."""
    other = torch.randn(len(WORDS), generator=step_generator(1), dtype=F64)

    def denoise(x, t):
        of_words = path.log_conditional(x, t)[:, [0, 1], WORDS].sum(-1) + TARGET.log() + wrong * other
        p = of_words.softmax(-1)
        return (p[:, :, None, None] * torch.nn.functional.one_hot(WORDS, 3)).sum(1)

    return denoise


def states(path):
    return torch.tensor(list(itertools.product(range(path.states), repeat=2)))


def exact_bound(denoise, path, x1, until, points=100):
    """``E log p_T(x1 | x) − KL`` of the two processes of jumps, summed over states, by midpoints in ``√(1 − t)``."""
    edges = torch.linspace((1 - until) ** 0.5, 1, points + 1, dtype=F64)
    v = (edges[1:] + edges[:-1]) / 2
    x = states(path)
    given, n = x1.expand(len(x), -1), len(x)

    def law(t):
        return path.log_conditional(x, t.expand(n)).exp().gather(-1, given[..., None]).prod(-2)[..., 0]

    rate = []
    for t in 1 - v**2:
        u = path.velocity(torch.nn.functional.one_hot(given, 3).to(F64), x, t.expand(n))
        w = path.velocity(denoise(x, t.expand(n)), x, t.expand(n))
        rate.append((law(t) * (torch.where(u > 0, u * (u / w).log(), 0) - u + w).sum((-1, -2))).sum())
    end = torch.tensor(until, dtype=F64)
    p = denoise(x, end.expand(n)).gather(-1, given[..., None])[..., 0].log()
    decoded = law(end) * torch.where(path.uncertain(x), p, 0).sum(-1)
    return decoded.sum() - (2 * v * torch.stack(rate)).sum() * edges.diff()[0]


def likelihood(denoise, path, until, pieces=200):
    """``P(x1)`` of the model for all words: the master equation of its jumps up to T, then letters place by place."""
    x = states(path)
    index = x @ torch.tensor([path.states, 1])
    law = path.prior.log_prob(x).exp()
    h = until / pieces
    for i in range(pieces):
        t = torch.full((len(x),), (i + 0.5) * h, dtype=F64)
        rates = path.velocity(denoise(x, t), x, t)
        chain = torch.zeros(len(x), len(x), dtype=F64)
        for place, stride in enumerate((path.states, 1)):
            to = index[:, None] + (torch.arange(path.states) - x[:, place : place + 1]) * stride
            chain.scatter_add_(1, to, rates[:, place])
        chain -= torch.diag(chain.sum(1))
        law = law @ torch.linalg.matrix_exp(h * chain)
    p = denoise(x, torch.full((len(x),), until, dtype=F64))
    p = p.where(path.uncertain(x)[..., None], torch.nn.functional.one_hot(x, path.states)[..., :3].to(F64))
    return torch.einsum("n,ni,nj->ij", law, p[:, 0], p[:, 1]).flatten()


def estimate(denoise, path, x1, rows=500, draws=16, **options):
    each = token_bound(denoise, x1.expand(rows, -1), path, draws=draws, generator=step_generator(2), **options)
    return each.mean(), each.std() / rows**0.5


@pytest.fixture(params=[torch.float32, F64], ids=str)
def precision(request):
    """The dtype that sources are drawn in."""
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(torch.float32)


@every_path
@pytest.mark.parametrize("wrong", [0.0, 0.7], ids=["exact", "wrong"])
def test_the_bound_is_that_of_enumeration_and_below_the_likelihood(path, wrong):
    denoise, until = posterior(path, wrong), 0.98
    likely = likelihood(denoise, path, until).log()
    torch.testing.assert_close(likely.exp().sum(), torch.ones((), dtype=F64))
    if wrong == 0:  # up to what two places drawn together at the end cost
        torch.testing.assert_close(likely.exp(), TARGET, atol=1e-3, rtol=0)
    for word in (0, 5):
        bound = exact_bound(denoise, path, WORDS[word], until)
        found, error = estimate(denoise, path, WORDS[word], until=until)
        assert error < 0.1
        assert (found - bound).abs() < 4.5 * error
        assert bound < likely[word] + 1e-3


@pytest.mark.parametrize("path", [MaskingPath(3), MaskingPath(3, Polynomial(2)), MaskingPath(3, Cosine())])
def test_of_masks_with_an_exact_posterior_the_bound_is_the_likelihood(path):
    # the state tells how it came about, so that the mean of the processes to all words is the model's itself
    for word in (0, 5):
        found, error = estimate(posterior(path), path, WORDS[word])
        assert error < 0.1
        assert (found - TARGET[word].log()).abs() < 4.5 * error


@pytest.mark.parametrize("path", [DirichletPath(3), LogitPath(3)], ids=["Dirichlet", "logits"])
def test_of_independent_letters_every_draw_on_the_simplex_is_exact(path):
    # Bayes: p(x) P(x1 | x) = P(x1) p(x | x1), so that there is nothing to average; Dopri5's tolerance is 1e-5
    letters = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    tokens = torch.tensor([[0, 2], [2, 1]])
    mask = torch.tensor([[True, True], [True, False]])  # what padding says counts nothing

    def denoise(x, t, mask):
        return (path.log_conditional(x, t) + letters.log()).softmax(-1)

    bound = token_bound(
        denoise, tokens, path, until=0.5, draws=1, cond={"mask": mask}, generator=sample_generators(3, 0, 2)
    )
    truth = (letters[[0, 1], tokens].log() * mask).sum(-1)
    torch.testing.assert_close(bound, truth, atol=2e-3, rtol=0)


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("make", [DirichletPath, GumbelSoftmaxPath, LogitPath])
def test_it_is_exact_as_near_to_vertices_where_coordinates_are_below_every_tolerance(make, k, precision):
    """At t = 0.9 of the Gumbel path other letters are e⁻²⁸; an ODE that sees x, not log x, is off by 1 to 500 nats."""
    path, law = make(k), torch.linspace(0, 2, k).softmax(-1)
    tokens = torch.arange(k).repeat(6).view(-1, 2)

    def denoise(x, t):
        return (path.log_conditional(x, t) + law.log()).softmax(-1)

    bound = token_bound(denoise, tokens, path, draws=1, divergence="points", generator=step_generator(0))
    assert bound.dtype == precision
    torch.testing.assert_close(bound, law[tokens].log().sum(-1), atol=1e-2, rtol=0)  # tolerances are 1e-5 of each nat


@every_path
def test_padding_counts_nothing_and_every_row_has_its_own_generator(path):
    letters = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    mask = torch.tensor([[True, True], [True, False], [True, False], [True, False]])

    def denoise(x, t, mask):
        return (path.log_conditional(x, t).to(letters) + letters.log()).softmax(-1)

    def bound(tokens, rows):
        generators = sample_generators(3, rows.start, rows.stop - rows.start)
        return token_bound(denoise, tokens[rows], path, cond={"mask": mask[rows]}, generator=generators)

    tokens = torch.tensor([[0, 1], [0, 1], [2, 2], [1, 0]])
    whole = bound(tokens, slice(0, 4))
    assert (bound(torch.where(mask, tokens, 2), slice(0, 4)) == whole).all()
    assert (bound(tokens, slice(1, 3)) == whole[1:3]).all()
    assert whole[0] != bound(tokens.flip(1), slice(0, 4))[0]


@pytest.mark.parametrize("until", [0.0, 1.0])
def test_a_bound_until_no_time_is_refused(until):
    for path in (MaskingPath(3), LogitPath(3)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            token_bound(None, WORDS, path, until=until)
