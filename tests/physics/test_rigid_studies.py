"""Rigid bodies end to end, small: the tetrahedron in a field and ice between two temperatures."""

import json
import math

import mdtraj
import pytest
import torch
from openmm import unit

from sciflow.boltzmann.free_energy import generalised_work
from sciflow.boltzmann.targets import GAS_CONSTANT, Ice
from sciflow.errors import InputError
from sciflow.manifolds import SO3
from sciflow.physics import TetrahedronStudy, VectorFlow
from sciflow.physics.ice import IceStudy, Ladder, ladder_free_energy
from sciflow.physics.ice_flow import CrystalFlow, Ensemble, Perturbation
from sciflow.pipeline import evaluate, load_config, load_model, prepare, sample, train
from sciflow.rng import sample_generators
from sciflow.training import load_tensors

TETRAHEDRON = ["study.frames=300", "study.cubic=0.5", "trainer.steps=30", "trainer.batch_size=64", "n=300"]
TETRAHEDRON += ["model.layers=2", "model.directions=6"]
ICE = ["reference.rungs=2", "reference.chains=10", "reference.burn_in=4", "reference.draws=2", "reference.thinning=1"]
ICE += ["reference.leapfrogs=2", "study.cold=225", "trainer.steps=2", "trainer.batch_size=4", "n=8"]
ICE += ["model.couplings=1", "model.width=8"]


def run(study, settings, tmp_path):
    config = load_config(study, settings)
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    return metrics, {path.stem for path in (tmp_path / "figures").glob("*.png")}


@pytest.mark.e2e
def test_tetrahedron(tmp_path):
    metrics, figures = run("tetrahedron", TETRAHEDRON, tmp_path)
    assert abs(metrics["log_z"]["value"] - metrics["log_z"]["reference"]) < 6 * metrics["log_z"]["error"]
    assert metrics["ess"]["value"] > 0.1  # the uniform law has 0.2 of this field
    assert figures == {"corners", "energies", "weights"}
    frames = mdtraj.load(str(tmp_path / "samples/samples.xtc"), top=str(tmp_path / "samples/topology.pdb"))
    assert frames.xyz.shape == (300, 5, 3)
    corner = torch.from_numpy(frames.xyz[:, 1:] - frames.xyz[:, :1]).norm(dim=-1)
    torch.testing.assert_close(corner, torch.ones_like(corner), atol=3e-3, rtol=0)  # xtc keeps thousandths


@pytest.mark.e2e
def test_ice(tmp_path):
    metrics, figures = run("ice", ICE, tmp_path)
    assert {"ess", "delta_f", "delta_f_bar", "delta_f_mbar", "delta_f_per_molecule"} <= set(metrics)
    assert "published" not in metrics["ess"] or metrics["ess"]["published"] is None  # of another pair of temperatures
    assert all(metrics[name]["error"] > 0 for name in ("ess", "delta_f", "delta_f_bar", "delta_f_mbar", "forward_ess"))
    assert figures == {"energies", "oxygens", "turns", "crystal"}
    frames = mdtraj.load(str(tmp_path / "samples/samples.xtc"), top=str(tmp_path / "samples/topology.pdb"))
    assert frames.xyz.shape == (8, 48, 3)
    torch.testing.assert_close(torch.from_numpy(frames.unitcell_lengths[0]).double(), torch.tensor(Ice().box).double())
    bonds = mdtraj.compute_distances(frames, [(b[0].index, b[1].index) for b in frames.topology.bonds], periodic=False)
    torch.testing.assert_close(torch.from_numpy(bonds), torch.full(bonds.shape, 0.09572), atol=2e-3, rtol=0)


@pytest.mark.e2e
def test_samples_of_a_crystal_are_traced_to_the_chains_that_they_started_from(tmp_path):
    config = load_config("ice", [*ICE, "seed=3"])
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    samples = sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    crystals = config.study._crystals(samples, tmp_path / "data")
    with torch.no_grad():
        start = load_model(config, tmp_path / "data", tmp_path / "model").flow.transform(samples.x)
    apart = (start[:, None] - crystals.hot[None]).abs().amax((2, 3))
    assert apart.amin(1).max() < 1e-4  # float32
    chain = load_tensors(tmp_path / "data/chains.safetensors")["unseen"]
    assert chain[apart.argmin(1)].tolist() == crystals.sample_chain.tolist()
    assert torch.bincount(chain).tolist() == [2 * 8] * 3  # draws and images of three chains


def harmonic_frames(ice: Ice, n: int, places: float, turns: float) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    u = torch.randn(n, ice.molecules, 6, generator=g, dtype=torch.float64)
    u[:, 0, :3] = 0
    q = SO3().expmap(ice.sites[:, 3:], turns * u[..., 3:])
    return torch.cat((ice.sites[:, :3] + places * u[..., :3], q), -1)


