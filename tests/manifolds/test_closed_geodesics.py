"""A geodesic in one closed form is the same as logarithm, exponential and transport one after the other."""

import pytest
import torch

from sciflow.manifolds import SO3, SPD, Hyperbolic, Manifold, Product, Sphere, leaves, scale
from sciflow.rng import step_generator

F64 = torch.float64
MANIFOLDS = [Sphere(1), Sphere(2), Sphere(5), SO3(), Hyperbolic(2), SPD(3), Product(s=Sphere(2), q=SO3())]


def endpoints(manifold, gap):
    """32 pairs, ``gap`` apart in each of three places; beyond the injectivity radius on the cut locus."""
    generator = step_generator(0)
    x0 = manifold.random(32, 3, generator=generator, dtype=F64)
    u = manifold.randn_tangent(x0, generator)
    if isinstance(manifold, Product):  # every factor that far
        u = {
            name: scale(gap / factor.inner(x0[name], u[name], u[name]).sqrt(), u[name])
            for name, factor in manifold.factors.items()
        }
    else:
        u = scale(gap / manifold.inner(x0, u, u).sqrt(), u)
    return x0, manifold.expmap(x0, u), torch.rand(32, generator=generator, dtype=F64)


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-5, 1.0, 3.0, torch.pi])
@pytest.mark.parametrize("manifold", MANIFOLDS, ids=str)
def test_points_velocities_and_gradients(manifold, gap):
    x0, x1, t = endpoints(manifold, gap)
    ends = [leaf.requires_grad_() for leaf in (*leaves(x0), *leaves(x1), t)]

    def outcome(geodesic):
        x_t, u_t = geodesic(manifold.projx(x0), manifold.projx(x1), t)  # gradients off the manifold are nobody's
        numbers = torch.cat([leaf.flatten() for leaf in (*leaves(x_t), *leaves(u_t))])
        slopes = torch.autograd.grad((numbers * torch.linspace(-1, 1, len(numbers), dtype=F64)).sum(), ends)
        return numbers.detach(), slopes

    closed, generic = outcome(manifold.geodesic), outcome(lambda *pair: Manifold.geodesic(manifold, *pair))
    size = float(generic[0].abs().max())  # curved the other way, coordinates grow as exp(distance), roundings with them
    torch.testing.assert_close(closed[0], generic[0], rtol=0, atol=1e-14 * max(1.0, size**2))
    if gap < 3.1 or manifold.injectivity_radius > gap:  # at the cut locus gradients are of the size of 1/rounding
        for a, b in zip(closed[1], generic[1], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12 * max(1.0, size**2))


def test_relative_precision_of_close_points():
    """The velocity between points 10⁻⁶ apart keeps its digits in single precision."""
    for manifold in (Sphere(2), SO3()):
        x0, x1, t = endpoints(manifold, 1e-6)
        x0, x1 = x0.float(), x1.float()
        exact = manifold.logmap(x0.double(), x1.double()).norm(dim=-1)
        u_t = manifold.geodesic(x0, x1, t.float())[1]
        torch.testing.assert_close(u_t.norm(dim=-1).double(), exact, rtol=1e-5, atol=0)
