"""Surfaces: the known densities, the floor, the tables that people have, and the whole study, small."""

import json
import math
import os

import numpy as np
import pytest
import torch
import trimesh

from sciflow.errors import InputError
from sciflow.geometry import GeodesicFlow
from sciflow.geometry.mesh_figures import frame, visible
from sciflow.geometry.mesh_floor import diffused, mesh_floors
from sciflow.geometry.mesh_paths import Traced, trace_paths
from sciflow.geometry.mesh_targets import rooms
from sciflow.manifolds import FlatTorus, Mesh, Product, eigenfunction_density, read_mesh
from sciflow.nets import FunctionField
from sciflow.paths import Pair, PremetricPath
from sciflow.pipeline import evaluate, load_config, prepare, rectify, sample, train
from sciflow.rng import step_generator
from sciflow.training import load_tensors

F64 = torch.float64
TINY = ["data.rows=200", "paths.pairs=100", "trainer.steps=2", "trainer.batch_size=1024", "model.width=16"]
TINY += ["model.depth=1", "sampler.n=40", "sampler.steps=3", "sampler.tolerance=0.5"]


def sphere(n=2, **options):
    ball = trimesh.creation.icosphere(subdivisions=n)
    return Mesh(ball.vertices, ball.faces, **options)


@pytest.fixture
def mirror():
    if "SCIFLOW_MIRROR" not in os.environ:
        pytest.skip("SCIFLOW_MIRROR is not set")


@pytest.fixture
def ball(tmp_path):
    """A sphere of radius 50 in a file."""
    path = tmp_path / "ball.ply"
    made = trimesh.creation.icosphere(subdivisions=2, radius=50.0)
    made.export(path)
    return path


def test_heat_keeps_the_mass_and_spreads_as_on_the_sphere():
    """On the sphere the mean of the first harmonics decays by ``(1 + λτ)^-m``, with the mesh's own λ near 2."""
    mesh = sphere(3)
    x = mesh.vertices[:1] * 0.3 + mesh.vertices[1:2] * 0.7
    start = mesh.projx(torch.from_numpy(x))
    u = diffused(mesh, start, 0.2)
    mass = torch.from_numpy(np.bincount(mesh.faces.ravel(), np.repeat(mesh._surface.areas.numpy() / 3, 3)))
    assert float(mass @ u) == pytest.approx(1, abs=1e-12)
    assert float(u.min()) > 0
    mean = (mass * u) @ torch.from_numpy(mesh.vertices)
    assert float(mean @ start[0]) / float(start[0] @ start[0]) == pytest.approx((1 + 2 * 0.05) ** -4, rel=0.01)


def test_heat_does_not_pass_walls():
    """Two rooms that a long way around joins: none of the heat of one is in the other."""
    i, j = np.meshgrid(np.arange(9), np.arange(9), indexing="ij")
    vertices = np.stack([i.ravel(), j.ravel(), 0 * i.ravel()], 1).astype(float)
    cells = [(a, b) for a in range(8) for b in range(8) if a != 4 or b == 7]  # a wall with a door far up
    faces = [
        f
        for a, b in cells
        for f in ([9 * a + b, 9 * a + 9 + b, 9 * a + b + 1], [9 * a + 9 + b, 9 * a + 10 + b, 9 * a + b + 1])
    ]
    used, faces = np.unique(faces, return_inverse=True)
    mesh = Mesh(vertices[used], faces.reshape(-1, 3), modes=10)
    u = diffused(mesh, torch.tensor([[3.5, 0.5, 0.0]], dtype=F64), 0.5)
    across = torch.from_numpy((mesh.vertices[:, 0] >= 5) & (mesh.vertices[:, 1] <= 2))
    assert float(u[across].max()) < 1e-6 * float(u.max())


def test_the_floor_is_between_the_entropy_and_the_uniform_density():
    mesh = sphere(3, modes=20)
    density = eigenfunction_density(mesh, 5)
    train, val, test = (density.sample(n, generator=step_generator(n), dtype=F64) for n in (300, 1000, 2000))
    floors = mesh_floors(mesh, train, val, test)
    truth = -float(density.log_prob(test).mean())
    assert floors.prior == pytest.approx(mesh.log_volume)
    assert truth < floors.kde < truth + 0.2 < floors.prior
    assert floors.mixture < truth + 0.2


