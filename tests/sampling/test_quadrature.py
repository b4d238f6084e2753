"""The density of a flow integrates to one, by quadrature over whole manifolds."""

import math

import numpy as np
import pytest
import torch

from sciflow.manifolds import SO3, SPD, FlatTorus, Hyperbolic, Sphere
from sciflow.nets import MLPField
from sciflow.sampling import RK4, log_prob

F64 = torch.float64


def legendre(n, low, high):
    nodes, weights = np.polynomial.legendre.leggauss(n)
    half = (high - low) / 2
    return low + half + half * torch.from_numpy(nodes), half * torch.from_numpy(weights)


def turn(n):
    """Evenly spaced angles: the trapezoid rule, which converges exponentially on smooth periodic functions."""
    return 2 * math.pi * torch.arange(n, dtype=F64) / n, torch.full((n,), 2 * math.pi / n, dtype=F64)


def product_rule(*rules):
    """Nodes ``(N, len(rules))`` and weights ``(N,)`` of a product of rules."""
    nodes = torch.cartesian_prod(*(x for x, _ in rules))
    weights = torch.cartesian_prod(*(w for _, w in rules)).prod(-1)
    return nodes, weights


def sphere():
    nodes, weights = product_rule(legendre(32, -1.0, 1.0), turn(64))
    z, phi = nodes.unbind(-1)
    rho = (1 - z**2).sqrt()
    return torch.stack([rho * phi.cos(), rho * phi.sin(), z], -1), weights


def torus():
    return product_rule(turn(48), turn(48))


def hyperbolic():
    """Polar coordinates, of area sinh r, up to the radius where the density of every flow below has died out."""
    nodes, weights = product_rule(legendre(48, 0.0, 9.0), turn(48))
    r, phi = nodes.unbind(-1)
    return torch.stack([r.cosh(), r.sinh() * phi.cos(), r.sinh() * phi.sin()], -1), weights * r.sinh()


def rotations():
    """Haar measure in Euler angles, q = e^{αk/2} e^{βj/2} e^{γk/2}: the volume 8π² of dα sin β dβ dγ."""
    nodes, weights = product_rule(turn(20), legendre(12, -1.0, 1.0), turn(20))
    alpha, cosine, gamma = nodes.unbind(-1)
    c, s = ((1 + cosine) / 2).sqrt(), ((1 - cosine) / 2).sqrt()
    plus, minus = (alpha + gamma) / 2, (alpha - gamma) / 2
    return torch.stack([c * plus.cos(), -s * minus.sin(), s * minus.cos(), c * plus.sin()], -1), weights


def matrices():
    """Trapezoid rule in the normal coordinates (u, p, q) at the identity, in the ball that holds the mass.

    log X = (u + p σ_z + q σ_x)/√2, and exp stretches volume by sinh ρ / ρ, 2ρ the gap of its eigenvalues.
    """
    spacing, radius = 0.6, 6.6
    line = spacing * torch.arange(-11, 12, dtype=F64)
    nodes = torch.cartesian_prod(line, line, line)
    nodes = nodes[nodes.norm(dim=-1) < radius]
    u, p, q = (nodes / math.sqrt(2)).unbind(-1)
    rho = (p**2 + q**2).sqrt()
    stretch = torch.where(rho > 0, rho.sinh() / torch.where(rho > 0, rho, 1.0), 1.0)
    rows = [rho.cosh() + stretch * p, stretch * q, stretch * q, rho.cosh() - stretch * p]
    return u.exp()[:, None, None] * torch.stack(rows, -1).reshape(-1, 2, 2), spacing**3 * stretch


MANIFOLDS = {
    "sphere": (Sphere(2), sphere),
    "torus": (FlatTorus(2), torus),
    "hyperbolic": (Hyperbolic(2), hyperbolic),
    "so3": (SO3(), rotations),
    "spd": (SPD(2), matrices),
}


@pytest.mark.parametrize("name", MANIFOLDS)
def test_flows_of_networks_integrate_to_one(name):
    manifold, rule = MANIFOLDS[name]
    x, weights = rule()
    torch.manual_seed(1)
    field = MLPField(manifold, width=16, depth=1).double()
    with torch.no_grad():
        field.outward.weight *= 0.5  # gentle, or mass leaves the domains of the unbounded rules
    prior = manifold.prior()
    logp = log_prob(field, x, prior, step=RK4(), grid=torch.linspace(1, 0, 9, dtype=F64))
    likely = prior.log_prob(x) > -6
    assert (logp - prior.log_prob(x))[likely].abs().max() > 0.1  # a flow that does something
    total = (weights * logp.exp()).sum()
    assert abs(total - 1) < 1e-6  # the fourth-order error of eight steps; the rules are finer
