"""Analytic targets meet their constants, their symmetries and the identities of every Boltzmann density."""

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from scipy.integrate import dblquad, quad

from sciflow.boltzmann.targets import (
    DW4,
    DoubleWell,
    Funnel,
    GaussianMixture,
    HarmonicTrap,
    LennardJones,
    LogGaussianCox,
    ManyWell,
    MuellerBrown,
    TemperedHMC,
    curvature,
    virial,
)
from sciflow.errors import InputError
from sciflow.manifolds import center
from sciflow.rng import normal, sample_generators, step_generator

EXACT = [
    DoubleWell(),
    DoubleWell(dim=1, temperature=2.0),
    ManyWell(dim=8),
    GaussianMixture(),
    Funnel(),
    Funnel(dim=3, temperature=0.7),
    MuellerBrown(),
    MuellerBrown(temperature=4.0),
    HarmonicTrap(n=5, stiffness=3.0, temperature=0.5),
    HarmonicTrap(n=3, d=2),
]
PARTICLES = [DW4(), LennardJones(13), LennardJones(7, pair_factor=0.5), HarmonicTrap(n=5)]
EVERY = [*EXACT, *PARTICLES, LogGaussianCox(grid=5)]


def _points(target, n=6):
    """Points of moderate energy, whatever the target."""
    x = target.start(n, step_generator(3))
    return x + 0.02 * normal(*x.shape, generator=step_generator(4), dtype=x.dtype)


