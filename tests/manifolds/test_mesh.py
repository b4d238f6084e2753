"""Meshes: what is refused, exact location, straight lines, spectrum, and flows that keep their mass."""

import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from sciflow.errors import InputError
from sciflow.manifolds import Biharmonic, Diffusion, Mesh, PiecewiseLinear, eigenfunction_density, read_mesh
from sciflow.manifolds.mesh.location import closest_in_face
from sciflow.nets import FunctionField
from sciflow.rng import step_generator, uniform
from sciflow.sampling import Midpoint, log_prob

F64 = torch.float64
DATA = os.environ.get("SCIFLOW_MIRROR")


def icosphere(n, **options):
    sphere = trimesh.creation.icosphere(subdivisions=n)
    return Mesh(sphere.vertices, sphere.faces, **options)


def grid(n, width=1.0, height=1.0, **options):
    """A flat rectangle of n by n squares, cut along alternating diagonals."""
    i, j = (k.ravel() for k in np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"))
    vertices = np.stack([width * i / n, height * j / n, 0 * i], 1)
    i, j = (k.ravel() for k in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    a, b, c, d = (p * (n + 1) + q for p, q in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)))
    even = ((i + j) % 2 == 0)[:, None]
    one = np.where(even, np.stack([a, b, c], 1), np.stack([a, b, d], 1))
    two = np.where(even, np.stack([a, c, d], 1), np.stack([b, c, d], 1))
    return Mesh(vertices, np.concatenate([one, two]), **options)


def torus(**options):
    shape = trimesh.creation.torus(2.0, 0.7, major_sections=24, minor_sections=12)
    return Mesh(shape.vertices, shape.faces, **options)


def scatter(mesh, n, seed=0):
    return mesh.random(n, generator=step_generator(seed), dtype=F64)


TRIANGLE = [[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (TRIANGLE, np.zeros((0, 3), int), "at least one triangle"),
        ([*TRIANGLE, [2, 0, 0]], [[0, 1, 2], [0, 1, 3]], "1 faces have no area"),
        ([*TRIANGLE, [0, 0, 1], [0, 0, -1]], [[0, 1, 2], [0, 1, 3], [0, 1, 4]], "more than two faces"),
        ([*TRIANGLE, *(np.array(TRIANGLE) + 5)], [[0, 1, 2], [3, 4, 5]], "2 components"),
        ([*TRIANGLE, [0, 0, 1]], [[0, 1, 2]], "1 vertices belong to no face"),
        (TRIANGLE, [[0, 1, 3]], "number them from 0"),
        ([[0.0, 0, math.nan], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], "finite"),
    ],
)
def test_what_is_no_mesh_is_refused(vertices, faces, message):
    with pytest.raises(InputError, match=message):
        Mesh(vertices, faces)


def test_a_moebius_band_is_refused():
    n = 12
    turn = 2 * math.pi * np.arange(n) / n
    axis = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    across = 0.3 * (np.cos(turn / 2)[:, None] * axis + np.sin(turn / 2)[:, None] * [0, 0, 1])
    i = np.arange(n - 1)
    faces = np.concatenate([np.stack([i, i + 1, i + n], 1), np.stack([i + 1, i + n + 1, i + n], 1)])
    faces = [*faces.tolist(), [n - 1, n, 2 * n - 1], [n, 0, 2 * n - 1]]
    with pytest.raises(InputError, match="one side"):
        Mesh(np.concatenate([axis - across, axis + across]), faces)


def test_faces_that_turn_either_way_are_put_in_order():
    sphere = trimesh.creation.icosphere(subdivisions=1)
    faces = np.array(sphere.faces)
    faces[1::3] = faces[1::3, ::-1]
    surface = Mesh(sphere.vertices, faces).surface(torch.zeros((), dtype=F64))
    outward = (surface.normals * surface.corners.mean(1)).sum(-1)
    assert (outward > 0).all() or (outward < 0).all()


@pytest.mark.parametrize("suffix", ["obj", "ply", "stl"])
def test_files_give_the_mesh_that_was_written(tmp_path, suffix):
    """Welded: an icosphere has V − F/2 = 2, which the loose corners of an STL file have not."""
    path = tmp_path / f"sphere.{suffix}"
    trimesh.creation.icosphere(subdivisions=2).export(path)
    mesh = Mesh(*read_mesh(path, scale=2.0), modes=5)
    assert len(mesh.vertices) - len(mesh.faces) / 2 == 2
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 2.0, rtol=1e-6)  # STL keeps single precision


