"""The target of a peptide: force field inside its stereochemistry, nothing outside; every loss by name reaches it."""

import pytest
import torch

from sciflow.boltzmann import OpenMMEnergy, TorchForceField
from sciflow.boltzmann.losses import Losses, TemperatureAnnealing, TrustRegion
from sciflow.molecules.architectures import SplineFlow
from sciflow.molecules.labelled_energy import LabelledEnergy
from sciflow.molecules.system import from_sequence
from sciflow.pipeline import load_config
from sciflow.rng import normal, step_generator


@pytest.fixture(scope="module")
def molecule():
    return from_sequence("ACE-ALA-NME")


def frames(molecule, n):
    """Jittered by 5 pm, which breaks no stereochemistry."""
    x = torch.as_tensor(molecule.positions)
    return x + 0.005 * normal(n, *x.shape, generator=step_generator(0), dtype=torch.float64)


def labelled(molecule):
    return LabelledEnergy(TorchForceField.from_openmm(molecule.system, 300.0), molecule.stereochemistry)


def test_mirror_images_are_no_part_of_the_target(molecule):
    x = frames(molecule, 4)
    energy, force = labelled(molecule).energy_and_force(torch.cat((x, -x)))
    exact, exact_force = OpenMMEnergy(molecule.system, 300.0).energy_and_force(x)
    torch.testing.assert_close(energy[:4], exact, atol=1e-5, rtol=0)  # kT; as TorchForceField itself
    torch.testing.assert_close(force[:4], exact_force, atol=1e-3, rtol=1e-6)
    assert (energy[4:] == torch.inf).all()
    assert (force[4:] == 0).all()
    hot = labelled(molecule).at(600.0).energy(torch.cat((x, -x)))
    torch.testing.assert_close(hot, energy / 2)


@pytest.mark.parametrize("name", vars(Losses()))
def test_every_loss_moves_a_peptide(molecule, name):
    losses = Losses(temperature_annealing=TemperatureAnnealing(samples=32), trust_region=TrustRegion(samples=32))
    architecture = SplineFlow(couplings=2, width=8, bins=4, loss=name, losses=losses)
    x = frames(molecule, 100)
    model = architecture.build(molecule.topology, x, lambda: labelled(molecule), seed=0)
    model.advance(0.9)
    model.loss({"x": x[:16]}, step_generator(1)).mean().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(g.isfinite().all() for g in gradients)
    assert max(float(g.abs().max()) for g in gradients) > 0
    assert (model.evaluations > 0) == (name != "forward_kl")


def test_a_run_chooses_its_loss_by_name():
    config = load_config("ala2", ["loss=self_improvement", "losses.self_improvement.start=0.6", "losses.fab.stages=2"])
    chosen = config.study.architecture.losses.named(config.study.architecture.loss)
    assert chosen.start == 0.6
    assert config.study.architecture.losses.fab.stages == 2