def test_traced_paths_lead_from_the_source_to_the_data(tmp_path):
    mesh = sphere(2, modes=30)
    data = mesh.random(50, generator=step_generator(1))
    data[:, 2] = data[:, 2].abs()
    data = mesh.projx(data)
    lost = trace_paths(PremetricPath(mesh), mesh.prior(), data, 500, 4, 0, tmp_path / "p.safetensors")
    traced = load_tensors(tmp_path / "p.safetensors")
    assert len(traced["t"]) == pytest.approx((1 - lost) * 2000)
    assert lost < 0.02
    assert (traced["t"].reshape(-1, 4) * 4).floor().tolist() == [[0, 1, 2, 3]] * (len(traced["t"]) // 4)
    early, late = (traced["x"][s][:, 2].mean() for s in (traced["t"] < 0.25, traced["t"] > 0.75))
    assert early < 0.2 < 0.35 < late  # the mean height is 0 at the source, 1/2 in the data


def test_the_loss_of_traced_paths_is_zero_at_their_velocity_and_weighs_times_as_drawing_them_would():
    mesh = sphere(1, modes=5)
    x = mesh.random(2000, generator=step_generator(0), dtype=F64)
    t = torch.linspace(0.00025, 0.99975, 2000, dtype=F64)
    still = FunctionField(mesh, lambda x, t: torch.zeros_like(x))
    u = mesh.proju(x, torch.ones_like(x))
    u = u / u.norm(dim=1, keepdim=True)
    for lateness in (1.0, 2.0):
        loss = Traced(lateness)(still, PremetricPath(mesh), Pair(x, x, torch.ones(2000, dtype=F64), {"t": t, "u": u}))
        assert float(loss.mean()) == pytest.approx(1, abs=0.01)  # weights of mean one; an integrable pole at t = 1
        mean = float((loss * t).mean() / loss.mean())
        assert mean == pytest.approx(lateness / (1 + lateness), abs=0.01)  # E[1 − (1 − U)^λ]
    moving = FunctionField(mesh, lambda x, t: u)
    assert not Traced(1.6)(moving, PremetricPath(mesh), Pair(x, x, torch.ones(2000, dtype=F64), {"t": t, "u": u})).any()


def test_rooms_are_round_and_of_the_stated_density():
    """∫(1 − r²/R²)² over a disc is πR²/3; linear in faces of size 0.1 it is that to a few per cent."""
    n = 41
    i, j = (k.ravel() for k in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    a = (i * n + j).reshape(n, n)[:-1, :-1].ravel()
    faces = np.concatenate([np.stack([a, a + n, a + 1], 1), np.stack([a + n, a + n + 1, a + 1], 1)])
    mesh = Mesh(np.stack([i / 20, j / 20, 0 * i], 1), faces, modes=5)
    density = rooms(mesh, [(0.5, 0.5), (1.5, 1.0)])
    centre = density.log_prob(torch.tensor([[0.5, 0.5, 0.0]], dtype=F64)).exp()
    assert float(centre) == pytest.approx(1 / (2 * math.pi * 0.4**2 / 3), rel=0.03)
    assert density.log_prob(torch.tensor([[1.0, 1.9, 0.0]], dtype=F64)).item() == -math.inf


def test_points_are_seen_from_the_side_they_lie_on():
    mesh = sphere(3)
    x = mesh.random(500, generator=step_generator(0), dtype=F64)
    turn = frame(30, 20)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    height = x.numpy() @ turn[2]
    seen = visible(mesh, x, turn)
    assert seen[height > 0.15].all()
    assert not seen[height < -0.15].any()


def study_of(ball, tmp_path, *settings):
    config = load_config("mesh", [*TINY, f"data.mesh={ball}", *settings])
    prepare(config, tmp_path / "data")
    return config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x,y,z\n50,0,0\n0,70,0\n", "line 3: x, y, z lie 20.* from the surface"),
        ("x,y,z\n50,0,nan\n", "line 2, column z: 'nan' is not a finite number"),
        ("x,y\n50,0\n", "no column z"),
    ],
)
def test_tables_that_hold_no_points_of_the_surface_are_refused(ball, tmp_path, text, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        study_of(ball, tmp_path, f"data.path={path}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("study.surface=cow", "use one of bunny, spot, maze_3x3, maze_4x4"),
        ("data.eigenfunction=200", "use one of 1 to 100"),
        ("data.off=0", "must be greater than 0"),
        ("paths.premetric=geodesic", "use one of biharmonic, diffusion"),
        ("paths.pairs=5", "must be greater than 9"),
    ],
)
def test_settings_are_checked(setting, message):
    with pytest.raises(InputError, match=message):
        load_config("mesh", [setting])