def test_files_that_are_no_meshes_are_refused(tmp_path):
    (tmp_path / "points.obj").write_text("v 0 0 0\nv 1 0 0\n")
    (tmp_path / "text.ply").write_text("not a mesh")
    with pytest.raises(InputError, match=r"missing\.obj: no such file"):
        read_mesh(tmp_path / "missing.obj")
    for name in ("points.obj", "text.ply"):
        with pytest.raises(InputError, match=name):
            read_mesh(tmp_path / name)


@pytest.mark.skipif(DATA is None, reason="SCIFLOW_MIRROR is not set")
@pytest.mark.parametrize(
    ("name", "euler", "walls"), [("bunny_simp", 2, 0), ("spot_simp", 2, 0), ("maze_3x3", 1, 192), ("maze_4x4", 1, 332)]
)
def test_the_meshes_of_the_benchmark(name, euler, walls):
    """Euler characteristic of a sphere, spot's texture seams welded; the 3×3 and 4×4 mazes are discs with walls."""
    mesh = Mesh(*read_mesh(Path(str(DATA)) / "meshes" / f"{name}.obj"))
    surface = mesh.surface(torch.zeros((), dtype=F64))
    assert int(surface.walls.sum()) == walls
    edges = (3 * len(mesh.faces) + walls) // 2
    assert len(mesh.vertices) - edges + len(mesh.faces) == euler


@pytest.mark.parametrize("spread", [0.0, 0.05, 3.0])
def test_the_closest_face_is_that_of_a_search_through_all(spread):
    mesh = torus(modes=5)
    x = scatter(mesh, 300) + spread * torch.randn(300, 3, dtype=F64, generator=step_generator(1))
    surface = mesh.surface(x)
    i, j = torch.triu_indices(40, 40)
    b = (
        torch.stack([i, j - i, 39 - j], 1).double() / 39
    )  # every face by 820 of its points: no closer, and hardly farther
    dense = torch.einsum("qi,fij->fqj", b, surface.corners).flatten(0, 1)
    found = (mesh.projx(x) - x).norm(dim=-1)
    exact = "donot_use_mm_for_euclid_dist"
    searched = torch.cat([torch.cdist(part, dense, compute_mode=exact).amin(1) for part in x.split(20)])
    assert (found <= searched + 1e-12).all()
    assert (found >= searched - 0.02).all()  # the edge of a face over 39
    face, every = mesh.locate(x)[0], closest_in_face(x[:, None], surface.corners[None], surface.gradients[None])
    gaps = (torch.einsum("nfi,fij->nfj", every, surface.corners) - x[:, None]).norm(dim=-1)
    torch.testing.assert_close(gaps.gather(1, face[:, None])[:, 0], gaps.amin(1), rtol=0, atol=1e-14)


def test_straight_lines_of_the_plane_cross_the_faces_of_a_flat_grid():
    mesh = grid(7)
    x, y = scatter(mesh, 64), scatter(mesh, 64, seed=1)
    torch.testing.assert_close(mesh.expmap(x, y - x), y, rtol=0, atol=1e-13)
    u = mesh.randn_tangent(x)
    torch.testing.assert_close(mesh.transp_along(x, y - x, u), u, rtol=0, atol=1e-13)


def test_a_line_slides_along_the_wall_and_rests_in_a_corner():
    """What is left of the way is projected to the wall: the end of a way in a convex room is its projection."""
    mesh = grid(5)
    x = scatter(mesh, 64)
    u = 2 * mesh.randn_tangent(x, step_generator(1))
    torch.testing.assert_close(mesh.expmap(x, u), (x + u).clamp(0, 1) * torch.tensor([1.0, 1, 0]), rtol=0, atol=1e-12)


def test_a_vector_carried_around_a_vertex_turns_by_its_missing_angle():
    """Gauss–Bonnet at the corner of a cube: three right angles meet, and π/2 is missing."""
    box = trimesh.creation.box()
    mesh = Mesh(box.vertices, box.faces, modes=5)
    x = torch.tensor([[0.5, 0.4, 0.4]], dtype=F64)
    u = torch.tensor([[0.0, 0.3, 0.7]], dtype=F64)
    at, carried = x, u
    for way in ([0, 0.2, 0], [0, 0, 0.2], [0.2, 0, 0]):  # over three edges, to where it came from
        w = torch.tensor([way], dtype=F64)
        at, carried = mesh.expmap(at, w), mesh.transp_along(at, w, carried)
    assert (at - x).abs().max() < 1e-12
    assert (carried * u).sum().abs() < 1e-12


