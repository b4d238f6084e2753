"""The sphere where naive formulas fail: coincident points, antipodes and float32."""

import math

import pytest
import torch

from sciflow.manifolds import Sphere
from sciflow.rng import step_generator

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-14}


def points(d, dtype, n=2000):
    return Sphere(d).random(n, generator=step_generator(0), dtype=dtype)


@DTYPES
@pytest.mark.parametrize("d", [1, 2, 9])
def test_antipodes_are_joined_by_a_half_circle(d, dtype):
    sphere, x = Sphere(d), points(d, dtype, 50)
    assert sphere.cut_locus(x, -x).all()
    assert not sphere.cut_locus(x, x.roll(1, 0)).any()
    assert (sphere.dist(x, -x) - math.pi).abs().max() < ROUNDING[dtype]
    middle, u = sphere.geodesic(x, -x, torch.full((50,), 0.5, dtype=dtype))
    assert (sphere.dist(x, middle) - math.pi / 2).abs().max() < ROUNDING[dtype]
    assert (u.norm(dim=-1) - math.pi).abs().max() < ROUNDING[dtype]
    end, _ = sphere.geodesic(x, -x, torch.ones(50, dtype=dtype))
    assert sphere.dist(end, -x).max() < ROUNDING[dtype]


@DTYPES
def test_distances_are_exact_near_both_poles(dtype):
    sphere, x = Sphere(2), points(2, dtype)
    assert (sphere.dist(x, x) == 0).all()
    for angle in (1e-20, 1e-6, 1e-3, math.pi - 1e-3):  # arccos of the dot product sees none of these in float32
        u = torch.nn.functional.normalize(sphere.randn_tangent(x, step_generator(1)), dim=-1)
        y = sphere.expmap(x, angle * u)
        # y's coordinates and π itself are rounded
        assert (sphere.dist(x, y) - angle).abs().max() < 8 * torch.finfo(dtype).eps


def test_log_of_near_antipodes_keeps_its_direction():
    sphere, x = Sphere(2), points(2, torch.float64)
    u = torch.nn.functional.normalize(sphere.randn_tangent(x, step_generator(1)), dim=-1) * (math.pi - 1e-6)
    error = (sphere.logmap(x, sphere.expmap(x, u)) - u).norm(dim=-1).max()
    assert error < 1e-8  # a rounding of 1e-16 at 1e-6 from the pole turns the direction by 1e-10
