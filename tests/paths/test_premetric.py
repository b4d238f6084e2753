"""Premetric paths fall at the rate they should, end where they should, and are straight where space is."""

import math
import os
from pathlib import Path

import pytest
import torch
import trimesh

from sciflow.manifolds import Diffusion, Mesh, read_mesh
from sciflow.paths import Cosine, Linear, PremetricPath
from sciflow.rng import step_generator, uniform

F64 = torch.float64
DATA = os.environ.get("SCIFLOW_MIRROR")


def shape(name, **options):
    if name == "sphere":
        made = trimesh.creation.icosphere(subdivisions=3)
        return Mesh(made.vertices, made.faces, **options)
    if name == "torus":
        made = trimesh.creation.torus(2.0, 0.7, major_sections=32, minor_sections=16)
        return Mesh(made.vertices, made.faces, **options)
    if DATA is None:
        pytest.skip("SCIFLOW_MIRROR is not set")
    return Mesh(*read_mesh(Path(DATA) / "meshes" / f"{name}.obj"), **options)


def ends(mesh, n=256):
    generator = step_generator(0)
    x0, x1 = (mesh.random(n, generator=generator, dtype=F64) for _ in range(2))
    return x0, x1, uniform(n, generator=generator, dtype=F64)


@pytest.mark.parametrize(
    ("name", "options", "schedule"),
    [
        ("sphere", {}, Linear()),
        ("sphere", {"premetric": Diffusion(0.5)}, Cosine()),
        ("torus", {}, Linear()),
        ("bunny_simp", {}, Linear()),
        ("spot_simp", {}, Linear()),
        ("maze_3x3", {}, Linear()),
    ],
)
def test_the_distance_falls_by_the_schedule(name, options, schedule):
    """d(x_t, x1) = (1 − κ) d(x0, x1); one path in a hundred may rest in a well of d between the modes kept."""
    mesh = shape(name, **options)
    path = PremetricPath(mesh, schedule)
    x0, x1, t = ends(mesh)
    point = path.sample(x0, x1, t)
    level = (1 - schedule.kappa(t)) * mesh.dist(x0, x1)
    error = (mesh.dist(point.x_t, x1) / level - 1).abs()
    assert float((error < 1e-2).double().mean()) >= 0.99
    assert float(error.median()) < 1e-12
    assert (mesh.projx(point.x_t) - point.x_t).norm(dim=-1).max() < 1e-9 * math.exp(mesh.log_volume / 2)
    tangent = mesh.proju(point.x_t, point.u_t) - point.u_t
    assert float((tangent.norm(dim=-1) <= 1e-9 * point.u_t.norm(dim=-1)).double().mean()) >= 0.99  # others: on an edge


@pytest.mark.parametrize("name", ["sphere", "torus", "maze_3x3"])
def test_the_velocity_is_the_derivative_of_the_point(name):
    """By central differences: h² and rounding/h, both relative 1e-5; where a step meets an edge, the mean of both."""
    mesh = shape(name)
    path = PremetricPath(mesh, Cosine())
    x0, x1, t = ends(mesh)
    t, h = 0.05 + 0.9 * t, 1e-6
    ahead, behind = (path.sample(x0, x1, t + s).x_t for s in (h, -h))
    u = path.sample(x0, x1, t).u_t
    error = ((ahead - behind) / (2 * h) - u).norm(dim=-1) / u.norm(dim=-1)
    assert float(error.median()) < 1e-6
    assert float((error < 1e-3).double().mean()) >= 0.97


def test_paths_join_their_ends():
    mesh = shape("sphere")
    path = PremetricPath(mesh)
    x0, x1, t = ends(mesh)
    for time, end in ((0.0, x0), (1.0, x1)):
        bound = path.sample(x0, x1, torch.full_like(t, time))
        assert (bound.x_t - end).norm(dim=-1).max() < 1e-9
        assert bound.u_t.isfinite().all()


