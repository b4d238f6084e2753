"""The flagship from end to end, small: files that others open, metrics beside floors, both generators on one data."""

import json

import mdtraj
import numpy as np
import pytest
import torch

from sciflow.cli import main
from sciflow.errors import InputError
from sciflow.molecules import load_reference
from sciflow.molecules.reference import shipped_reference
from sciflow.pipeline import evaluate, load_config, prepare, sample, train
from sciflow.training import Samples, load_tensors

TINY = ["simulation.runs=5", "simulation.hot_spacing=300", "simulation.steps=2000", "simulation.equilibration=200"]
TINY += ["simulation.hot_temperature=500", "simulation.stride=10", "trainer.batch_size=32"]
FIELD = ["model.width=16", "model.depth=2", "trainer.steps=400", "trainer.lr=0.003", "sampler.steps=4"]
FIGURES = {"ramachandran", "free_energy", "energies", "weights", "structures"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("ala2") / "data"
    prepare(load_config("ala2", TINY), out)
    return out


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("model", "n", "overrides"), [("spline_flow", 200, ["trainer.steps=15"]), ("equivariant_flow", 64, FIELD)]
)
def test_from_data_to_structures(data, tmp_path, model, n, overrides):
    config = load_config("ala2", [f"model={model}", *TINY, f"n={n}", *overrides])
    train(config, data, tmp_path / "model")
    sample(config, data, tmp_path / "model", tmp_path / "samples")
    evaluation = evaluate(config, data, tmp_path / "samples", tmp_path)

    raw = mdtraj.load(str(tmp_path / "samples/samples.xtc"), top=str(tmp_path / "samples/topology.pdb"))
    x = load_tensors(tmp_path / "samples/samples.safetensors")["x"]
    assert raw.n_frames == n
    np.testing.assert_allclose(raw.xyz, x.numpy(), atol=1e-3)  # XTC keeps a picometre
    weights = np.loadtxt(tmp_path / "samples/weights.csv", delimiter=",", skiprows=1)
    assert len(weights) == n
    assert (
        mdtraj.load(str(tmp_path / "samples/equilibrium.xtc"), top=str(tmp_path / "samples/topology.pdb")).n_frames >= 1
    )

    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert 0 < metrics["ess"]["value"] <= metrics["ess_clipped"]["value"] + 1e-12 <= 1 + 1e-12
    assert metrics["ess"]["n"] == n
    assert metrics["ess"]["floor"] == pytest.approx(1 / n)
    assert set(evaluation.figures) == FIGURES
    assert set(evaluation.captions) == FIGURES


def test_prepared_data_declare_their_bias_and_units(data):
    meta = json.loads((data / "meta.json").read_text())
    assert meta["units"] == {"x": "nm"}
    assert "500 K" in meta["bias"]
    x = load_tensors(data / "train.safetensors")["x"]
    assert x.mean(1).abs().max() < 1e-6
    assert 0.05 < float(x.std()) < 0.5  # nm


def test_likelihoods_of_the_flow_are_those_of_its_samples(data):
    flow = load_config("ala2", TINY).study.model(data).flow.double()
    x, logq = flow.sample(16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(flow.log_prob(x), logq, atol=1e-10, rtol=0)


def test_unweighted_samples_and_missing_models_are_refused(data):
    study = load_config("ala2", TINY).study
    with pytest.raises(InputError, match="track_logq"):
        study.weigh(Samples(torch.zeros(1, 22, 3), None, 1), torch.zeros(1), study.molecule)
    study.architecture = None
    with pytest.raises(InputError, match="model=spline_flow"):
        study.model(data)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("sequence=ACE-GLY-NME", r"study\.sequence=ACE-GLY-NME: .*data is of sequence=ACE-ALA-NME"),
        ("temperature=310", r"study\.temperature=310\.0: .*with study\.temperature=300\.0"),
        (
            "forcefield=[amber96.xml,implicit/obc1.xml]",
            r"=\[amber96\.xml,implicit/obc1\.xml\]: .*=\[amber99sbildn\.xml,",
        ),
    ],
)
def test_data_of_other_settings_are_refused(data, override, says):
    study = load_config("ala2", [*TINY, override]).study
    with pytest.raises(InputError, match=says):
        study.model(data)
    with pytest.raises(InputError, match=says):
        study.evaluate(Samples(torch.zeros(1, 22, 3), torch.zeros(1), 1), data)


def test_the_same_molecule_by_another_name_is_taken(data):
    for name in ("sequence=ace-ala-nme", f"pdb={data / 'topology.pdb'}"):
        load_config("ala2", [*TINY, name, "simulation.runs=6", "model.width=8"]).study.model(data)


def test_reference_tops_up_and_says_how_it_was_made(tmp_path):
    arguments = ["reference", "study=ala2", "--out", str(tmp_path), "--rounds", "40", "--walkers"]
    main([*arguments, "1"])
    first = (tmp_path / "walkers/0.npz").stat().st_mtime_ns
    main([*arguments, "2"])
    assert (tmp_path / "walkers/0.npz").stat().st_mtime_ns == first
    reference = load_reference(tmp_path)
    assert reference.about["walkers"] == 2
    assert "--walkers 2" in reference.about["command"]
    assert reference.residues == ["ALA2"]
    assert reference.ramachandran[0].sum() * 25 == pytest.approx(1, abs=1e-4)  # a density over 5° × 5° bins
    with pytest.raises(InputError, match="other settings"):
        load_config("ala2", ["temperature=310"]).study.make_reference(tmp_path, walkers=2, rounds=40)
    with pytest.raises(InputError, match=r"reference\.json"):
        load_reference(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("sequence", "forcefield", "error"),  # kT
    [
        ("ACE-ALA-NME", ["amber99sbildn.xml", "amber99_obc.xml"], 0.25),
        ("ACE-ALA-NME", ["amber96.xml", "implicit/obc1.xml"], 0.25),
        ("ACE-ALA-ALA-ALA-NME", ["amber99sbildn.xml", "amber99_obc.xml"], 0.35),
    ],
)
def test_the_shipped_references_are_converged(sequence, forcefield, error):
    reference = shipped_reference(f"sequence={sequence}", forcefield, 300.0)
    assert reference is not None
    assert reference.residues == [f"ALA{i}" for i in range(2, 2 + sequence.count("ALA"))]
    assert (reference.delta_f_error < error).all()
    assert shipped_reference("sequence=ACE-GLY-NME", forcefield, 300.0) is None
