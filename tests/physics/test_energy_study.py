"""A study of an energy: splits that do not leak, a perfect model with perfect numbers, files that others open."""

import json
import math
from dataclasses import replace
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch
import yaml

from sciflow.boltzmann import WeightedSamples
from sciflow.boltzmann.targets import (
    DW4,
    DoubleWell,
    HarmonicTrap,
    LennardJones,
    ManyWell,
    TemperedHMC,
    Tetrahedron,
)
from sciflow.errors import InputError
from sciflow.flows import SplineCoupling, Whiten
from sciflow.manifolds import Normal, center
from sciflow.paths import Alignment
from sciflow.physics import CrystalFlow, EnergyStudy, ParticleFlow, RotationFlow, VectorFlow
from sciflow.physics.architectures import StochasticVectorFlow
from sciflow.physics.diffusion import DiffusionVectors
from sciflow.physics.ensembles import Ensembles
from sciflow.physics.figures import captions, figures
from sciflow.physics.metrics import metrics
from sciflow.physics.particle_flow import Aligned, Planar, Relaxed, moves
from sciflow.pipeline import load_config, prepare
from sciflow.rng import normal, sample_generators, step_generator
from sciflow.training import Model, Samples, TensorsDataset, TrainerConfig, fit, load_tensors


def _perfect(target, n, key, temperature=1.0):
    """Exact draws of a target, or of the same at another temperature, with their exact log-density."""
    proposal = target.at(temperature)
    x = proposal.sample(n, step_generator(9, key))
    logq = -proposal.energy(x) - proposal.log_z
    return Samples(x, logq, 1)


def _ensembles(target, temperature=1.0, n=4000):
    samples = _perfect(target, n, 0, temperature)
    train, test = (_perfect(target, n, k).x for k in (1, 2))
    proposal = target.at(temperature)
    scored = samples._replace(test_logp=-proposal.energy(test) - proposal.log_z)
    return Ensembles.of(target, scored, train, test, seed=0)


def test_metrics_that_are_no_numbers_are_named_on_stderr(capsys):
    """A sample without weight has E_q[log w] = −∞; the others go on, and its share is one of them."""
    e = _ensembles(DoubleWell(), n=200)
    assert e.logw is not None
    logw = torch.where(torch.arange(200) == 7, -torch.inf, e.logw)
    found = metrics(replace(e, logw=logw))
    assert "elbo" not in found
    assert found["outside_target"].value == pytest.approx(1 / 200)
    assert found["ess"].value == pytest.approx(199 / 200)
    assert capsys.readouterr().err == "metrics left out: elbo is -inf\n"


@pytest.mark.parametrize("target", [ManyWell(dim=4), HarmonicTrap(n=4, d=3)], ids=str)
def test_a_perfect_model_has_perfect_weights_and_distances_at_their_floors(target):
    found = metrics(_ensembles(target))
    for name in ("ess", "ess_clipped", "forward_ess"):
        assert found[name].value == pytest.approx(1, abs=1e-9)
    for name in ("log_z", "elbo", "eubo"):
        assert found[name].value == pytest.approx(target.log_z, abs=1e-9)
        assert found[name].reference == target.log_z
    for name in ("energy_w2", "energy_w2_reweighted"):
        # the reference is one more draw of the same: within a factor of a few, never far below
        assert 0.2 < found[name].value / found[name].reference < 5
    assert 0.7 < found["w2"].value / found["w2"].reference < 1.4
    assert abs(found["virial_data"].value - 1) < 4 * found["virial_data"].error


@pytest.mark.parametrize("architecture", [VectorFlow(), StochasticVectorFlow(blocks=1)])
def test_no_frame_is_outside_of_the_box(architecture):
    """A flow is the identity there: a mode that reaches out of it is cut off."""
    frames = torch.randn(1000, 2, generator=step_generator(0), dtype=torch.float64)
    frames[0] = 30.0
    layers = architecture.build(DoubleWell(), frames).flow.modules()
    bounds = {layer.bound for layer in layers if isinstance(layer, SplineCoupling)}
    assert min(bounds) > Whiten.fit(frames, torch.zeros(2, dtype=torch.bool))(frames).abs().max()


