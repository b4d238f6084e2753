"""Batched dynamics of a molecule: an equilibrium with nothing in the wrong basin, and choices that are recorded."""

import numpy as np
import openmm
import pytest
import torch

from sciflow.boltzmann import OpenMMEnergy, TorchForceField
from sciflow.errors import InputError
from sciflow.molecules import Simulation, from_sequence
from sciflow.molecules.equilibrium import Equilibrium, Ladders, batched_dynamics, chosen_engine, equilibrium, runs_from
from sciflow.molecules.reference import Tempering, make_reference
from sciflow.molecules.training_runs import part_of, training_runs

SMALL = Ladders(walkers=24, hot_steps=60, stages=2, stage_steps=10, ladders=6, rungs=6, rounds=8, swap=20)
ALA2 = from_sequence("ACE-ALA-NME")
DYNAMICS = batched_dynamics(ALA2, 300.0)


def test_an_equilibrium_has_the_energy_that_openmm_gives_it():
    ticks = []
    ensemble = equilibrium(ALA2, DYNAMICS, 300.0, 600.0, SMALL, seed=0, tick=lambda: ticks.append(1))
    assert len(ticks) == SMALL.ticks
    assert ensemble.frames.shape == (6, 8, ALA2.n_atoms, 3)
    assert ALA2.stereochemistry.kept(ensemble.frames.flatten(0, 1)).all()
    expected = OpenMMEnergy(ALA2.system, 300.0).energy(ensemble.frames[:, -1].double())
    torch.testing.assert_close(ensemble.energies[:, -1].double(), expected, rtol=0, atol=2e-3)  # float32
    assert len(ensemble.shares) == 10
    assert ((ensemble.acceptance > 0) & (ensemble.acceptance <= 1)).all()
    again = equilibrium(ALA2, DYNAMICS, 300.0, 600.0, SMALL, seed=0)
    assert torch.equal(again.frames, ensemble.frames)

    runs = runs_from(ensemble.frames[:, -1], DYNAMICS, steps=20, stride=10, equilibration=5, seed=0)
    assert runs.shape == (6, 2, ALA2.n_atoms, 3)
    moved = (runs[:, 0] - ensemble.frames[:, -1]).square().sum(-1).mean().sqrt()
    assert 0.001 < moved < 0.1  # nm in 15 fs


def test_walkers_that_lost_their_stereochemistry_are_counted_before_they_are_missed():
    with pytest.raises(InputError, match="kept the stereochemistry"):
        equilibrium(ALA2, DYNAMICS, 300.0, 60_000.0, SMALL, seed=0)


def test_a_reference_by_torch_is_topped_up(tmp_path, monkeypatch):
    monkeypatch.setattr("sciflow.molecules.reference._START", SMALL)
    tempering = Tempering(rounds=20, steps=5, replicas=3, hottest=400.0)
    for walkers in (2, 3):
        reference = make_reference(ALA2, tmp_path, 300.0, tempering, walkers, {}, "command", engine="torch")
    assert (reference.about["walkers"], reference.about["frames"], reference.about["platform"]) == (3, 54, "torch")
    assert reference.ramachandran[0].sum() * 25 == pytest.approx(1, abs=1e-4)
    with pytest.raises(InputError, match="other settings"):
        make_reference(ALA2, tmp_path, 300.0, tempering, 3, {}, "command", engine="openmm")
    energies = np.load(tmp_path / "walkers/0.npz")["energies"]  # kJ/mol, as OpenMM's walkers have them
    frames = torch.from_numpy(np.load(tmp_path / "walkers/0.npz")["frames"]).double()
    expected = TorchForceField.from_openmm(ALA2.system).potential_energy(frames).numpy()
    np.testing.assert_allclose(energies, expected, atol=5e-3)


