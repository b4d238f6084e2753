"""Positive definite matrices: the known density, the tables that people have, and the whole study, small."""

import math

import numpy as np
import pytest
import torch

from sciflow.errors import InputError
from sciflow.geometry import SPDMatrices
from sciflow.geometry.hyperbolic_figures import Polar
from sciflow.geometry.mixtures import MixtureTable
from sciflow.geometry.spd_figures import anisotropy, shape
from sciflow.manifolds import SPD, Hyperbolic, from_poincare
from sciflow.nets import MLPField
from sciflow.pipeline import evaluate, load_config, prepare, sample, train

TINY = ["data.rows=200", "data.components=3", "trainer.steps=20", "trainer.batch_size=1024"]
TINY += ["model.width=16", "model.depth=1", "model.fourier=4"]
TINY += ["sampler.n=100", "sampler.steps=3", "sampler.tolerance=1e-3"]


def from_shape(h: torch.Tensor) -> torch.Tensor:
    """Matrices of determinant 1 from points of the hyperbolic plane: the inverse of ``shape``."""
    t, u, v = h.unbind(-1)
    return torch.stack([torch.stack([t + u, v], -1), torch.stack([v, t - u], -1)], -2)


def test_shapes_form_a_hyperbolic_plane_of_twice_the_metric():
    plane = Hyperbolic(2)
    h, k = plane.random(2, 40, dtype=torch.float64)
    torch.testing.assert_close(shape(3 * from_shape(h)), h)
    torch.testing.assert_close(SPD(2).dist(from_shape(h), from_shape(k)), math.sqrt(2) * plane.dist(h, k))


def test_the_density_of_shapes_is_the_known_one_without_its_size():
    """``∫ p(e^s X) 2√2 ds``, the volume being ``√2 ds`` times twice the hyperbolic area."""
    study = SPDMatrices(data=MixtureTable(components=5))
    h = Hyperbolic(2).random(6, dtype=torch.float64)
    s = torch.linspace(-4, 4, 161, dtype=torch.float64)
    every = s.exp()[:, None, None, None] * from_shape(h)
    p = study.log_density(every.reshape(-1, 2, 2)).exp().reshape(len(s), -1)
    torch.testing.assert_close(torch.trapezoid(p, s, dim=0) * 2 * math.sqrt(2), study.shape_density.log_prob(h).exp())


def test_the_known_density_integrates_to_one():
    study = SPDMatrices(data=MixtureTable(components=5))
    polar = Polar(6.0)
    p = study.shape_density.log_prob(from_poincare(polar.points())).exp().reshape(len(polar.r), -1)
    around = p[:, 1:].mean(1) * 2 * torch.pi
    assert torch.trapezoid(around * polar.r.sinh(), polar.r) == pytest.approx(1, abs=1e-3)


def test_anisotropy_runs_from_round_to_a_line():
    assert anisotropy(torch.tensor([[2.0, 2.0, 2.0], [0.0, 0.0, 5.0]])).tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize("names", ["upper", "all"])
def test_matrices_of_any_unit_come_back_from_their_table(tmp_path, names):
    """Diffusion tensors are of the order of 1e-3 mm²/s."""
    x = 1e-3 * SPD(3).random(30, dtype=torch.float64)
    pairs = [(i, j) for i in range(3) for j in range(i if names == "upper" else 0, 3)]
    path = tmp_path / "tensors.csv"
    header = ",".join(f"S{i + 1}{j + 1}" for i, j in pairs)
    np.savetxt(path, np.stack([x[:, i, j].numpy() for i, j in pairs], 1), delimiter=",", header=header, comments="")
    study = SPDMatrices(data=MixtureTable(path=path), n=3)
    read = study.read_table(path)
    assert float(torch.logdet(read.double()).mean()) == pytest.approx(0, abs=1e-5)
    columns = study.columns(read)
    assert list(columns) == ["s11", "s12", "s13", "s22", "s23", "s33"]
    np.testing.assert_allclose(columns["s23"], x[:, 1, 2].numpy(), atol=1e-6 * float(x.abs().max()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("s11,s12,s22\n1,0,1\n1,2,1\n", "line 3: eigenvalues from -1 to 3; give positive definite matrices"),
        ("s11,s12,s22\n0,0,0\n1,0,1\n", "line 2: eigenvalues from 0 to 0"),
        ("s11,s12,s21,s22\n1,0.1,0.3,1\n", r"line 2: entries across differ by 0\.2"),
        ("s11,s22\n1,1\n", "no column s12"),
        ("s11,s12,s13,s22,s23,s33\n1,0,0,1,0,1\n", "a column s33 in 2×2 matrices; say study.n=…"),
        ("s11,s12,s22\n1,-,1\n", "line 2, column s12: '-' is not a finite number"),
    ],
)
def test_tables_that_hold_no_positive_definite_matrices_are_refused(tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        SPDMatrices().read_table(path)
    assert "\n" not in str(error.value)


def test_mixed_precision_is_for_the_network_and_not_for_what_it_reads():
    """Two matrices that bfloat16 cannot tell apart are told apart."""
    torch.manual_seed(0)
    field = MLPField(SPD(2), width=16, depth=1, fourier=4)
    x = torch.eye(2) * torch.tensor([1.0, 1.0002])[:, None, None]
    seen = []
    field.inward.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.autocast("cpu", torch.bfloat16):
        field.velocity(x, torch.zeros(2))
    assert seen[0].dtype == torch.float32
    assert (seen[0][0] != seen[0][1]).any()


@pytest.mark.e2e
@pytest.mark.parametrize("n", [2, 3])
def test_from_a_known_density_to_its_divergence(tmp_path, n):
    config = load_config("spd", [*TINY, f"study.n={n}"])
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    evaluation = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path)
    assert evaluation.metrics["kl"].value > 0
    figures = {"glyphs", "shapes", "log_density"} | ({"disc"} if n == 2 else set())
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == figures
