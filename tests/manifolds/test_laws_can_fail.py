"""The public law test is only worth something if it finds faults: the classical ones, one manifold each."""

from typing import Any

import pytest
import torch

from sciflow.manifolds import SO3, SPD, Euclidean, FlatTorus, Hyperbolic, Manifold, Sphere, Uniform
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


SPHERE, ROTATIONS, HYPERBOLIC, MATRICES = Sphere(2), SO3(), Hyperbolic(3), SPD(2)


def never(x, y):
    return torch.zeros_like(x[..., 0], dtype=torch.bool)


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
        (Faulty(SPHERE, logmap=lambda x, y: -SPHERE.logmap(x, y)), r"exp\(log y\) = y: off by 3"),
        (Faulty(SPHERE, geodesic=lambda x, y, t: (SPHERE.geodesic(x, y, t)[0], x)), r"u_t is tangent"),
        (Faulty(SPHERE, tangent=lambda x, w: w), r"tangent is tangent"),
        (Faulty(SPHERE, cut_locus=never), r"misses 32 of 32"),
        (Faulty(SPHERE, cut_locus=lambda x, y: ~never(x, y)), r"cut_locus calls x"),
        (Faulty(SPHERE, dim=3), r"dim is the trace of proju: off by 1"),
        (Faulty(SPHERE, log_det_exp=lambda x, u: -SPHERE.log_det_exp(x, u)), r"log_det_exp"),
        (Faulty(SPHERE, prior=lambda: Uniform(SPHERE, 1.0)), r"prior integrates to one"),
        (Faulty(SPHERE, randn_tangent=lambda x, g: 2 * SPHERE.randn_tangent(x, g)), r"E\|v\|² = dim"),
        (Faulty(SPHERE, expmap=lambda x, u: SPHERE.expmap(x, u).float()), r"expmap of torch.float64 is torch.float32"),
        (Faulty(SPHERE, dist=lambda x, y: SPHERE.dist(x, y)[..., None]), r"dist has shape \(32, 1\), not \(B, \*E\)"),
        (Faulty(ROTATIONS, coordinates=lambda q: q), r"single-valued"),
        (Faulty(HYPERBOLIC, log_volume_rate=lambda x, u: 0.0), r"log_volume_rate"),
        (Faulty(MATRICES, log_volume_rate=lambda x, u: -MATRICES.log_volume_rate(x, u)), r"log_volume_rate"),
        (Faulty(FlatTorus(2), squared_distances=lambda x, y: torch.cdist(x, y) ** 2), r"squared_distances"),
    ],
)
def test_a_fault_is_found_and_named(faulty, law):
    with pytest.raises(AssertionError, match=law):
        assert_manifold_laws(faulty)


def test_the_bare_wrapper_obeys_the_laws():
    for manifold in (SPHERE, ROTATIONS, HYPERBOLIC, MATRICES, FlatTorus(2), Euclidean(2)):
        assert_manifold_laws(Faulty(manifold))