def test_engines(monkeypatch):
    custom = from_sequence("ACE-ALA-NME", ("amber96.xml", "implicit/obc1.xml")).system
    unknown = openmm.System()
    unknown.addForce(openmm.CustomGBForce())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert chosen_engine("auto", ALA2.system, "engine") == "openmm"
    assert chosen_engine("auto", custom, "engine") == "torch"
    assert chosen_engine("auto", unknown, "engine") == "openmm"
    assert chosen_engine("torch", ALA2.system, "engine") == "torch"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_engine("auto", ALA2.system, "engine") == "torch"
    with pytest.raises(InputError, match=r"simulation\.engine=gromacs"):
        chosen_engine("gromacs", ALA2.system, "simulation.engine")


def test_molecules_without_a_torch_force_field_have_openmms():
    assert isinstance(ALA2.energy(300.0), TorchForceField)
    molecule = from_sequence("ACE-ALA-NME")
    molecule.system.addForce(openmm.CustomExternalForce("x^2"))
    assert isinstance(molecule.energy(300.0), OpenMMEnergy)


def test_training_runs_by_torch_start_from_the_equilibrium():
    sim = Simulation("torch", 500.0, runs=5, equilibration=4, steps=20, stride=5, ladders=SMALL)
    runs = training_runs(ALA2, 300.0, sim, seed=0)
    assert runs.frames.shape == (5, 4, ALA2.n_atoms, 3)
    assert ALA2.stereochemistry.kept(runs.frames.flatten(0, 1)).all()
    assert runs.about["engine"] == "torch"
    assert runs.about["md_steps"] == 24 * (60 + 100) + 6 * 6 * 8 * 20 + 5 * 24
    with pytest.raises(InputError, match=r"simulation\.engine=gpu"):
        Simulation("gpu")


def test_held_out_runs_start_from_ladders_of_their_own(monkeypatch):
    ladder = torch.arange(24.0)[:, None, None, None].expand(-1, 8, ALA2.n_atoms, 3)  # nm that each one is moved by
    frames = torch.as_tensor(ALA2.positions).float() + ladder
    made = Equilibrium(frames, torch.zeros(24, 8), torch.ones(5), [1.0])
    monkeypatch.setattr("sciflow.molecules.training_runs.equilibrium", lambda *_: made)
    monkeypatch.setattr("sciflow.molecules.training_runs.runs_from", lambda starts, *_: starts[:, None])
    runs = training_runs(ALA2, 300.0, Simulation("torch", 500.0, runs=48, ladders=SMALL), seed=0).frames
    came = (runs[:, 0] - torch.as_tensor(ALA2.positions).float()).mean((1, 2)).round().int()
    part = part_of(48)
    of = [set(came[chosen].tolist()) for chosen in (part == 0, part == 1, part > 1)]
    assert all(of)
    assert not of[0] & of[1]
    assert not (of[0] | of[1]) & of[2]
    assert set.union(*of) == set(range(24))


@pytest.mark.parametrize(
    ("settings", "match"),
    [(dict(ladders=9, walkers=8), "must not exceed"), (dict(rungs=1), "ladders.rungs=1"), (dict(swap=0), "swap=0")],
)
def test_bad_ladders_are_refused(settings, match):
    with pytest.raises(InputError, match=match):
        Ladders(**settings)


def test_runs_may_start_from_hot_frames_in_torch():
    short = Ladders(hot_steps=200)
    sim = Simulation(engine="torch", starts="hot", runs=6, steps=20, stride=10, equilibration=5, ladders=short)
    runs = training_runs(ALA2, 300.0, sim, seed=0)
    assert runs.frames.shape == (6, 2, ALA2.n_atoms, 3)
    assert runs.about["starts"] == "hot"
    assert "1000 K" in runs.about["bias"]
    assert runs.about["md_steps"] == 6 * 200 + 6 * 25
    spread = runs.frames[:, -1].flatten(1).std(0).mean()
    assert 0.005 < spread < 0.2  # nm: the walkers went their own ways
    with pytest.raises(InputError, match="engine openmm has hot starts"):
        training_runs(ALA2, 300.0, Simulation(engine="openmm", starts="tempering"), seed=0)
