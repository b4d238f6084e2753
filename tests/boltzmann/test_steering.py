"""Other temperatures: exact where the flow is, normalised anywhere, weighted always."""

import math

import pytest
import torch

from sciflow.boltzmann.kernels import MALA
from sciflow.boltzmann.logweights import ess, log_mean_weight
from sciflow.boltzmann.potentials import LogDensity
from sciflow.boltzmann.smc import ais
from sciflow.boltzmann.steering import at_temperature, heated, reweighted
from sciflow.boltzmann.targets import DoubleWell
from sciflow.boltzmann.weights import importance
from sciflow.errors import InputError
from sciflow.flows import AffineCoupling, Composed, MixedBase, NormalizingFlow, SplineCoupling
from sciflow.manifolds import Euclidean, FlatTorus, Uniform
from sciflow.rng import normal, sample_generators, step_generator


def bent(circular: list[bool], base=None) -> NormalizingFlow:
    """Two couplings that are not trained, over a normal base and uniform angles."""
    angles, half = torch.tensor(circular), torch.arange(len(circular)) % 2 == 0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if angles.any():
            layers = [SplineCoupling(angles, mask, bins=5, bound=6.0, width=8, depth=1) for mask in (half, ~half)]
        else:
            layers = [AffineCoupling(mask, 8) for mask in (half, ~half)]
    flow = NormalizingFlow(base or MixedBase(angles), Composed(*layers)).double()
    for i, parameter in enumerate(flow.parameters()):
        parameter.data += 0.2 * normal(*parameter.shape, generator=step_generator(i), dtype=torch.float64)
    return flow.requires_grad_(False)


@pytest.mark.parametrize("circular", [[False, False], [True, False]])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_a_heated_flow_is_normalised_and_knows_its_density(circular: list[bool], ratio: float) -> None:
    """By quadrature on a grid: ∫q = 1 and ∫q x² is that of its samples."""
    flow, n = heated(bent(circular), ratio), 20_000
    across = torch.linspace(-14, 14, 701, dtype=torch.float64)
    first = math.pi * (2 * torch.arange(200, dtype=torch.float64) / 200 - 1) if circular[0] else across[::2]
    grid = torch.cartesian_prod(first, across)
    density = flow.log_prob(grid).exp() * (first[1] - first[0]) * (across[1] - across[0])
    assert float(density.sum()) == pytest.approx(1, abs=1e-4)
    x, logq = flow.sample(n, step_generator(1))
    torch.testing.assert_close(logq, flow.log_prob(x))
    squares = x.square()
    second = (density[:, None] * grid.square()).sum(0)
    assert ((squares.mean(0) - second).abs() < 5 * squares.std(0) / math.sqrt(n) + 1e-4 * second).all()


def test_at_the_same_temperature_it_is_the_flow() -> None:
    flow, own = bent([False, False]), sample_generators(0, 0, 5)
    x, logq = heated(flow, 1.0).sample(5, own)
    y, expected = flow.sample(5, sample_generators(0, 0, 5))
    torch.testing.assert_close(x, y)
    torch.testing.assert_close(logq, expected)


def test_with_constant_volume_the_heated_flow_is_exact() -> None:
    """Shears f of the plane: exp(−|f(x)|²/2T) at every T has weights that are all (2πT)."""
    flow = bent([False, False])
    for layer in flow.transform.transforms:
        layer.head.weight[: len(layer.moved)] = 0  # log-scales
        layer.head.bias[: len(layer.moved)] = 0

    class Harmonic:
        def __init__(self, temperature: float = 1.0) -> None:
            self.temperature = temperature

        def energy(self, x):
            return flow.transform(x).square().sum(-1) / (2 * self.temperature)

    for ratio in (0.3, 2.0):
        weighted = importance(heated(flow, ratio), Harmonic(ratio), 500, generator=step_generator(2))
        assert weighted.ess() == pytest.approx(1)
        assert weighted.log_z().value == pytest.approx(math.log(2 * math.pi * ratio))


@pytest.mark.parametrize("centered", [False, True])
def test_a_normal_of_the_manifold_is_heated(centered: bool) -> None:
    base = Euclidean(2, centered=centered).prior()
    flow = NormalizingFlow(base, torch.distributions.transforms.identity_transform)
    x = base.sample(20_000, 3, generator=step_generator(3), dtype=torch.float64)
    cold = heated(flow, 0.5).base
    dof = 4 if centered else 6
    weights = (cold.log_prob(x) - base.log_prob(x)).exp()  # E[w²] = (4/3)^(dof/2)
    assert float(weights.mean()) == pytest.approx(1, abs=5 * math.sqrt(((4 / 3) ** (dof / 2) - 1) / 20_000))


def test_weights_between_temperatures() -> None:
    """Of a double well, exact draws at T = 1: Z(T') by quadrature, ESS falls on both sides, one energy serves all."""
    target, n = DoubleWell(a=-0.5, b=-2.0, c=0.5), 40_000
    x = target.sample(n, step_generator(4))
    energy = target.energy(x)
    logw = torch.full((n,), target.log_z, dtype=torch.float64)
    ratios = torch.tensor([0.7, 1.0, 1.4], dtype=torch.float64)
    rows = reweighted(logw, energy, ratios)
    shares = [float(ess(row)) for row in rows]
    assert shares[1] == pytest.approx(1)
    assert max(shares[0], shares[2]) < 0.98
    for ratio, row, share in zip(ratios.tolist(), rows, shares, strict=True):
        error = math.sqrt(max(1 / share - 1, 0) / n)
        assert float(log_mean_weight(row)) == pytest.approx(target.at(ratio).log_z, abs=5 * error + 1e-9)


def test_the_two_ways_of_reweighting_agree() -> None:
    target = DoubleWell()
    weighted = importance(bent([False, False]), target, 200, generator=step_generator(5))
    again = at_temperature(weighted, target, 1.5)
    rows = reweighted(weighted.logw, target.energy(weighted.x), torch.tensor([1.5]))
    torch.testing.assert_close(again.logw, rows[0])


def test_a_sample_without_weight_stays_without() -> None:
    rows = reweighted(torch.tensor([0.0, -torch.inf]), torch.tensor([1.0, torch.inf]), torch.tensor([0.5, 2.0]))
    assert rows[:, 1].tolist() == [-math.inf, -math.inf]


def test_annealed_samples_are_reweighted_and_those_without_weight_stay_without() -> None:
    """Half of the draws of a unit normal are outside of a wall, in the plane: Z(T) = πT."""

    class Half(LogDensity):
        def at(self, temperature: float) -> "Half":
            return Half(lambda x: self.log_prob(x) / temperature)

    half = Half(lambda x: torch.where(x[:, 0] > 0, -x.square().sum(-1) / 2, -torch.inf))
    run = ais(Euclidean(2).prior(), half, MALA(0.2), 4000, torch.tensor([0.0, 0.5, 1.0]), generator=step_generator(6))
    assert run.samples.logw.isinf().any()
    again = at_temperature(run.samples, half, 0.8)
    assert torch.equal(again.logw.isinf(), run.samples.logw.isinf())
    error = math.sqrt((1 / again.ess() - 1) / 4000)
    assert again.log_z().value == pytest.approx(math.log(0.8 * math.pi), abs=5 * error)


def test_what_cannot_be_heated_is_refused() -> None:
    with pytest.raises(InputError, match="above 0"):
        heated(bent([False, False]), -1.0)
    with pytest.raises(InputError, match="Uniform has no variance"):
        heated(NormalizingFlow(Uniform(FlatTorus(1), 0.0), torch.distributions.transforms.identity_transform), 2.0)