def test_gradients_of_the_end_are_those_of_the_line():
    mesh = icosphere(2, modes=5)
    x = scatter(mesh, 8)
    u = mesh.randn_tangent(x, step_generator(1))
    direction = mesh.randn_tangent(x, step_generator(2))
    moved = torch.func.jvp(lambda u: mesh.expmap(x, u), (u,), (direction,))[1]
    torch.testing.assert_close(moved, mesh.transp_along(x, u, direction), rtol=0, atol=1e-12)


def test_samples_are_uniform_by_area():
    mesh = torus(modes=5)
    n = 20000
    face, _ = mesh.locate(scatter(mesh, n))
    areas = mesh.surface(torch.zeros((), dtype=F64)).areas
    expected = n * areas / areas.sum()
    chi = ((face.bincount(minlength=len(areas)) - expected) ** 2 / expected).sum()
    assert abs(float(chi) - len(areas)) < 5 * math.sqrt(2 * len(areas))  # five standard deviations of χ²
    assert mesh.log_volume == pytest.approx(math.log(float(areas.sum())))


def test_spectrum_of_the_sphere():
    """λ = l(l + 1), each 2l + 1 times; the error falls as the square of the edge (0.15)."""
    values = icosphere(3, modes=15).spectrum.eigenvalues.numpy()
    np.testing.assert_allclose(values, np.repeat([2, 6, 12], [3, 5, 7]), rtol=0.02)


def test_spectrum_of_a_rectangle_with_walls():
    """λ = π²(j²/a² + k²/b²) of free walls; eigenfunctions orthonormal, the larger values positive."""
    mesh = grid(24, width=2.0, height=1.5, modes=8)
    j, k = np.meshgrid(np.arange(9), np.arange(9))
    exact = np.sort((math.pi**2 * ((j / 2.0) ** 2 + (k / 1.5) ** 2)).ravel())[1:9]
    np.testing.assert_allclose(mesh.spectrum.eigenvalues.numpy(), exact, rtol=0.02)
    again = grid(24, width=2.0, height=1.5, modes=8)
    torch.testing.assert_close(again.spectrum.eigenfunctions, mesh.spectrum.eigenfunctions, rtol=0, atol=1e-9)
    functions = mesh.spectrum.eigenfunctions
    assert (functions.amax(0) >= -functions.amin(0)).all()


@pytest.mark.parametrize("premetric", [Biharmonic(), Diffusion(0.3)])
def test_premetric_of_the_sphere_depends_on_the_angle(premetric):
    """By the addition theorem Σ_m (Y_lm(x) − Y_lm(y))² = (2l + 1)/2π (1 − P_l(cos θ)); modes end with l = 3."""
    mesh = icosphere(3, premetric=premetric, modes=15)
    x, y = scatter(mesh, 50), scatter(mesh, 50, seed=1)
    cosine = (torch.nn.functional.normalize(x, dim=-1) * torch.nn.functional.normalize(y, dim=-1)).sum(-1)
    legendre = [cosine, (3 * cosine**2 - 1) / 2, (5 * cosine**3 - 3 * cosine) / 2]
    weights = premetric.weights(torch.tensor([2.0, 6.0, 12.0], dtype=F64))
    degrees = zip((3, 5, 7), weights, legendre, strict=True)
    square = sum(w * count / (2 * math.pi) * (1 - p) for count, w, p in degrees)
    torch.testing.assert_close(mesh.dist(x, y), square.sqrt(), rtol=0.03, atol=0.01)


def test_more_modes_than_vertices_are_refused():
    with pytest.raises(InputError, match="ask for 1 to 11"):
        _ = icosphere(0).spectrum


@pytest.mark.parametrize("mesh", [icosphere(1, modes=10), torus(modes=10)], ids=["sphere", "torus"])
def test_a_continuous_field_has_a_continuous_flux(mesh):
    """What leaves one face through an edge enters the next: the sum of both conormal parts vanishes."""
    surface = mesh.surface(torch.zeros((), dtype=F64))
    face = torch.arange(len(surface.areas)).repeat_interleave(3)
    edge = torch.arange(3).repeat(len(surface.areas))
    b = torch.full((len(face), 3), 0.3, dtype=F64)
    b.scatter_(1, ((edge + 1) % 3)[:, None], 0.7)
    b.scatter_(1, edge[:, None], 0.0)
    x = surface.ambient(face, b)
    there = surface.neighbours[face, edge]

    def flux(face, x):
        w = torch.sin(2 * x.roll(1, -1)) + torch.tensor([0.3, -1.0, 2.0])
        return (surface.conforming(face, surface.barycentric(face, x), w) * conormal(face)).sum(-1)

    def conormal(f):
        corners = surface.corners[face]
        along = corners.gather(1, ((edge + 2) % 3)[:, None, None].expand(-1, 1, 3)) - corners.gather(
            1, ((edge + 1) % 3)[:, None, None].expand(-1, 1, 3)
        )
        return torch.linalg.cross(along[:, 0], surface.normals[f])

    assert flux(face, x).abs().max() > 0.1
    torch.testing.assert_close(flux(face, x), flux(there, x), rtol=0, atol=1e-12)