def test_a_model_that_does_not_fit_is_refused_before_the_reference_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("sciflow.physics.study.TemperedHMC.run", lambda *_: pytest.fail("a reference was drawn"))
    study = EnergyStudy(target="LennardJones", settings={"n": 13}, architecture=VectorFlow())
    with pytest.raises(InputError, match="not vectors"):
        study.prepare(None, tmp_path)


def test_weights_mend_a_model_that_is_too_hot():
    target = HarmonicTrap(n=3, d=2)
    found = metrics(_ensembles(target, temperature=1.3, n=8000))
    # of a Gaussian in k = 4 dimensions weighed from temperature T to 1: E[w]²/E[w²] = ((2T − 1)/T²)^(k/2)
    assert found["ess"].value == pytest.approx((2 * 1.3 - 1) / 1.3**2 * (2 * 1.3 - 1) / 1.3**2, abs=0.03)
    assert found["log_z"].value == pytest.approx(target.log_z, abs=5 * found["log_z"].error)
    assert found["elbo"].value < target.log_z < found["eubo"].value
    assert found["forward_ess"].value == pytest.approx(found["ess"].value, abs=0.05)
    mean = found["mean_energy_reweighted"]
    assert abs(mean.value - 2) < 5 * mean.error  # dof/2
    assert found["energy_w2_reweighted"].value < 0.4 * found["energy_w2"].value
    assert found["distances_tv_reweighted"].value < 0.5 * found["distances_tv"].value


def test_populations_and_profile_of_a_model_that_is_too_hot():
    found = metrics(_ensembles(DoubleWell(), temperature=2.0, n=8000))
    right = found["p_right_reweighted"]
    assert abs(right.value - right.reference) < 5 * (right.error + 0.5 / 8000**0.5)
    assert abs(found["p_right"].value - right.reference) > 0.05
    assert found["free_energy_rmse"].value < 0.3 * found["free_energy_rmse"].floor


def test_without_densities_there_are_no_weights():
    target = LennardJones(3)
    x = target.start(50, step_generator(0))
    e = Ensembles.of(target, Samples(x, None, 1), x, x, 0)
    assert e.weights is None
    assert not {"ess", "log_z", "energy_w2_reweighted"} & set(metrics(e))
    assert set(figures(e)) == {"energies", "distances"}
    assert set(figures(e)) <= set(captions(e))


def test_too_few_effective_samples_are_no_reweighted_curve():
    """Nearly all the weight on one sample, or as much on each."""
    x = DoubleWell().sample(1000, step_generator(0))
    for heavy in (True, False):
        logw = torch.zeros(len(x), dtype=torch.float64)
        logw[0] = 20.0 * heavy
        e = Ensembles.of(DoubleWell(), Samples(x, -DoubleWell().energy(x) - logw, 1), x, x, 0)
        drawn = figures(e)
        for name in ("energies", "free_energy"):
            (axis,) = drawn[name].axes
            assert ("samples, reweighted" in axis.get_legend_handles_labels()[1]) is not heavy
            assert ("no reweighted curves" in captions(e)[name]) is heavy
            assert drawn[name].get_suptitle().startswith("DoubleWell: N = 1000, raw ESS ")


def test_samples_without_a_finite_energy_are_refused():
    x = torch.zeros(5, 3, 3)
    with pytest.raises(InputError, match="none of the 5 samples"):
        Ensembles.of(LennardJones(3), Samples(x, None, 1), x, x, 0)


@pytest.mark.parametrize(
    ("study", "small", "override"),
    [
        ("double_well", ["study.frames=20"], "study.settings.temperature=2"),
        ("double_well", ["study.frames=20"], "study.target=ManyWell"),
        ("tetrahedron", ["study.frames=20"], "study.cubic=1"),
        ("ice", [f"reference.{key}" for key in ("rungs=2", "burn_in=2", "draws=1", "leapfrogs=1")], "study.cold=90"),
    ],
)
def test_data_of_another_law_are_refused(tmp_path, study, small, override):
    prepare(load_config(study, small), tmp_path / "data")
    other = load_config(study, [*small, override]).study
    key = override.split("=")[0].removesuffix(".temperature")
    with pytest.raises(InputError, match=key):
        other.model(tmp_path / "data")
    with pytest.raises(InputError, match=key):
        other.evaluate(Samples(torch.zeros(1, 2), torch.zeros(1), 1), tmp_path / "data")


