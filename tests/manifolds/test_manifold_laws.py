"""Every manifold obeys the laws of Riemannian geometry, in both precisions."""

import pytest
import torch
import trimesh

from sciflow.manifolds import (
    SE3,
    SO3,
    SPD,
    Ball,
    Box,
    Euclidean,
    FlatSimplex,
    FlatTorus,
    Hyperbolic,
    Mesh,
    Product,
    Simplex,
    Sphere,
)
from sciflow.testing import assert_manifold_laws

_SOLID = trimesh.creation.icosphere(subdivisions=2)
ICOSPHERE = Mesh(_SOLID.vertices, _SOLID.faces, modes=20)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("manifold", "event_shape"),
    [
        (Euclidean(3), ()),
        (Euclidean(3, centered=True), (5,)),
        (Sphere(1), (3,)),
        (Sphere(2), ()),
        (Sphere(5), (2, 3)),
        (FlatTorus(2), (4,)),
        (FlatTorus(7), ()),
        (SO3(), (3,)),
        (SE3(), (4,)),
        (Hyperbolic(2), ()),
        (Hyperbolic(5), (2, 3)),
        (SPD(2), (3,)),
        (SPD(3), ()),
        (Product(h=Hyperbolic(3), c=SPD(2), r=Euclidean(1)), (4,)),
        (Simplex(2), ()),
        (Simplex(3), (4,)),
        (Simplex(20), (2, 3)),
        (Box((-1.0, 0.0, 2.0), (1.0, 5.0, 2.5)), (4,)),
        (Ball(1), ()),
        (Ball(3, 2.0), (2,)),
        (FlatSimplex(2), ()),
        (FlatSimplex(20), (2, 3)),
        (Product(p=Simplex(4), b=Box((0.0, 0.0), (1.0, 1.0)), o=Ball(2), f=FlatSimplex(3), s=Sphere(2)), (2,)),
        (ICOSPHERE, ()),
        (Product(m=ICOSPHERE, s=Sphere(2)), (3,)),
        (Product(x=Euclidean(3, centered=True), q=SO3(), s=Sphere(2), chi=FlatTorus(4)), (5,)),
    ],
    ids=str,
)
def test_manifold_laws(manifold, event_shape, dtype):
    assert_manifold_laws(manifold, event_shape, dtype)
