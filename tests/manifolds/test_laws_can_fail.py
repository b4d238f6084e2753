"""The public law test is only worth something if it finds faults: the classical ones, one manifold each."""

from typing import Any

import pytest
import torch

from sciflow.manifolds import SO3, Euclidean, FlatTorus, Manifold, Sphere
from sciflow.testing import assert_manifold_laws


class Faulty:
    """A manifold with one operation replaced; the base class's own operations call the replacement."""

    def __init__(self, manifold: Manifold[Any], **faults: Any) -> None:
        self.manifold, self.faults = manifold, faults

    def __getattr__(self, name: str) -> Any:
        if name in self.faults:
            return self.faults[name]
        if name in ("dist", "transp", "geodesic"):
            return vars(Manifold)[name].__get__(self)
        return getattr(self.manifold, name)


SPHERE, ROTATIONS = Sphere(2), SO3()


def arccos_dist(x, y):
    return torch.arccos((x * y).sum(-1))


@pytest.mark.parametrize(
    ("faulty", "law"),
    [
        (Faulty(SPHERE, dist=arccos_dist), r"nan"),
        (Faulty(SPHERE, expmap=lambda x, u: SPHERE.projx(x + u)), r"exp\(log y\) = y"),
        (Faulty(SPHERE, transp_along=lambda x, w, u: u), r"tangent"),
        (Faulty(SPHERE, proju=lambda x, u: u), r"on the manifold"),
        (Faulty(ROTATIONS, transp_along=lambda x, w, u: 2 * u), r"constant speed"),
        (Faulty(ROTATIONS, embed=lambda x, u: 2 * ROTATIONS.embed(x, u)), r"d/dt"),
        (Faulty(FlatTorus(2), logmap=lambda x, y: y - x), r"log|symmetric|triangle"),
        (Faulty(Euclidean(2), logmap=lambda x, y: y - x.mean(0)), r"exp\(log y\) = y"),
        (Faulty(Euclidean(2), dist=lambda x, y: (x - y).square().sum(-1).sqrt()), r"finite"),
    ],
)
def test_a_fault_is_found_and_named(faulty, law):
    with pytest.raises(AssertionError, match=law):
        assert_manifold_laws(faulty)


def test_the_bare_wrapper_obeys_the_laws():
    for manifold in (SPHERE, ROTATIONS, FlatTorus(2), Euclidean(2)):
        assert_manifold_laws(Faulty(manifold))