def test_on_the_sphere_paths_follow_great_circles():
    """d depends on the angle alone, so the way down lies in the plane of both ends, up to the size of a face (0.15)."""
    mesh = shape("sphere", modes=80)
    x0, x1, t = ends(mesh)
    apart = (x0 * x1).sum(-1).abs() < 0.9
    normal = torch.nn.functional.normalize(torch.linalg.cross(x0, x1), dim=-1)
    off = (PremetricPath(mesh).sample(x0, x1, t).x_t * normal).sum(-1).abs()[apart]
    assert float(off.median()) < 0.02
    assert float(off.max()) < 0.15


def test_in_the_middle_of_a_flat_room_paths_are_straight():
    """Far from the walls the level sets of the biharmonic distance are nearly circles."""
    n = 24
    i, j = (k.ravel() for k in torch.meshgrid(torch.arange(n + 1), torch.arange(n + 1), indexing="ij"))
    vertices = torch.stack([i / n, j / n, 0 * i], 1)
    i, j = (k.ravel() for k in torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"))
    a, b, c, d = (p * (n + 1) + q for p, q in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)))
    mesh = Mesh(vertices, torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)]))
    angle = 2 * math.pi * torch.arange(40, dtype=F64) / 40 + 0.05
    x1 = torch.tensor([0.51, 0.48, 0.0], dtype=F64).expand(40, 3)
    x0 = x1 + 0.25 * torch.stack([angle.cos(), angle.sin(), 0 * angle], 1)
    u = PremetricPath(mesh).sample(x0, x1, torch.full((40,), 0.3, dtype=F64)).u_t
    cosine = ((x1 - x0) * u).sum(-1) / ((x1 - x0).norm(dim=-1) * u.norm(dim=-1))
    assert float(cosine.min()) > 0.98
    assert float(cosine.mean()) > 0.995


def test_velocity_to_a_predicted_end_is_that_of_the_path():
    """Up to the turn of the direction within a face."""
    mesh = shape("sphere")
    path = PremetricPath(mesh, Cosine())
    x0, x1, t = ends(mesh)
    point = path.sample(x0, x1, 0.9 * t)
    velocity = path.velocity(x1, point.x_t, 0.9 * t)
    error = (velocity - point.u_t).norm(dim=-1) / point.u_t.norm(dim=-1)
    assert float(error.median()) < 0.05
    assert path.velocity(x1, x1, torch.ones_like(t)).isfinite().all()


def test_events_and_flat_places():
    """Several points a sample; equal ends; antipodes, where the gradient vanishes."""
    mesh = shape("sphere", modes=40)
    path = PremetricPath(mesh)
    x0, x1, t = ends(mesh, 12)
    whole = path.sample(x0.reshape(4, 3, 3), x1.reshape(4, 3, 3), t[:4])
    flat = path.sample(x0, x1, t[:4].repeat_interleave(3))
    torch.testing.assert_close(whole.x_t.reshape(12, 3), flat.x_t, rtol=0, atol=0)
    torch.testing.assert_close(whole.u_t.reshape(12, 3), flat.u_t, rtol=0, atol=0)
    for other in (x0, mesh.projx(-x0)):
        point = path.sample(x0, other, t)
        assert point.x_t.isfinite().all()
        assert point.u_t.isfinite().all()
    assert (path.sample(x0, x0, t).u_t == 0).all()


def test_single_precision_keeps_the_law():
    mesh = shape("torus")
    x0, x1, t = (part.float() for part in ends(mesh))
    t = 0.99 * t
    point = PremetricPath(mesh).sample(x0, x1, t)
    error = (mesh.dist(point.x_t, x1) / ((1 - t) * mesh.dist(x0, x1)) - 1).abs()
    assert float((error < 1e-2).float().mean()) >= 0.99


@pytest.mark.parametrize("name", ["sphere", "maze_3x3"])
def test_a_path_seen_at_many_times_is_the_path_seen_at_one(name):
    mesh = shape(name)
    path = PremetricPath(mesh, Cosine())
    x0, x1, _ = ends(mesh, 64)
    t = torch.tensor([0.0, 0.3, 0.35, 0.99], dtype=F64).expand(64, -1)
    whole, reached = path.along(x0, x1, t)
    assert reached.double().mean() > 0.95
    for j in range(4):
        once = path.sample(x0, x1, t[:, j])
        assert torch.equal(whole.x_t[reached, j], once.x_t[reached])
        assert torch.equal(whole.u_t[reached, j], once.u_t[reached])