@pytest.mark.parametrize("target", EVERY, ids=str)
def test_force_is_minus_the_slope_of_the_energy(target):
    x = _points(target)
    energy, force = target.energy_and_force(x)
    torch.testing.assert_close(energy, target.energy(x))
    direction = normal(*x.shape, generator=step_generator(5), dtype=x.dtype)
    direction = direction / direction.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1))
    h = 1e-5
    slope = (target.energy(x + h * direction) - target.energy(x - h * direction)) / (2 * h)
    # central differences: h² of the third derivative, and rounding of the energy over h
    torch.testing.assert_close(-slope, (force * direction).flatten(1).sum(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", EVERY, ids=str)
def test_a_temperature_divides_the_energy(target):
    x = _points(target)
    t = target.temperature
    torch.testing.assert_close(target.at(3 * t).energy(x), target.energy(x) / 3)
    torch.testing.assert_close(target.at(1.0).energy(x), target.potential(x))
    assert x.shape[1:] == target.event_shape


@pytest.mark.parametrize("target", [DW4(), LennardJones(3), ManyWell()], ids=str)
def test_energy_that_is_no_number_is_infinite(target):
    x = _points(target, 2)
    x[0] = math.nan
    energy, force = target.energy_and_force(x)
    assert energy[0] == math.inf
    assert energy[1].isfinite()
    assert (force[0] == 0).all()


def test_particles_on_top_of_each_other_have_infinite_energy():
    energy, force = LennardJones(3).energy_and_force(torch.zeros(1, 3, 3, dtype=torch.float64))
    assert energy[0] == math.inf
    assert force.isfinite().all()


@pytest.mark.parametrize("target", EXACT, ids=str)
def test_exact_draws_obey_the_virial_and_the_curvature(target):
    x = target.sample(40_000, step_generator(0))
    for identity in (virial(target, x, target.dof), curvature(target, x)):
        assert abs(identity.value - 1) < 4 * identity.error
        assert identity.error < 0.12


@pytest.mark.parametrize("target", EXACT, ids=str)
def test_each_sample_has_its_own_stream(target):
    whole = target.sample(3, sample_generators(1, 0, 3))
    torch.testing.assert_close(target.sample(1, sample_generators(1, 2, 1)), whole[2:])
    assert whole.dtype == torch.float64


def test_many_wells_have_the_constant_in_print():
    well = quad(lambda x: math.exp(0.5 * x + 6 * x**2 - x**4), -6, 6, epsabs=1e-9, limit=200)[0]
    assert well == pytest.approx(11784.50927, abs=1e-5)
    assert ManyWell().log_z == pytest.approx(16 * (math.log(well) + 0.5 * math.log(2 * math.pi)), abs=1e-9)
    assert ManyWell().log_z == pytest.approx(164.70, abs=0.005)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_double_well_integrates_to_its_constant(temperature):
    target = DoubleWell(temperature=temperature)

    def density(y, x):
        return math.exp(-float(target.energy(torch.tensor([[x, y]], dtype=torch.float64))))

    found = dblquad(density, -4, 4, -20, 20, epsrel=1e-5)[0]
    assert target.log_z == pytest.approx(math.log(found), abs=1e-5)


def test_funnel_integrates_to_its_constant_at_another_temperature():
    target = Funnel(dim=2, temperature=2.0)

    def marginal(x):  # the inner integral is Gaussian
        density = math.exp(-float(target.energy(torch.tensor([[x, 0.0]], dtype=torch.float64))))
        return density * math.sqrt(2 * math.pi * target.temperature * math.exp(x))

    assert target.log_z == pytest.approx(math.log(quad(marginal, -30, 40)[0]), abs=1e-8)


def test_mueller_brown_integrates_to_its_constant():
    target = MuellerBrown(temperature=3.0)
    axis = torch.linspace(-4, 4, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(axis - 0.5, axis + 0.5)
    # the trapezoidal rule, which is exact to rounding for what vanishes at the walls
    found = torch.logsumexp(-target.energy(grid), 0) + 2 * math.log(float(axis[1] - axis[0]))
    assert target.log_z == pytest.approx(float(found), abs=1e-9)


def test_mueller_brown_has_its_minima_and_saddles():
    # Müller & Brown 1979 give −146.700, −108.167, −80.768 and saddles at −40.665, −72.249
    places = [(-0.558224, 1.441726), (0.623499, 0.028038), (-0.050011, 0.466694), (-0.822002, 0.624313)]
    places.append((0.212487, 0.292988))
    energy, force = MuellerBrown(scale=1.0).energy_and_force(torch.tensor(places, dtype=torch.float64))
    expected = torch.tensor([-146.700, -108.167, -80.768, -40.665, -72.249], dtype=torch.float64)
    torch.testing.assert_close(energy, expected, rtol=0, atol=1e-3)
    assert force.abs().max() < 0.02


def test_mixture_and_funnel_are_normalised_log_densities():
    x = normal(50, 10, generator=step_generator(0), dtype=torch.float64)
    scale = (x[:, 0] / 2).exp()
    neck = torch.distributions.Normal(0.0, 3.0).log_prob(x[:, 0])
    rest = torch.distributions.Normal(0.0, scale[:, None]).log_prob(x[:, 1:]).sum(1)
    torch.testing.assert_close(Funnel().energy(x), -(neck + rest))
    target = GaussianMixture(modes=3, dim=10, extent=1.0)
    parts = torch.distributions.Normal(target.means, target.scale).log_prob(x[:, None]).sum(-1)
    torch.testing.assert_close(target.energy(x), -(parts.logsumexp(1) - math.log(3)))
    assert target.log_z == 0


def test_mixture_modes_are_equally_likely():
    target = GaussianMixture()
    counts = torch.bincount(target.modes_of(target.sample(40_000, step_generator(0))), minlength=40)
    # multinomial: 1000 ± 31 each; means that lie closer than some sigma share their draws
    apart = (torch.cdist(target.means, target.means) + 99 * torch.eye(40)).amin(1) > 6 * target.scale
    assert apart.sum() > 10
    assert (counts[apart] - 1000).abs().max() < 5 * 31


@pytest.mark.parametrize("target", PARTICLES, ids=str)
def test_clusters_know_neither_place_nor_turn_nor_order_nor_mirror(target):
    x = _points(target)
    n, d = target.space
    turn = torch.linalg.qr(normal(d, d, generator=step_generator(6), dtype=x.dtype)).Q
    order = torch.randperm(n, generator=step_generator(7))
    moved = (x @ turn.T + 3.0)[:, order]
    torch.testing.assert_close(target.energy(moved), target.energy(x), rtol=1e-9, atol=1e-9)
    force = target.energy_and_force(x)[1]
    torch.testing.assert_close(target.energy_and_force(moved)[1], (force @ turn.T)[:, order], rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(force.sum(1), torch.zeros_like(force[:, 0]), rtol=0, atol=1e-7)
    assert target.dof == (n - 1) * d


def test_lennard_jones_counts_ordered_pairs():
    pair = torch.tensor([[[0.0, 0, 0], [1.0, 0, 0]]], dtype=torch.float64)
    trap = 0.5 * 2 * 0.25  # two particles half a unit from their centre
    assert float(LennardJones(2).energy(pair)) == pytest.approx(-2 + trap)
    assert float(LennardJones(2, pair_factor=0.5).energy(pair)) == pytest.approx(-1 + trap)
    x = _points(LennardJones(5))
    r = torch.cdist(x, x) + torch.eye(5, dtype=x.dtype) * 1e9
    expected = (r**-12 - 2 * r**-6).sum((1, 2)) + 0.5 * center(x).square().sum((1, 2))
    torch.testing.assert_close(LennardJones(5).energy(x), expected)


def test_dw4_is_a_double_well_of_each_distance():
    square = 4 * torch.tensor([[[0.0, 0], [1, 0], [0, 1], [1, 1]]], dtype=torch.float64)
    diagonal = 4 * (math.sqrt(2) - 1)
    assert float(DW4().energy(square)) == pytest.approx(2 * (-4 * diagonal**2 + 0.9 * diagonal**4))


def test_the_law_of_a_trap_is_that_of_the_centred_normal():
    from sciflow.manifolds import Normal

    target = HarmonicTrap(n=5, stiffness=4.0)
    x = target.sample(10, step_generator(0))
    prior = Normal(3, scale=0.5, centered=True)
    torch.testing.assert_close(-target.energy(x) - target.log_z, prior.log_prob(x))


def test_cox_process_is_prior_times_poisson():
    target = LogGaussianCox(grid=4, seed=2)
    x = target.mean + 0.3 * normal(5, 16, generator=step_generator(0), dtype=torch.float64)
    covariance = target.root @ target.root.T
    cells = torch.cartesian_prod(*[torch.arange(4.0, dtype=torch.float64)] * 2)
    apart = (cells[3] - cells[10]).norm()
    assert float(covariance[3, 10]) == pytest.approx(1.91 * math.exp(-float(apart) * 33 / 4))
    prior = torch.distributions.MultivariateNormal(torch.full((16,), target.mean).double(), covariance)
    counts = target.counts
    likelihood = torch.distributions.Poisson(x.exp() / 16).log_prob(counts)
    constant = (torch.lgamma(counts + 1) + counts * math.log(16)).sum()
    torch.testing.assert_close(target.energy(x), -prior.log_prob(x) - likelihood.sum(1) - constant)


def test_cox_process_of_a_table(tmp_path):
    table = tmp_path / "trees.csv"
    table.write_text("x,y\n0.1,0.1\n0.2,0.05\n0.9,1.0\n")
    assert LogGaussianCox(grid=2, points=str(table)).counts.tolist() == [2, 0, 0, 1]
    table.write_text("x,y\n3,1\n")
    with pytest.raises(InputError, match="from 0 to 1"):
        _ = LogGaussianCox(points=str(table)).counts


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: DoubleWell(dim=3), "dim = 3"),
        (lambda: ManyWell(dim=3), "dim = 3"),
        (lambda: DW4(temperature=0.0), "temperature = 0"),
        (lambda: LennardJones(1), "n = 1"),
        (lambda: GaussianMixture(temperature=2.0).sample(3), "temperature = 2"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        wrong()


def test_targets_are_frozen():
    with pytest.raises(FrozenInstanceError):
        DW4().a = 1.0


def test_tempering_reaches_the_law_of_a_trap_and_of_two_wells():
    chains = TemperedHMC(chains=150, burn_in=60, draws=20, thinning=2).run(HarmonicTrap(n=3, d=2, stiffness=2.0))
    energy = HarmonicTrap(n=3, d=2, stiffness=2.0).energy(chains.x.flatten(0, 1)).reshape(150, 20)
    # ⟨E⟩ = dof/2 = 2, and its error between independent chains
    assert abs(float(energy.mean()) - 2) < 4 * float(energy.mean(1).std()) / 150**0.5
    assert chains.x.mean(2).abs().max() < 1e-10

    well = DoubleWell(temperature=1.0)
    chains = TemperedHMC(chains=150, rungs=4, hottest=8.0, burn_in=60, draws=30).run(well, seed=1)
    right = (chains.x[..., 0] > 0).double()
    exact = (well.sample(200_000, step_generator(2))[:, 0] > 0).double().mean()
    error = float(right.mean(1).std()) / 150**0.5
    assert error < 0.05  # chains that never cross would have 0.03 and stay at the starting half
    assert abs(float(right.mean() - exact)) < 4 * error
    assert (chains.swapped > 0.1).all()


def test_dw4_reference_obeys_its_identities():
    target = DW4()
    x = TemperedHMC(chains=100, burn_in=60, draws=20).run(target).x
    blocks = torch.arange(100).repeat_interleave(20)
    found = virial(target, x.flatten(0, 1), target.dof, blocks)
    bent = curvature(target, x.flatten(0, 1), blocks)
    assert abs(found.value - 1) < 4 * found.error
    assert abs(bent.value - 1) < 4 * bent.error
    assert found.error < 0.2
