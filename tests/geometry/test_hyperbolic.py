"""Hyperbolic space: the known density, the tables that people have, and the whole study, small."""

import numpy as np
import pytest
import torch

from sciflow.errors import InputError
from sciflow.geometry import HyperbolicPoints
from sciflow.geometry.hyperbolic_figures import Polar
from sciflow.geometry.mixtures import MixtureTable
from sciflow.manifolds import Hyperbolic, from_poincare
from sciflow.pipeline import evaluate, load_config, prepare, sample, train

TINY = ["data.rows=200", "data.components=3", "trainer.steps=20", "trainer.batch_size=1024"]
TINY += ["model.width=16", "model.depth=1", "model.fourier=4"]
TINY += ["sampler.n=60", "sampler.steps=3", "sampler.tolerance=1e-3"]


def test_the_known_density_integrates_to_one_over_hyperbolic_area():
    """In polar coordinates the area is ``sinh r dr dθ``."""
    study = HyperbolicPoints(data=MixtureTable(components=5, scale=0.5))
    polar = Polar(9.0)
    p = study.log_density(from_poincare(polar.points())).exp().reshape(len(polar.r), -1)
    around = p[:, 1:].mean(1) * 2 * torch.pi
    assert torch.trapezoid(around * polar.r.sinh(), polar.r) == pytest.approx(1, abs=1e-3)


def test_samples_come_back_from_their_table(tmp_path):
    study = HyperbolicPoints(d=3)
    x = Hyperbolic(3).random(30)
    columns = study.columns(x)
    assert list(columns) == ["x1", "x2", "x3"]
    path = tmp_path / "ball.csv"
    np.savetxt(path, np.stack(list(columns.values()), 1), delimiter=",", header="x1,x2,x3", comments="")
    assert Hyperbolic(3).dist(study.read_table(path), x).max() < 1e-5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x1,x2\n0.1,0\n0.8,0.6\n", r"line 3: \|x\| = 1; points of the Poincaré ball have \|x\| < 1"),
        ("x1,x2\n2,0\n0.1,0\n3,0\n", r"line 2: \|x\| = 2; .*; 1 more lines are like it"),
        ("x1,y\n0.1,0\n", "no column x2"),
        ("x1,x2,x3\n0.1,0,0\n", "a column x3 in 2 dimensions; say study.d=…"),
        ("x1,x2\n0.1,inf\n", "line 2, column x2: 'inf' is not a finite number"),
    ],
)
def test_tables_that_hold_no_points_of_the_ball_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        HyperbolicPoints().read_table(path)
    assert "\n" not in str(error.value)


def test_a_dimension_without_a_figure_or_curvature_is_refused():
    with pytest.raises(InputError, match=r"study\.d=1"):
        load_config("hyperbolic", ["study.d=1"])


@pytest.mark.e2e
@pytest.mark.parametrize("d", [2, 3])
def test_from_a_known_density_to_its_divergence(tmp_path, d):
    config = load_config("hyperbolic", [*TINY, f"study.d={d}"])
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    evaluation = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path)
    assert evaluation.metrics["kl"].value > 0
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == {"disc", "ball", "log_density"}