def test_nothing_flows_through_walls():
    mesh = grid(4)
    wall = torch.tensor([[0.0, 0.3, 0], [1, 0.6, 0], [0.55, 0, 0], [0.8, 1, 0]], dtype=F64)
    v = mesh.tangent(wall, torch.ones_like(wall))
    torch.testing.assert_close(v[:2, 0], torch.zeros(2, dtype=F64), rtol=0, atol=1e-13)
    torch.testing.assert_close(v[2:, 1], torch.zeros(2, dtype=F64), rtol=0, atol=1e-13)
    assert (v[:2, 1] > 0.9).all()


@pytest.mark.parametrize("mesh", [icosphere(1, modes=5), grid(4)], ids=["sphere", "room"])
def test_the_likelihood_of_a_flow_integrates_to_one(mesh):
    """Points drawn within each face: their spread is the error. Orthogonal projection would give 0.94 here."""

    def velocity(x, t):
        return mesh.tangent(x, 0.3 * (torch.sin(2 * x.roll(1, -1) + t[:, None]) + torch.cos(3 * x)))

    surface = mesh.surface(torch.zeros((), dtype=F64))
    k = 24
    face = torch.arange(len(surface.areas)).repeat_interleave(k)
    spacing = -uniform(len(face), 3, generator=step_generator(0), dtype=F64).log()
    x = surface.ambient(face, spacing / spacing.sum(1, keepdim=True))
    times = torch.linspace(1, 0, 13, dtype=F64)
    logp = log_prob(FunctionField(mesh, velocity), x, mesh.prior(), step=Midpoint(), grid=times)
    p = logp.exp().reshape(-1, k)
    error = float((p.var(1) / k * surface.areas**2).sum().sqrt())
    assert float(logp.std()) > 0.2
    assert error < 0.02
    assert float((p.mean(1) * surface.areas).sum()) == pytest.approx(1, abs=3 * error)


def test_density_linear_in_faces():
    """One triangle, p = 3λ/A: −∫ p log p = −log(3/A) − 3·2·∫ λ(1 − λ) log λ = −log(3/A) + 5/6; E λ = 1/2."""
    mesh = Mesh(TRIANGLE, [[0, 1, 2]], modes=1)
    density = PiecewiseLinear(mesh, torch.tensor([1.0, 0.0, 0.0]))
    # f log f, with f zero on an edge, keeps the quadrature at six digits
    assert density.entropy() == pytest.approx(-math.log(6) + 5 / 6, abs=1e-5)
    n = 20000
    x = density.sample(n, generator=step_generator(0), dtype=F64)
    _, b = mesh.locate(x)
    assert float(b[:, 0].mean()) == pytest.approx(1 / 2, abs=5 * math.sqrt(1 / 20 / n))  # Dirichlet(2, 1, 1)
    assert float((b[:, 0] ** 2).mean()) == pytest.approx(3 / 10, abs=5 * 0.27 / math.sqrt(n))
    torch.testing.assert_close(density.log_prob(x), (6 * b[:, 0]).log(), rtol=0, atol=1e-12)


def test_eigenfunction_density_is_sampled_as_it_is_stated():
    mesh = icosphere(2, modes=12)
    density = eigenfunction_density(mesh, 10)
    n = 20000
    logp = density.log_prob(density.sample(n, generator=step_generator(0), dtype=F64))
    assert float(-logp.mean()) == pytest.approx(density.entropy(), abs=5 * float(logp.std()) / math.sqrt(n))
    with pytest.raises(InputError, match="k=13"):
        eigenfunction_density(mesh, 13)
    with pytest.raises(InputError, match="one ≥ 0 a vertex"):
        PiecewiseLinear(mesh, -torch.ones(len(mesh.vertices)))


def test_a_mesh_can_be_pickled():
    mesh = icosphere(1, modes=5)
    x = scatter(mesh, 4)
    again = pickle.loads(pickle.dumps(mesh))
    torch.testing.assert_close(again.coordinates(x), mesh.coordinates(x), rtol=0, atol=0)


def test_there_is_no_closed_form_geodesic():
    mesh = icosphere(0, modes=5)
    x = scatter(mesh, 2)
    for refused in (mesh.logmap, mesh.cut_locus, lambda x, y: mesh.transp(x, y, x)):
        with pytest.raises(InputError, match="PremetricPath"):
            refused(x, x)
