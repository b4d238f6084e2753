"""Guided posteriors: exact laws where sites are independent, probabilities at any strength, nothing at strength 0."""

import pytest
import torch

from sciflow.paths import (
    DirichletPath,
    FisherPath,
    GumbelSoftmaxPath,
    LinearSimplexPath,
    LogitPath,
    MaskingPath,
    UniformPath,
)
from sciflow.rng import sample_generators, step_generator
from sciflow.sampling import CFG, AlongPath, Classifier, StraightThrough, sample_posterior
from sciflow.sampling.guidance import tilted

F64 = torch.float64
K, SITES, N = 4, 8, 2500
LAW = torch.rand(SITES, K, generator=step_generator(0), dtype=F64).mul(2).exp()
LAW /= LAW.sum(-1, keepdim=True)
ORACLE = 2 * torch.rand(SITES, K, generator=step_generator(1), dtype=F64)  # log p(y | x) = Σ_l ORACLE[l, x_l]
PATHS = {
    "masking": MaskingPath(K),
    "uniform": UniformPath(K),
    "linear": LinearSimplexPath(K),
    "dirichlet": DirichletPath(K),
    "gumbel": GumbelSoftmaxPath(K),
    "fisher": FisherPath(K),
    "logit": LogitPath(K),
}
STEPS = {"masking": 8}  # exact at any number of steps where posteriors do not change between jumps; others: 32


def exact(path):
    """The posterior of independent sites, of law ``p`` without the label, ``p e^ORACLE`` with it."""

    def denoise(x, t, label=None):
        prior = LAW.log() if label is None else LAW.log() + label[:, None, None] * ORACLE
        return (prior + path.log_conditional(x, t)).softmax(-1)

    return denoise


def distance(name, hooks, law, **cond):
    """Total variation between sampled letters and a law, averaged over the sites; over N·SITES letters."""
    path = PATHS[name]
    x0 = path.prior.sample(N, SITES, generator=step_generator(2), dtype=F64)
    grid = torch.linspace(0, 1, STEPS.get(name, 32) + 1, dtype=F64)
    x = sample_posterior(exact(path), x0, grid, AlongPath(path), hooks, cond, step_generator(3)).x
    letters = x.argmax(-1) if x.is_floating_point() else x
    shares = torch.nn.functional.one_hot(letters, K).to(F64).mean(0)
    return float(0.5 * (shares - law / law.sum(-1, keepdim=True)).abs().sum(-1).mean())


def additive(x):
    return (x * ORACLE).sum((-1, -2))


# Shares of 4 letters among N are at most 2 √(2·¾·¼/πN) = 0.69/√N away from their law on average, and 8 sites average.
BOUND = 1 / N**0.5


def apart(law, other):
    """Total variation of two laws, averaged over the sites."""
    return float(0.5 * (law / law.sum(-1, keepdim=True) - other / other.sum(-1, keepdim=True)).abs().sum(-1).mean())


@pytest.mark.parametrize(("name", "strength"), [("masking", -1.0), ("masking", 0.5), *((name, 2.0) for name in PATHS)])
def test_classifier_free_guidance_reaches_its_law(name, strength):
    guided = LAW * ((1 + strength) * ORACLE).exp()
    assert distance(name, [CFG(strength, label=None)], guided, label=torch.ones(N, dtype=F64)) < BOUND
    assert apart(LAW * ORACLE.exp(), guided) > 3 * BOUND  # as far as without guidance


@pytest.mark.parametrize(("name", "strength"), [("masking", -1.0), ("masking", 0.5), *((name, 2.0) for name in PATHS)])
def test_straight_through_guidance_reaches_its_law(name, strength):
    guided = LAW * (strength * ORACLE).exp()
    hook = StraightThrough(additive, strength, draws=1, generator=step_generator(4))
    assert distance(name, [hook], guided) < BOUND
    assert apart(LAW, guided) > 3 * BOUND


def test_slopes_are_averaged_over_draws():
    """Those of a sum over sites are the same for all draws, so that any number of them has the law of one."""
    hook = StraightThrough(additive, 1.0, draws=3, generator=step_generator(4))
    assert distance("masking", [hook], LAW * ORACLE.exp()) < BOUND
    assert apart(LAW * (3 * ORACLE).exp(), LAW * ORACLE.exp()) > 3 * BOUND


