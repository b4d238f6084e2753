"""A geodesic in one closed form is the same as logarithm, exponential and transport one after the other."""

import pytest
import torch

from sciflow.manifolds import SO3, Manifold, Product, Sphere, leaves, tree_map
from sciflow.rng import step_generator

F64 = torch.float64
MANIFOLDS = [Sphere(1), Sphere(2), Sphere(5), SO3(), Product(s=Sphere(2), q=SO3())]


def endpoints(manifold, gap):
    """32 pairs, ``gap`` apart in each of three places; beyond the injectivity radius on the cut locus."""
    generator = step_generator(0)
    x0 = manifold.random(32, 3, generator=generator, dtype=F64)
    u = manifold.randn_tangent(x0, generator)
    u = tree_map(lambda w: w * (gap / w.norm(dim=-1, keepdim=True)), u)
    return x0, manifold.expmap(x0, u), torch.rand(32, generator=generator, dtype=F64)


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-5, 1.0, 3.0, torch.pi])
@pytest.mark.parametrize("manifold", MANIFOLDS, ids=str)
def test_points_velocities_and_gradients(manifold, gap):
    x0, x1, t = endpoints(manifold, gap)
    ends = [leaf.requires_grad_() for leaf in (*leaves(x0), *leaves(x1))]

    def outcome(geodesic):
        x_t, u_t = geodesic(x0, x1, t)
        numbers = torch.cat([leaf.flatten() for leaf in (*leaves(x_t), *leaves(u_t))])
        slopes = torch.autograd.grad((numbers * torch.linspace(-1, 1, len(numbers), dtype=F64)).sum(), ends)
        radial = [(slope * end).sum(-1, keepdim=True) * end for slope, end in zip(slopes, ends, strict=True)]
        return numbers.detach(), [slope - r for slope, r in zip(slopes, radial, strict=True)]

    closed, generic = outcome(manifold.geodesic), outcome(lambda *pair: Manifold.geodesic(manifold, *pair))
    torch.testing.assert_close(closed[0], generic[0], rtol=0, atol=1e-14)
    if gap < 3.1:  # at the cut locus gradients are of the size of 1/rounding
        torch.testing.assert_close(closed[1], generic[1], rtol=0, atol=1e-12)


def test_relative_precision_of_close_points():
    """The velocity between points 10⁻⁶ apart keeps its digits in single precision."""
    for manifold in (Sphere(2), SO3()):
        x0, x1, t = endpoints(manifold, 1e-6)
        x0, x1 = x0.float(), x1.float()
        exact = manifold.logmap(x0.double(), x1.double()).norm(dim=-1)
        u_t = manifold.geodesic(x0, x1, t.float())[1]
        torch.testing.assert_close(u_t.norm(dim=-1).double(), exact, rtol=1e-5, atol=0)