def test_chains_stay_whole(tmp_path):
    study = EnergyStudy("DW4", reference=TemperedHMC(chains=10, burn_in=10, draws=6, thinning=1, sweep=2))
    study.prepare(None, tmp_path)
    parts = {name: load_tensors(tmp_path / f"{name}.safetensors")["x"] for name in ("train", "val", "test")}
    assert {name: len(x) for name, x in parts.items()} == {"train": 42, "val": 6, "test": 12}
    chains = study.reference.run(DW4(), 0).x.float()
    for name, first, last in (("test", 0, 2), ("val", 2, 3), ("train", 3, 10)):
        for k in range(last - first):  # in turns
            torch.testing.assert_close(parts[name][k :: last - first], chains[first + k], rtol=0, atol=0)
    meta = json.loads((tmp_path / "meta.json").read_text())
    assert len(meta["accepted"]) == 1


def test_errors_count_chains_not_draws():
    """Ten copies of each of 400 draws tell no more than the 400."""
    target = HarmonicTrap(n=3, d=2)
    test, train = (_perfect(target, 400, k).x for k in (1, 2))
    samples = _perfect(target, 100, 0, 1.3)
    scored = samples._replace(test_logp=-target.at(1.3).energy(test) - target.at(1.3).log_z)
    copied = samples._replace(test_logp=scored.test_logp.repeat(10))
    alone = metrics(Ensembles.of(target, scored, train, test, 0))
    again = metrics(Ensembles.of(target, copied, train, test.repeat(10, 1, 1), 0, chains=400))
    for name in ("mean_energy_data", "virial_data", "eubo"):
        assert again[name].error == pytest.approx(alone[name].error)
        assert alone[name].error > 0
    # dof/2 of the energy, whose variance is dof/2 as well; of 400 draws the standard deviation is right to 5 %
    assert alone["mean_energy_data"].error == pytest.approx((2 / 400) ** 0.5, rel=0.2)


def test_clusters_are_written_as_others_read_them(tmp_path):
    study = EnergyStudy("HarmonicTrap", {"n": 4, "d": 2})
    samples = _perfect(HarmonicTrap(n=4, d=2), 30, 0)
    study.write(samples, tmp_path)
    trajectory = mdtraj.load(str(tmp_path / "samples.xtc"), top=str(tmp_path / "topology.pdb"))
    np.testing.assert_allclose(trajectory.xyz[..., :2], samples.x.numpy(), atol=2e-3)  # what XTC rounds to
    assert (trajectory.xyz[..., 2] == 0).all()
    table = np.genfromtxt(tmp_path / "weights.csv", delimiter=",", names=True)
    np.testing.assert_allclose(table["logw"], -table["energy"] - table["logq"], atol=1e-4)
    assert mdtraj.load(str(tmp_path / "equilibrium.xtc"), top=str(tmp_path / "topology.pdb")).n_frames == 30


def test_vectors_are_written_as_tables(tmp_path):
    study = EnergyStudy("DoubleWell")
    study.write(_perfect(DoubleWell(), 20, 0, temperature=2.0), tmp_path)
    table = np.genfromtxt(tmp_path / "samples.csv", delimiter=",", names=True)
    assert table.dtype.names == ("x1", "x2")
    assert len(table) == 20


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        ("DW5", {}, "DW5: not found; use one of DW4"),
        ("Particles", {}, "not a Target that can be drawn"),
        ("nowhere.Target", {}, "not found"),
        ("LennardJones", {"m": 13}, "unexpected keyword argument 'm'"),
        ("DoubleWell", {"a": "much"}, r"settings\.a='much': give a number"),
        ("Tetrahedron", {"charges": [1.0, 2.0, 3.0]}, "charges=.* give 4 numbers"),
    ],
)
def test_targets_that_are_not_there_are_refused(target, settings, message):
    with pytest.raises(InputError, match=message):
        EnergyStudy(target, settings)


def test_a_target_of_ones_own_is_found():
    study = EnergyStudy("sciflow.boltzmann.targets.double_well.DoubleWell", {"dim": 1, "temperature": 2.0})
    assert study.energy == DoubleWell(dim=1, temperature=2.0)


