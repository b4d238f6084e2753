"""Dynamics and tempering against exact laws: harmonic wells, a double well, and OpenMM."""

import numpy as np
import openmm
import pytest
import torch
from openmm import unit
from torch import Tensor

from sciflow.boltzmann import TorchForceField
from sciflow.boltzmann.dynamics import LangevinMiddle, Walkers
from sciflow.boltzmann.potentials import LogDensity
from sciflow.boltzmann.targets import DoubleWell
from sciflow.boltzmann.tempering import ParallelTempering, exchanges, population_annealing
from sciflow.molecules.system import from_sequence
from sciflow.rng import normal, step_generator

K = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
SPRING = LogDensity(lambda x: -0.5 * (K * x * x).sum(-1))


def zeros(*shape: int) -> Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


@pytest.mark.parametrize("timestep", [0.1, 0.6])
def test_positions_in_harmonic_wells_have_the_exact_variance_at_any_timestep(timestep):
    """With h ω = 1.8 in the stiffest, where plain leapfrog would be off by a factor of five."""
    n, temperatures = 20_000, torch.tensor([0.5, 2.0], dtype=torch.float64).repeat_interleave(10_000)
    dynamics, generator = LangevinMiddle(SPRING, 1.0, timestep, 2.0), step_generator(0)
    walkers = dynamics.start(zeros(n, 3), temperatures, generator)
    walkers = dynamics.run(walkers, round(8 / timestep), temperatures, generator)
    for t in (0.5, 2.0):
        variance = walkers.x[temperatures == t].var(0)
        # the error of a variance of n normal numbers is √(2/n) of it; from rest, e⁻⁸ of it is missing
        torch.testing.assert_close(
            variance * K / t, torch.ones(3, dtype=torch.float64), rtol=0, atol=4.5 * (2e-4) ** 0.5
        )


