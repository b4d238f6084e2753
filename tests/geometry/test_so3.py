"""Rotations: the known density, the tables that people have, and the whole study, small."""

import json
import math

import numpy as np
import pytest
import torch

from sciflow.errors import InputError
from sciflow.geometry import Mixture, Rotations
from sciflow.geometry.rotation_figures import from_hopf, hopf
from sciflow.geometry.rotations import RotationTable, cube
from sciflow.manifolds import SO3, WrappedNormal
from sciflow.manifolds.quaternion import multiply, to_matrix
from sciflow.pipeline import evaluate, load_config, prepare, sample, train
from sciflow.rng import sample_generators
from sciflow.training import Samples

TINY = ["data.rows=200", "data.components=3", "trainer.steps=20", "trainer.batch_size=1024"]
TINY += ["model.width=16", "model.depth=1", "model.fourier=4"]
TINY += ["sampler.n=60", "sampler.steps=3", "sampler.tolerance=1e-3"]
TABLE = """w,x,y,z
1,0,0,0
-0.6,0.8,0,0
"""


@pytest.mark.parametrize("modes", ["random", "cube"])
def test_the_known_density_integrates_to_one(modes):
    """Gauss-Legendre in the height of the rotated x axis, equal steps of its longitude and of the tilt."""
    heights, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(20))
    around = torch.arange(40, dtype=torch.float64) * math.pi / 20
    latitude, longitude, tilt = torch.meshgrid(heights.asin(), around, around, indexing="ij")
    study = Rotations(data=RotationTable(modes=modes, scale=0.4))
    p = study.log_density(from_hopf(longitude, latitude, tilt).reshape(-1, 4)).exp().reshape(20, -1)
    assert (weights @ p.mean(1)) * (2 * math.pi) ** 2 == pytest.approx(1, abs=1e-4)


def test_draws_of_a_mixture_have_its_density():
    """E_p[1/p] over a part of SO(3) is its volume; here all of it, whose volume is 8π²."""
    mixture = Rotations(data=RotationTable(components=4, scale=1.2)).mixture
    x = mixture.sample(20000, dtype=torch.float64)
    inverse = (-mixture.log_prob(x)).exp() / (8 * math.pi**2)
    assert abs(inverse.mean() - 1) < 4 * inverse.std() / len(x) ** 0.5


def test_a_perfect_flow_has_no_divergence_and_the_prior_has_its_floor(tmp_path, monkeypatch):
    monkeypatch.setattr(Rotations, "draw", lambda *_: {})
    config = load_config("so3", TINY)
    prepare(config, tmp_path / "data")
    study = config.study
    x, noise = study.truth(500, 9).float(), study.manifold.random(2000)
    perfect = study.evaluate(Samples(x, study.log_density(x), 1), tmp_path / "data").metrics["kl"]
    assert perfect.value == pytest.approx(0, abs=1e-6)
    poor = study.evaluate(Samples(noise, study.manifold.prior().log_prob(noise), 1), tmp_path / "data").metrics["kl"]
    assert abs(poor.value - poor.floor) < 6 * poor.error


def test_a_sample_of_a_mixture_depends_on_its_generator_alone():
    mixture = Rotations().mixture
    whole = mixture.sample(5, generator=sample_generators(0, 0, 5))
    torch.testing.assert_close(mixture.sample(2, generator=sample_generators(0, 3, 2)), whole[3:])


def test_a_mixture_takes_a_positive_weight_for_each_component():
    with pytest.raises(ValueError, match="give 2 positive ones"):
        Mixture([WrappedNormal(SO3())] * 2, torch.tensor([1.0, 0.0]))


def test_a_cube_looks_the_same_after_its_rotations():
    q = cube()
    assert len(q) == 24
    gaps = SO3().dist(q[:, None], q[None]) + 10 * torch.eye(24)
    assert gaps.min() == pytest.approx(math.pi / 2)
    moved = multiply(q[5], q)
    torch.testing.assert_close(SO3().dist(moved[:, None], q[None]).amin(1), torch.zeros(24, dtype=q.dtype))


def test_longitude_latitude_and_tilt_name_a_rotation():
    q = SO3().random(50, dtype=torch.float64)
    back = from_hopf(*hopf(q))
    torch.testing.assert_close(to_matrix(back), to_matrix(q))


def test_samples_come_back_from_their_table_as_quaternions_and_as_matrices(tmp_path):
    study = Rotations()
    x = SO3().random(20)
    path = tmp_path / "q.csv"
    np.savetxt(path, np.stack(list(study.columns(x).values()), 1), delimiter=",", header="W,X,Y,Z", comments="")
    assert SO3().dist(study.read_table(path), x).max() < 1e-5
    names = ",".join(f"r{i}{j}" for i in "123" for j in "123")
    np.savetxt(path, to_matrix(x).reshape(-1, 9).numpy(), delimiter=",", header=names, comments="")
    assert SO3().dist(study.read_table(path), x).max() < 1e-5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TABLE + "0.5,0,0,0\n", r"line 4: a quaternion of norm 0\.5"),
        (TABLE + "nan,0,0,0\n", "line 4, column w: 'nan' is not a finite number"),
        (TABLE.replace("z", "t"), "no column z"),
        ("r11,r12,r13,r21,r22,r23,r31,r32,r33\n1,0,0,0,1,0,0,0,1\n1,0,0,0,2,0,0,0,1\n", "line 3: RᵀR is 3 off"),
        ("r11,r12,r13,r21,r22,r23,r31,r32,r33\n1,0,0,0,1,0,0,0,-1\n", "line 2: a reflection"),
    ],
)
def test_tables_that_hold_no_rotations_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        Rotations().read_table(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("setting", ["data.modes=sphere", "data.components=0", "data.scale=-1", "data.rows=0"])
def test_settings_are_checked(setting):
    with pytest.raises(InputError, match=setting.split("=")[0]):
        load_config("so3", [setting])


@pytest.mark.e2e
def test_from_a_known_density_to_its_divergence(tmp_path):
    config = load_config("so3", TINY)
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    samples = sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert metrics["kl"]["n"] == len(samples.x)
    assert metrics["nll"]["value"] - metrics["nll"]["reference"] == pytest.approx(metrics["nll_excess"]["value"])
    figures = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert figures == {"mollweide", "axis", "angles", "log_density"}


@pytest.mark.e2e
def test_from_a_table_to_samples_in_its_units(tmp_path):
    first = load_config("so3", TINY)
    prepare(first, tmp_path / "known")
    path = tmp_path / "mine.csv"
    drawn = first.study.columns(first.study.truth(80, 7))
    np.savetxt(path, np.stack(list(drawn.values()), 1), delimiter=",", header=",".join(drawn), comments="")
    config = load_config("so3", [*TINY, f"data.path={path}"])
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    evaluation = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path)
    assert "kl" not in evaluation.metrics
    assert set(evaluation.figures) == {"mollweide", "axis", "angles"}
    assert config.study.read_table(tmp_path / "samples/samples.csv").shape == (60, 4)