class Einstein:
    """Bodies on springs at their sites, with energies quadratic in displacements and rotation vectors."""

    def __init__(self, ice: Ice, temperature: float) -> None:
        self.ice, self.temperature = ice, temperature

    def energy(self, x):
        place = (x[:, 1:, :3] - self.ice.sites[1:, :3]).square().flatten(1).sum(-1) / 0.01**2
        turn = SO3().logmap(self.ice.sites[:, 3:].expand_as(x[..., 3:]), x[..., 3:])
        return (place + turn.square().flatten(1).sum(-1) / 0.05**2) / (2 * self.temperature)


def test_the_contraction_is_the_perturbation_of_a_harmonic_crystal():
    """ΔF = −(6N − 3)/2 log(T_cold/T_hot), and every work is that, but for what turns are not vectors (second order)."""
    ice = Ice(order="antiferroelectric")
    hot, cold = Einstein(ice, 1.0), Einstein(ice, 0.4)
    frames = harmonic_frames(ice, 200, 0.01, 0.05)
    model = CrystalFlow(width=8).build(ice.at(250.0), ice.at(100.0), frames).double()
    with torch.no_grad():
        work = generalised_work(frames, hot, cold, model.flow.transform.inv.call_and_ladj)
    exact = -ice.dof / 2 * math.log(0.4)
    assert abs(float(work.mean()) - exact) < 0.2  # 48 turns, 0.05² each
    assert work.std() < 0.1


def test_the_loss_is_the_mean_work_and_has_the_gradient_of_it():
    ice = Ice()
    frames = harmonic_frames(ice, 4, 0.005, 0.03)
    hot, cold = ice.at(250.0), ice.at(200.0)
    model = CrystalFlow(couplings=1, width=8).build(hot, cold, frames).double()
    loss = Perturbation()(model.flow, cold, {"x": frames}, torch.Generator())
    x, ladj = model.flow.transform.inv.call_and_ladj(frames)
    direct = cold.energy(x) - ladj
    torch.testing.assert_close(loss, direct)
    for got, exact in zip(
        torch.autograd.grad(loss.sum(), list(model.flow.parameters()), allow_unused=True),
        torch.autograd.grad(direct.sum(), list(model.flow.parameters()), allow_unused=True),
        strict=True,
    ):
        assert (got is None) == (exact is None)
        if got is not None:
            torch.testing.assert_close(got, exact, rtol=1e-8, atol=1e-8)


def test_a_frame_of_an_ensemble_depends_on_its_generator_alone():
    base = Ensemble(torch.arange(70.0).view(10, 7), Ice())
    whole = base.sample(6, generator=sample_generators(3, 0, 6))
    assert len(whole.unique(dim=0)) > 1
    torch.testing.assert_close(base.sample(2, generator=sample_generators(3, 4, 2)), whole[4:])


def test_the_ladder_finds_the_free_energy_of_a_known_heat_capacity(monkeypatch):
    """Energies of d oscillators are gamma distributed: ΔF = (d/2) log(T_hot/T_cold), with a constant that shifts it."""
    d, constant, temperatures = 90, -1e5, [250.0, 160.0, 100.0]
    chains = torch.distributions.Gamma(torch.tensor(d / 2.0, dtype=torch.float64), 1.0)
    torch.manual_seed(0)
    energies = torch.stack([t * chains.sample((40, 25)) for t in temperatures]) + constant
    monkeypatch.setattr(Ice, "potential", lambda self, x: x[..., 0, 0])
    x = energies[..., None, None].expand(*energies.shape, 1, 7)
    value, error = ladder_free_energy(Ice(), x, temperatures)
    exact = d / 2 * math.log(250 / 100) + constant * (1 / 100 - 1 / 250)
    assert abs(value - exact) < 5 * error


def test_temperatures_of_a_ladder_are_geometric():
    ladder = Ladder(rungs=3).temperatures(200.0, 50.0)
    assert ladder == pytest.approx([200.0, 100.0, 50.0])


def test_published_numbers_are_those_of_the_same_crystal():
    assert IceStudy()._published()["ess"] == 0.2375
    assert "ess" not in IceStudy(cold=50.0)._published()
    assert IceStudy(order="ferroelectric")._published() == {}
    assert IceStudy(switch=1.0)._published() == {}  # a sharp cutoff is another potential


def test_a_flow_to_a_hotter_crystal_is_refused():
    with pytest.raises(InputError, match=r"above study\.cold"):
        IceStudy(hot=100.0, cold=200.0)


def test_a_model_of_vectors_and_a_fourth_edge_are_refused(tmp_path):
    with pytest.raises(InputError, match="model=crystal_flow"):
        IceStudy(architecture=VectorFlow()).model(tmp_path)
    with pytest.raises(InputError, match="model=rotation_flow"):
        TetrahedronStudy(architecture=CrystalFlow()).model(tmp_path)
    with pytest.raises(InputError, match=r"study\.cells=\[1, 1, 1, 1\]"):
        IceStudy(cells=(1, 1, 1, 1))


def test_the_gas_constant_is_that_of_openmm():
    value = unit.MOLAR_GAS_CONSTANT_R.value_in_unit(unit.kilojoule_per_mole / unit.kelvin)
    assert pytest.approx(value, rel=1e-12) == GAS_CONSTANT
