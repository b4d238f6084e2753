"""Dynamics against closed forms: harmonic wells know their mean energy, and exchange must not change it."""

import numpy as np
import openmm
import pytest
from openmm import app

from sciflow.molecules.simulation import KB, hot_seeds, replica_exchange, short_runs
from sciflow.molecules.system import MolecularSystem, from_sequence


def wells(n: int = 20) -> MolecularSystem:
    """``n`` carbon atoms, each in a harmonic well: the mean potential energy is 3n/2 kT."""
    system, topology = openmm.System(), app.Topology()
    force = openmm.CustomExternalForce("500*(x^2+y^2+z^2)")
    residue = topology.addResidue("W", topology.addChain())
    for i in range(n):
        system.addParticle(12.0)
        force.addParticle(i)
        topology.addAtom("C", app.element.carbon, residue)
    system.addForce(force)
    return MolecularSystem(topology, system, np.zeros((n, 3)))


def test_replica_exchange_samples_the_lowest_temperature():
    molecule, temperatures = wells(), np.array([300.0, 340.0, 385.0])
    replicas = replica_exchange(molecule, temperatures, exchanges=1500, steps=20, seed=1)
    exact = 1.5 * molecule.n_atoms * KB * 300
    blocks = np.array([b.mean() for b in np.array_split(replicas.energies, 15)])
    assert blocks.mean() == pytest.approx(exact, abs=4 * blocks.std(ddof=1) / np.sqrt(15))
    # acceptance for n harmonic wells lies well inside (0, 1), and one frame a round is kept after the first tenth
    assert (replicas.acceptance > 0.1).all()
    assert (replicas.acceptance < 0.95).all()
    assert replicas.frames.shape == (1350, molecule.n_atoms, 3)


def test_short_runs_forget_the_hot_temperature_but_not_their_seed():
    molecule = wells()
    seeds = hot_seeds(molecule, 1200.0, n=4, spacing=50, seed=0)
    runs = short_runs(molecule, seeds, 300.0, steps=4000, stride=10, equilibration=1000, seed=0)
    assert runs.shape == (4, 400, molecule.n_atoms, 3)
    energy = 500 * (runs.astype(float) ** 2).sum((2, 3))
    assert energy.mean() == pytest.approx(1.5 * molecule.n_atoms * KB * 300, rel=0.1)
    again = short_runs(molecule, seeds[1:2], 300.0, steps=200, stride=10, equilibration=1000, seed=1)
    np.testing.assert_array_equal(again[0], runs[1, :20])  # a run depends on its own seed, not on its neighbours


def test_runs_are_reproducible():
    molecule = from_sequence("ACE-ALA-NME")
    a, b = (hot_seeds(molecule, 700.0, n=2, spacing=100, seed=0) for _ in range(2))
    np.testing.assert_array_equal(a, b)