@pytest.mark.parametrize("strength", [0.5, 2.0])
def test_a_classifier_of_masked_states_reaches_its_law(strength):
    """Unmasking a site is learning its letter: the tilt is exact, whatever the mask itself is worth."""
    masked = (LAW * ORACLE.exp()).sum(-1, keepdim=True).log()
    values = torch.cat([ORACLE, masked], -1)
    hook = Classifier(lambda x, t: (x * values).sum((-1, -2)), strength, states=K + 1)
    assert distance("masking", [hook], LAW * (strength * ORACLE).exp()) < BOUND


@pytest.mark.parametrize("name", sorted(PATHS.keys() - {"linear"}))  # whose densities have no slope
def test_a_classifier_of_noisy_states_draws_towards_its_law(name):
    """Of the exact ``log p(y | x_t)``, which off the masking path says less of a letter than its own oracle."""
    path = PATHS[name]

    def known(x, t):  # of each site
        evidence = path.log_conditional(x, t)
        return (LAW.log() + ORACLE + evidence).logsumexp(-1) - (LAW.log() + evidence).logsumexp(-1)

    def log_prob(x, t):
        if not path.discrete:
            return known(x, t).sum(-1)
        states = torch.arange(path.states)[:, None].expand(-1, SITES)
        return (x * known(states, t[:1].expand(path.states)).mT).sum((-1, -2))

    hook = Classifier(log_prob, 1.0, getattr(path, "states", None))
    guided = LAW * ORACLE.exp()
    assert distance(name, [hook], guided) < 0.8 * apart(LAW, guided)


HOOKS = {
    "cfg": lambda s: CFG(s, label=None),
    "classifier": lambda s: Classifier(lambda x, t: (x[..., :K] * ORACLE).sum((-1, -2)), s, states=K + 1),
    "straight_through": lambda s: StraightThrough(additive, s, generator=step_generator(5)),
}


@pytest.mark.parametrize("name", HOOKS)
def test_no_strength_is_the_very_same_function(name):
    denoise = exact(PATHS["masking"])
    assert HOOKS[name](0.0)(denoise) is denoise


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("strength", [-1e30, -30.0, 1e3, 1e30])
@pytest.mark.parametrize("name", HOOKS)
def test_any_strength_gives_probabilities(name, strength, dtype):
    def denoise(x, t, label=None):  # some letters impossible, some certain, some nearly so
        p = torch.rand(len(x), SITES, K, generator=step_generator(6 + (label is None)), dtype=dtype)
        p[:, 0], p[:, 1] = torch.tensor([0, 0, 1, 0.0]), torch.tensor([1, 1e-30, 1e-37, 0.0])
        return p / p.sum(-1, keepdim=True)

    x, t = torch.full((50, SITES), K), torch.zeros(50, dtype=dtype)
    guided = HOOKS[name](strength)(denoise)(x, t, label=torch.ones(50))
    assert (guided >= 0).all()
    torch.testing.assert_close(guided.sum(-1), torch.ones(50, SITES, dtype=dtype), rtol=0, atol=1e-6)
    assert torch.equal(guided[:, 0], torch.tensor([0, 0, 1, 0], dtype=dtype).expand(50, -1))


def test_infinite_tilts():
    """∞ takes all, −∞ nothing, and −∞ of every possible letter says nothing."""
    p, inf = torch.tensor([0.5, 0.3, 0.2, 0.0], dtype=F64), torch.inf
    cases = {
        (inf, 0.0, inf, inf): [5 / 7, 0, 2 / 7, 0],
        (-inf, 0.0, 0.0, 0.0): [0, 0.6, 0.4, 0],
        (-inf, -inf, -inf, 0.0): [0.5, 0.3, 0.2, 0],
    }
    for tilt, expected in cases.items():
        found = tilted(p, torch.tensor(tilt, dtype=F64))
        torch.testing.assert_close(found, torch.tensor(expected, dtype=F64), rtol=1e-14, atol=0)


def test_sample_i_is_guided_by_its_own_draws():
    path = PATHS["masking"]

    def draw(start, n):
        streams = sample_generators(0, start, n)
        x0 = path.prior.sample(n, SITES, generator=streams)
        hook = StraightThrough(lambda x: (x * ORACLE).sum((-1, -2)).square(), 1.0, generator=streams)
        return sample_posterior(exact(path), x0, torch.linspace(0, 1, 5), AlongPath(path), [hook], {}, streams).x

    assert torch.equal(draw(0, 6)[4:], draw(4, 2))


def test_conditions_to_guide_by_must_be_there():
    with pytest.raises(ValueError, match="no condition profile"):
        CFG(1.0, profile=0.0)(exact(PATHS["masking"]))(
            torch.zeros(1, SITES).long(), torch.zeros(1), label=torch.ones(1)
        )