def test_an_eigenfunction_that_the_surface_does_not_have_is_refused(tmp_path):
    path = tmp_path / "small.stl"
    trimesh.creation.icosphere(subdivisions=1).export(path)
    with pytest.raises(InputError, match="this surface of 42 vertices has 41"):
        study_of(path, tmp_path, "data.eigenfunction=60")


def test_the_flow_of_a_maze_begins_in_another_room_than_it_ends(mirror, tmp_path):
    config = load_config("mesh", [*TINY, "study.surface=maze_3x3"])
    prepare(config, tmp_path / "data", tmp_path)
    study = config.study
    study.model(tmp_path / "data")
    apart = (
        study.source.log_prob(study.target.sample(500, dtype=F64))
        - study.source.log_prob(study.source.sample(500, dtype=F64)).mean()
    )
    assert float(apart.max()) < -6


@pytest.mark.e2e
def test_from_a_known_density_to_its_likelihood(ball, tmp_path):
    config = study_of(ball, tmp_path, "data.eigenfunction=4", "sampler.track_logq=true")
    train(config, tmp_path / "data", tmp_path / "model")
    samples = sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    with pytest.raises(InputError, match="rectify: a mesh is learnt from paths that prepare traces"):
        rectify(config, tmp_path / "data", tmp_path / "model", tmp_path / "pairs")
    evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())["metrics"]
    assert metrics["nll_prior"]["value"] == pytest.approx(math.log(4 * math.pi), abs=1e-6)  # a mesh is scaled to it
    assert metrics["nll"]["value"] - metrics["nll"]["reference"] == pytest.approx(metrics["nll_excess"]["value"])
    assert 0 <= metrics["total_variation"]["value"] <= 1
    assert metrics["outside"]["n"] == len(samples.x)
    assert {path.stem for path in (tmp_path / "figures").glob("*.png")} == {"views", "log_density"}


@pytest.mark.e2e
def test_from_a_table_to_samples_in_its_units(ball, tmp_path):
    table = tmp_path / "mine.csv"
    drawn = 50 * torch.nn.functional.normalize(Mesh(*read_mesh(ball)).random(80, dtype=F64)).numpy()
    np.savetxt(table, drawn, delimiter=",", header="X,Y,Z", comments="")
    config = study_of(ball, tmp_path, f"data.path={table}")
    train(config, tmp_path / "data", tmp_path / "model")
    sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    evaluation = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path)
    assert "nll_excess" not in evaluation.metrics
    written = np.loadtxt(tmp_path / "samples/samples.csv", delimiter=",", skiprows=1)
    assert written.shape == (40, 3)
    assert np.linalg.norm(written, axis=1).mean() == pytest.approx(50, rel=0.03)


@pytest.mark.e2e
def test_a_mesh_is_learnt_alone(ball):
    mesh = Mesh(*read_mesh(ball))
    with pytest.raises(InputError, match="a mesh is no factor of a product in training"):
        GeodesicFlow().build(Product(place=mesh, angle=FlatTorus(1)))
    assert not Product(place=mesh, angle=FlatTorus(1)).smooth


@pytest.mark.parametrize("setting", ["model.noise=0.01", "model.coupling=transport"])
def test_settings_of_paths_made_in_training_are_refused(ball, tmp_path, setting):
    config = load_config("mesh", [f"data.mesh={ball}", "data.rows=200", "paths.pairs=20", "data.eigenfunction=2"])
    prepare(config, tmp_path / "data")
    with pytest.raises(InputError, match=r"model\.noise, model\.coupling: paths on a mesh are coupled by prepare"):
        train(load_config("mesh", [f"data.mesh={ball}", setting]), tmp_path / "data", tmp_path / "model")


def test_a_maze_from_above(mirror, tmp_path):
    config = load_config("mesh", [*TINY, "study.surface=maze_3x3"])
    prepare(config, tmp_path / "data", tmp_path)
    train(config, tmp_path / "data", tmp_path / "model")
    sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    evaluation = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path)
    assert set(evaluation.figures) == {"plan"}