@pytest.mark.parametrize(
    ("architecture", "target"),
    [
        (VectorFlow(), DW4()),
        (VectorFlow(), DoubleWell(dim=1)),
        (VectorFlow(), Tetrahedron()),
        (StochasticVectorFlow(), Tetrahedron()),
        (DiffusionVectors(), Tetrahedron()),
        (ParticleFlow(), DoubleWell()),
        (RotationFlow(), DoubleWell()),
    ],
)
def test_models_of_other_states_are_refused(architecture, target):
    with pytest.raises(InputError, match="model"):
        architecture.build(target, target.start(20), 0)


def test_a_model_of_crystals_is_no_model_of_an_energy(tmp_path):
    with pytest.raises(InputError, match="model=vector_flow"):
        EnergyStudy(architecture=CrystalFlow()).model(tmp_path)


def test_fewer_chains_than_splits_are_refused():
    with pytest.raises(InputError, match=r"reference\.chains=2"):
        EnergyStudy("DW4", reference=TemperedHMC(chains=2))


def test_sources_are_turned_and_relabelled_towards_their_data():
    target = DW4()
    x1 = target.start(16, step_generator(0))
    x0 = center(normal(16, 4, 2, generator=step_generator(1), dtype=x1.dtype))
    pair = Aligned(Alignment(permutable=[range(4)])).pair(x0, x1)
    moved = torch.cdist(pair.x0, pair.x0).flatten(1).sort(1).values
    torch.testing.assert_close(moved, torch.cdist(x0, x0).flatten(1).sort(1).values)  # the same clusters
    assert ((pair.x0 - x1).square().sum((1, 2)) <= (x0 - x1).square().sum((1, 2)) + 1e-9).all()
    assert pair.x1 is not x0
    assert (pair.x0 - x1).square().sum() < 0.7 * (x0 - x1).square().sum()


class _Normal(Model):
    """A model without parameters: the centred normal law, with its density."""

    def __init__(self, n, d, scale):
        super().__init__()
        self.prior, self.n = Normal(d, scale, centered=True), n

    def loss(self, batch, generator):
        raise NotImplementedError

    def sample(self, n, cond=None, generator=None, **sampler):
        x = self.prior.sample(n, self.n, generator=generator, dtype=torch.float64)
        return Samples(x, self.prior.log_prob(x), 1)


def test_moves_mend_samples_and_leave_weights():
    target, model = HarmonicTrap(n=3, d=2), _Normal(3, 2, 1.4)
    before = model.sample(4000, generator=step_generator(3))
    after = Relaxed(model, moves(target, 6, 0.3)).sample(4000, generator=step_generator(3))
    logw = [-target.energy(s.x) - s.logq for s in (before, after)]
    torch.testing.assert_close(logw[1], logw[0])
    mean, error = (f(target.energy(after.x)) for f in (torch.mean, torch.std))
    assert abs(float(target.energy(before.x).mean()) - 2 * 1.4**2) < 0.2
    assert 2 - 4 * float(error) / 4000**0.5 < float(mean) < 2.5  # dof/2 at the end of the way
    weighted = WeightedSamples(after.x, after.logq, logw[1])
    # Z is exact whatever the moves: log-weights of a Gaussian ratio have an ESS of 0.7, hence 0.7/√4000 of error
    assert weighted.log_z().value == pytest.approx(target.log_z, abs=5 * 0.7 / 4000**0.5)
    assert float(weighted.mean(target.energy(after.x))) == pytest.approx(2, abs=0.15)


def test_each_relaxed_sample_has_its_own_stream():
    model = Relaxed(_Normal(3, 2, 1.4), moves(HarmonicTrap(n=3, d=2), 2, 0.3))
    whole = model.sample(3, generator=sample_generators(1, 0, 3))
    torch.testing.assert_close(model.sample(1, generator=sample_generators(1, 2, 1)).x, whole.x[2:])