def test_the_scheme_is_that_of_openmm():
    """Without friction nothing is random: the same steps as OpenMM's LangevinMiddleIntegrator."""
    molecule = from_sequence("ACE-ALA-NME")
    field = TorchForceField.from_openmm(molecule.system)
    dynamics = LangevinMiddle(field, field.reduced_masses, timestep=0.001, friction=0.0)
    walkers = dynamics.start(torch.as_tensor(molecule.positions)[None], 1.0, step_generator(0))
    integrator = openmm.LangevinMiddleIntegrator(300.0, 0.0, 0.001)
    context = openmm.Context(molecule.system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(molecule.positions)
    context.setVelocities(walkers.v[0].numpy())
    integrator.step(50)
    state = context.getState(getPositions=True, getVelocities=True)
    end = dynamics.run(walkers, 50)
    x = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    v = state.getVelocities(asNumpy=True).value_in_unit(unit.nanometer / unit.picosecond)
    np.testing.assert_allclose(end.x[0].numpy(), x, atol=1e-9)
    np.testing.assert_allclose(end.v[0].numpy(), v, atol=1e-6)


def test_a_molecule_has_the_temperature_and_the_energy_that_openmm_finds():
    molecule = from_sequence("ACE-ALA-NME")
    field = TorchForceField.from_openmm(molecule.system, temperature=600.0, dtype=torch.float32)
    dynamics, generator = LangevinMiddle(field, field.reduced_masses), step_generator(0)
    walkers = dynamics.start(torch.as_tensor(molecule.positions).float().expand(48, -1, -1), 1.0, generator)
    walkers = dynamics.run(walkers, 800, 1.0, generator)
    kinetic, potential = [], []
    for _ in range(12):
        walkers = dynamics.run(walkers, 50, 1.0, generator)
        kinetic.append(dynamics.kinetic_energy(walkers))
        potential.append(walkers.energy)
    # velocities half a step after the kick: kT/2 each to the square of h times the fastest frequency, 0.04 at 1 fs
    temperature = torch.stack(kinetic).mean(0) / (1.5 * molecule.n_atoms)
    assert temperature.mean().item() == pytest.approx(1, abs=4 * temperature.std().item() / 48**0.5 + 0.01)

    integrator = openmm.LangevinMiddleIntegrator(600.0, 5.0, 0.001)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(molecule.system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(molecule.positions)
    context.setVelocitiesToTemperature(600.0, 1)
    integrator.step(2000)
    energies = []
    for _ in range(200):
        integrator.step(100)
        energies.append(context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
    blocks = np.array(energies).reshape(10, 20).mean(1) / field.kt
    ours = torch.stack(potential).mean(0)
    error = np.hypot(blocks.std(ddof=1) / 10**0.5, ours.std().item() / 48**0.5)
    assert ours.mean().item() == pytest.approx(blocks.mean(), abs=4 * error)


def test_energies_and_forces_of_the_walkers_are_those_of_their_places():
    dynamics, generator = LangevinMiddle(SPRING, 1.0, 0.1), step_generator(0)
    walkers = dynamics.run(dynamics.start(zeros(6, 3), generator=generator), 3, generator=generator)
    torch.testing.assert_close((walkers.energy, walkers.force), SPRING.energy_and_force(walkers.x))
    frames, end = dynamics.frames(walkers, 4, 2, generator=step_generator(1))
    assert frames.shape == (6, 4, 3)
    torch.testing.assert_close(frames[:, -1], end.x)
    torch.testing.assert_close(end.x, dynamics.run(walkers, 8, generator=step_generator(1)).x)


def test_swaps_are_in_detailed_balance():
    """p(a) p(a→b) = p(b) p(b→a) for two levels on two rungs, with p(a→b) counted."""
    temperatures = torch.tensor([1.0, 3.0], dtype=torch.float64)
    n = 200_000
    low, high = 0.3, 1.8
    energy = torch.tensor([[low, high], [high, low]], dtype=torch.float64)
    rates = [exchanges(energy[:, [k]].expand(2, n), temperatures, 0, step_generator(k))[1].item() for k in (0, 1)]
    ratio = np.exp(-(energy / temperatures[:, None]).sum(0).diff().item())  # p(b) / p(a)
    assert rates[0] == pytest.approx(ratio * rates[1], abs=4 * (0.25 / n) ** 0.5)
    assert rates[1] == 1
    _, swapped = exchanges(energy, temperatures, 1)
    assert swapped.isnan().all()  # no pair begins at rung 1


WELL = DoubleWell()


def share_on_the_right(beta: float = 1.0) -> float:
    """Exact probability of x₀ > 0."""
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64)
    points = torch.stack([grid, torch.zeros_like(grid)], 1)
    p = (-beta * WELL.energy(points)).double().exp()
    return float(p[grid > 0].sum() / p.sum())


def walls_apart(n: int) -> tuple[LangevinMiddle, Tensor]:
    """Dynamics on the double well, all walkers in the left one."""
    x = zeros(n, 2)
    x[:, 0] = -1.7
    return LangevinMiddle(WELL, 1.0, 0.1, 1.0), x


def test_tempering_finds_the_populations_that_plain_dynamics_misses():
    ladders, exact = 250, share_on_the_right()
    temperatures = torch.tensor([1.0, 1.7, 2.9, 5.0], dtype=torch.float64)
    dynamics, x = walls_apart(ladders * 4)
    plain = dynamics.run(dynamics.start(x[:ladders], 1.0, step_generator(0)), 400, 1.0, step_generator(0))
    generator = step_generator(1)
    walkers = dynamics.start(x, temperatures.repeat_interleave(ladders), generator)
    tempering = ParallelTempering(dynamics, temperatures, steps=5)
    warm = tempering.run(walkers, 150, generator)
    seen: list[Tensor] = []
    tempering.run(warm.walkers, 150, generator, lambda coldest: seen.append(coldest.x[:, 0] > 0))
    share = torch.stack(seen).double().mean(0)
    error = share.std().item() / ladders**0.5
    assert share.mean().item() == pytest.approx(exact, abs=4 * error)
    assert error < 0.03
    assert (plain.x[:, 0] > 0).double().mean().item() < exact - 10 * error
    assert ((warm.accepted > 0.2) & (warm.accepted < 1)).all()


def test_a_ladder_of_one_rung_is_plain_dynamics():
    dynamics, x = walls_apart(4)
    walkers = dynamics.start(x, 1.0, step_generator(0))
    alone = ParallelTempering(dynamics, torch.ones(1, dtype=torch.float64), steps=2).run(walkers, 3, step_generator(1))
    assert torch.equal(alone.walkers.x, dynamics.run(walkers, 6, 1.0, step_generator(1)).x)


def test_annealing_carries_populations_down():
    n = 4000
    temperatures = [5.0, 4.0, 3.2, 2.5, 2.0, 1.6, 1.25, 1.0]
    dynamics, x = walls_apart(n)
    x[::2, 0] *= -1
    generator = step_generator(0)
    hot = dynamics.run(dynamics.start(x, 5.0, generator), 300, 5.0, generator)
    rungs, shares = population_annealing(dynamics, hot, temperatures, 20, generator)
    assert len(rungs) == len(shares) + 1 == len(temperatures)
    assert min(shares) > 0.7
    for t, walkers in zip(temperatures, rungs, strict=True):
        # the descendants of one walker are correlated: the error of n binomial draws grows some threefold
        found = (walkers.x[:, 0] > 0).double().mean().item()
        assert found == pytest.approx(share_on_the_right(1 / t), abs=0.04)
    assert rungs[-1].v.var().item() == pytest.approx(1, abs=0.1)


def test_the_dead_have_no_descendants():
    dynamics, x = walls_apart(100)
    x[::2, 0] *= -1
    walkers = dynamics.start(x, 2.0, step_generator(0))
    rungs, _ = population_annealing(dynamics, walkers, [2.0, 1.0], 0, step_generator(0), alive=lambda z: z[:, 0] < 0)
    assert (rungs[-1].x[:, 0] < 0).all()
    with pytest.raises(ValueError, match="no walker is left"):
        population_annealing(dynamics, walkers, [2.0, 1.0], 0, step_generator(0), alive=lambda z: z[:, 0] > 5)


def test_a_seed_names_a_trajectory():
    def end() -> Walkers:
        dynamics, generator = LangevinMiddle(SPRING, 1.0, 0.1), step_generator(3)
        x = normal(4, 3, generator=generator, dtype=torch.float64)
        return dynamics.run(dynamics.start(x, generator=generator), 5, generator=generator)

    assert torch.equal(end().x, end().x)
