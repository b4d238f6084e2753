"""Angles: their range, their seam, and the half turn."""

import math

import torch

from sciflow.manifolds import FlatTorus, wrap


def test_wrap_is_exact_inside_and_periodic_outside():
    inside = torch.tensor([math.pi, -3.0, -1e-300, 0.0, 1e-300, 3.0], dtype=torch.float64)
    assert torch.equal(wrap(inside), inside)
    torch.testing.assert_close(wrap(inside + 6 * math.pi), inside, atol=1e-14, rtol=0)
    assert wrap(torch.tensor(-math.pi, dtype=torch.float64)) == math.pi


def test_the_seam_is_no_wall():
    torus = FlatTorus(1)
    left, right = torch.tensor([[3.0]], dtype=torch.float64), torch.tensor([[-3.0]], dtype=torch.float64)
    torch.testing.assert_close(torus.dist(left, right).item(), 2 * math.pi - 6)


def test_half_turns_move_at_full_speed():
    torus, x = FlatTorus(2), torch.tensor([[0.0, 0.3]], dtype=torch.float64)
    y = torus.expmap(x, torch.tensor([[-math.pi, 0.1]], dtype=torch.float64))
    assert torus.cut_locus(x, y).all()
    assert not torus.cut_locus(x, x + 1).any()
    _, u = torus.geodesic(x, y, torch.tensor([0.5], dtype=torch.float64))
    torch.testing.assert_close(u, torch.tensor([[math.pi, 0.1]], dtype=torch.float64))