def test_the_baselines_are_normal_laws_of_the_data():
    frames = ManyWell(dim=4).sample(3000, step_generator(0))
    x = VectorFlow().baseline(ManyWell(dim=4), frames, 20_000, step_generator(1))
    torch.testing.assert_close(x.mean(0), frames.mean(0), rtol=0, atol=5 * 1.8 / 20_000**0.5)
    torch.testing.assert_close(x.T.cov(), frames.T.cov(), rtol=0, atol=0.15)
    clusters = DW4().start(500, step_generator(2))
    y = ParticleFlow().baseline(DW4(), clusters, 5000, step_generator(3))
    assert y.mean(1).abs().max() < 1e-9
    assert float(y.std()) == pytest.approx(float(clusters.std()) * (3 / 4) ** 0.5, rel=0.03)


def test_the_field_of_the_plane_keeps_its_symmetries():
    model = ParticleFlow(width=8, depth=2).build(DW4(), DW4().start(10), 0).double()
    field = model.field
    assert isinstance(field, Planar)
    x, t = center(normal(3, 4, 2, generator=step_generator(0), dtype=torch.float64)), torch.full((3,), 0.3).double()
    turn = torch.tensor([[math.cos(1), -math.sin(1)], [math.sin(1), math.cos(1)]], dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    v = field.velocity(x, t)
    torch.testing.assert_close(field.velocity((x @ turn.T)[:, order] + 3.0, t), (v @ turn.T)[:, order])
    assert v.abs().max() > 1e-6
    assert v.mean(1).abs().max() < 1e-9


def test_a_flow_of_two_wells_learns_their_constant():
    study = EnergyStudy("DoubleWell", frames=4000, architecture=VectorFlow(couplings=2, width=16, bins=12))
    target = study.energy
    x = target.sample(4000, step_generator(0)).float()
    model = study.architecture.build(target, x, 0)
    fit(model, TensorsDataset({"x": x}), TrainerConfig(steps=150, batch_size=256, lr=1e-2, clip=20.0, ema=0.98))
    samples = model.sample(4000, generator=step_generator(1))
    test = target.sample(2000, step_generator(2))
    with torch.no_grad():
        scored = samples._replace(test_logp=model.log_prob(test))
    found = metrics(Ensembles.of(target, scored, x, test, 0))
    assert found["ess"].value > 0.5
    assert found["log_z"].value == pytest.approx(target.log_z, abs=0.1)
    assert found["elbo"].value < target.log_z < found["eubo"].value


@pytest.mark.parametrize("runs", ["targets.yaml", "targets-gpu.yaml"])
def test_shipped_lists_of_runs_are_configurations(runs):
    content = yaml.safe_load((Path(__file__).parents[2] / "workflows" / "config" / runs).read_text())
    for run in content["runs"].values():
        config = load_config(run["study"], run["overrides"])
        target = config.study.energy
        config.study.architecture.build(target, target.start(20), 0)


def test_a_stochastic_flow_weighs_its_paths():
    # untrained: couplings are the identity, and moves lead from the normal law of the data towards the target
    target = DoubleWell(a=0.0, b=-1.0, c=0.5)
    frames = target.sample(4000, step_generator(0))
    model = StochasticVectorFlow(blocks=3, steps=10, size=0.5).build(target, frames, 0).eval()
    samples = model.sample(8000, generator=step_generator(1))
    found = metrics(Ensembles.of(target, samples, frames, frames, 0))
    assert found["log_z"].value == pytest.approx(target.log_z, abs=5 * found["log_z"].error)
    assert found["log_z"].error < 0.02
    assert found["ess"].value > 0.5
    loss = model.loss({"x": frames[:64].float()}, step_generator(2))
    loss.mean().backward()
    moved = [p.grad for p in model.parameters() if p.grad is not None]
    assert moved
    assert all(g.isfinite().all() for g in moved)


def test_an_energy_of_ones_own_is_a_class_that_python_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the documentation, and its constant beside a sum over a grid."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "docs" / "examples"))
    target = EnergyStudy(target="rosenbrock.Rosenbrock", settings={"b": 4.0, "temperature": 0.5}).energy
    x, y = torch.meshgrid(torch.linspace(-6, 8, 1401), torch.linspace(-10, 70, 8001), indexing="ij")
    grid = torch.stack([x, y], -1).double().flatten(0, 1)
    found = (-target.energy(grid)).logsumexp(0) + torch.log(torch.tensor(0.01 * 0.01))
    assert target.log_z == pytest.approx(float(found), abs=1e-3)
