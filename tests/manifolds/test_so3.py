"""Rotations up to and at the half turn, in both precisions, against rotation matrices."""

import math

import pytest
import torch

from sciflow.manifolds import SO3
from sciflow.manifolds.quaternion import from_matrix, multiply, rotate, to_matrix
from sciflow.rng import normal, step_generator

SO = SO3()


def rotation_vectors(angle, dtype, n=200):
    axis = normal(n, 3, generator=step_generator(1), dtype=dtype)
    return angle * axis / axis.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize(
    ("dtype", "angle", "tolerance"),
    [
        (torch.float32, math.pi - 1e-3, 1e-5),  # the trace formula is off by 1e-2 here
        (torch.float32, 1e-3, 1e-6),
        (torch.float64, math.pi - 1e-3, 1e-12),
        (torch.float64, math.pi - 1e-9, 1e-12),
        (torch.float64, 1e-9, 1e-15),
    ],
)
def test_log_undoes_exp_near_the_half_turn_and_the_identity(dtype, angle, tolerance):
    q = SO.random(200, generator=step_generator(0), dtype=dtype)
    u = rotation_vectors(angle, dtype)
    assert (SO.logmap(q, SO.expmap(q, u)) - u).abs().max() < tolerance


def test_both_signs_of_a_quaternion_are_one_rotation():
    q, r = (SO.random(100, generator=step_generator(seed), dtype=torch.float64) for seed in (0, 1))
    assert SO.dist(q, -q).max() == 0
    assert SO.dist(q, r).max() <= math.pi
    t = torch.linspace(0, 1, 100, dtype=torch.float64)
    for other in (SO.logmap(q, -r) - SO.logmap(q, r), SO.logmap(-q, r) - SO.logmap(q, r)):
        assert other.abs().max() < 1e-15
    assert SO.dist(SO.geodesic(q, -r, t)[0], SO.geodesic(q, r, t)[0]).max() < 1e-15


def test_half_turns_go_one_way_whatever_the_signs():
    """About the axes and in the planes between them, where the scalar part is zero to the last digit."""
    axes = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)] * 3)
    axes = axes[axes.abs().sum(-1) > 0]
    r = torch.cat([torch.zeros(len(axes), 1, dtype=torch.float64), axes / axes.norm(dim=-1, keepdim=True)], -1)
    q = torch.eye(4, dtype=torch.float64)[:1].expand_as(r)
    t = torch.full((len(r),), 0.3, dtype=torch.float64)
    u, (x_t, u_t) = SO.logmap(q, r), SO.geodesic(q, r, t)
    torch.testing.assert_close(u_t, u, atol=1e-14, rtol=0)
    for one, other in ((q, -r), (-q, r), (-q, -r)):
        torch.testing.assert_close(SO.logmap(one, other), u, atol=1e-14, rtol=0)
        assert SO.dist(SO.geodesic(one, other, t)[0], x_t).max() < 1e-14


def test_half_turns_move_at_full_speed():
    q = SO.random(200, generator=step_generator(0), dtype=torch.float64)
    r = SO.expmap(q, rotation_vectors(math.pi, torch.float64))
    assert SO.cut_locus(q, r).all()
    x_t, u_t = SO.geodesic(q, r, torch.full((200,), 0.5, dtype=torch.float64))
    assert (u_t.norm(dim=-1) - math.pi).abs().max() < 1e-14
    assert (SO.dist(q, x_t) - math.pi / 2).abs().max() < 1e-14


def test_exp_is_the_matrix_exponential_in_the_body_frame():
    q, u = SO.random(50, generator=step_generator(0), dtype=torch.float64), rotation_vectors(2.0, torch.float64, 50)
    zero = torch.zeros_like(u[:, 0])
    x, y, z = u.unbind(-1)
    hat = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(-1, 3, 3)
    torch.testing.assert_close(to_matrix(SO.expmap(q, u)), to_matrix(q) @ torch.linalg.matrix_exp(hat))


def test_transport_solves_the_levi_civita_equation():
    """Along q·exp(tw) the body coordinates of a parallel field obey u' = −½ w × u (bi-invariant metric)."""
    q = SO.random(50, generator=step_generator(0), dtype=torch.float64)
    u, w = (normal(50, 3, generator=step_generator(seed), dtype=torch.float64) for seed in (1, 2))
    one = torch.ones((), dtype=torch.float64)
    moved, rate = torch.func.jvp(lambda t: SO.transp_along(q, t * w, u), (0.3 * one,), (one,))
    torch.testing.assert_close(rate, -0.5 * torch.linalg.cross(w, moved))


def test_matrices_and_quaternions_agree():
    q, r = (SO.random(500, generator=step_generator(seed), dtype=torch.float64) for seed in (0, 1))
    half_turns = SO.expmap(torch.eye(4, dtype=torch.float64)[0], rotation_vectors(math.pi, torch.float64))
    q = torch.cat([q, half_turns, torch.eye(4, dtype=torch.float64)])
    assert SO.dist(from_matrix(to_matrix(q)), q).max() < 1e-14
    torch.testing.assert_close(to_matrix(multiply(q[:500], r)), to_matrix(q[:500]) @ to_matrix(r))
    v = normal(500, 3, generator=step_generator(2), dtype=torch.float64)
    torch.testing.assert_close(rotate(r, v), (to_matrix(r) @ v[..., None])[..., 0])
