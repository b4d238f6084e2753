"""A product is its factors side by side."""

import math

import pytest
import torch

from sciflow.manifolds import SE3, FlatTorus, Product, Sphere
from sciflow.rng import step_generator


def test_squared_distances_add():
    manifold = Product(direction=Sphere(2), torsions=FlatTorus(3))
    x, y = (manifold.random(6, 4, generator=step_generator(seed), dtype=torch.float64) for seed in (0, 1))
    squares = [factor.dist(x[name], y[name]).square() for name, factor in manifold.factors.items()]
    torch.testing.assert_close(manifold.dist(x, y).square(), squares[0] + squares[1])
    assert manifold.dim == 5
    assert manifold.injectivity_radius == math.pi


def test_a_cut_locus_of_one_factor_is_one_of_the_product():
    manifold = Product(direction=Sphere(2), torsions=FlatTorus(3))
    x = manifold.random(6, generator=step_generator(0), dtype=torch.float64)
    antipode = {**x, "direction": -x["direction"]}
    assert manifold.cut_locus(x, antipode).all()
    assert not manifold.cut_locus(x, x).any()


def test_products_take_plain_manifolds_only():
    with pytest.raises(ValueError, match="frame"):
        Product(frame=SE3(), chi=FlatTorus(4))
