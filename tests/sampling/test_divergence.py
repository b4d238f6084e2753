"""The divergence is the rate of change of volume, and its estimate is unbiased."""

import math

import pytest
import torch

from sciflow.manifolds import SO3, SPD, Euclidean, FlatTorus, Hyperbolic, Product, Simplex, Sphere
from sciflow.nets import MLPField
from sciflow.sampling import divergence
from sciflow.sampling.divergence import rademacher

F64 = torch.float64

MANIFOLDS = {
    "euclidean": (Euclidean(2), (3,)),
    "centered": (Euclidean(2, centered=True), (4,)),
    "sphere": (Sphere(2), (2,)),
    "so3": (SO3(), (2,)),
    "simplex": (Simplex(3), (2,)),
    "product": (Product(r=Euclidean(3), q=SO3(), s=Sphere(1), a=FlatTorus(2)), (2,)),
}


@pytest.fixture(params=MANIFOLDS)
def random_flow(request):
    manifold, event = MANIFOLDS[request.param]
    torch.manual_seed(1)
    field = MLPField(manifold, event, width=16, depth=1).double()
    return field, manifold.random(4, *event, generator=torch.Generator().manual_seed(2), dtype=F64)


def test_divergence_is_the_rate_of_change_of_volume(random_flow):
    """Trace over an orthonormal frame, by central differences of the field along geodesics."""
    field, x = random_flow
    m, t, eps = field.manifold, torch.full((4,), 0.3, dtype=F64), 1e-5
    leaves = x if isinstance(x, dict) else {"": x}
    parts = m.factors if isinstance(m, Product) else {"": m}

    def velocity(name, y):
        v = field.velocity({**x, name: y} if isinstance(x, dict) else y, t)
        return v[name] if isinstance(v, dict) else v

    total = torch.zeros(4, dtype=F64)
    for name, part in parts.items():
        shape = velocity(name, leaves[name]).shape
        for i in range(math.prod(shape[1:])):
            e = torch.zeros(shape[0], math.prod(shape[1:]), dtype=F64)
            e[:, i] = 1
            e = part.proju(leaves[name], e.reshape(shape))
            ahead, behind = (velocity(name, part.expmap(leaves[name], sign * eps * e)) for sign in (1, -1))
            total += (e * (ahead - behind)).flatten(1).sum(1) / (2 * eps)
    exact = divergence(field.velocity, m, x, t)
    torch.testing.assert_close(exact.detach(), total.detach(), rtol=0, atol=1e-8)  # eps² + rounding/eps
    for chunk in (1, 3, 1000):
        torch.testing.assert_close(divergence(field.velocity, m, x, t, chunk=chunk), exact, rtol=0, atol=1e-12)


def test_hutchinson_is_unbiased(random_flow):
    field, x = random_flow
    n = 4000
    one = {name: part[:1] for name, part in x.items()} if isinstance(x, dict) else x[:1]
    many = (
        {name: p.expand(n, *p.shape[1:]) for name, p in one.items()}
        if isinstance(one, dict)
        else one.expand(n, *one.shape[1:])
    )
    t = torch.full((n,), 0.3, dtype=F64)
    probe = rademacher(field.manifold, many, torch.Generator().manual_seed(0))
    estimates = divergence(field.velocity, field.manifold, many, t, probe)
    exact = divergence(field.velocity, field.manifold, one, t[:1])
    assert abs(float(estimates.mean() - exact)) < 4 * float(estimates.std()) / math.sqrt(n)


def test_a_detached_velocity_does_not_pass_for_divergence_free():
    x, t = torch.zeros(2, 3, dtype=F64), torch.zeros(2, dtype=F64)
    with pytest.raises(ValueError, match="no gradient"):
        divergence(lambda x, t: 2 * x.detach(), Euclidean(3), x, t)
    assert (divergence(lambda x, t: 1 + 0 * x, Euclidean(3), x, t) == 0).all()


def test_factors_may_come_in_any_order():
    """A field may build its dictionary as it likes, and so may the one who holds the state or the probe."""
    m = Product(r=Euclidean(2), a=FlatTorus(2))
    x = m.random(3, generator=torch.Generator().manual_seed(0), dtype=F64)
    t = torch.zeros(3, dtype=F64)
    swap = lambda x: {"a": x["a"], "r": x["r"]}  # noqa: E731

    def velocity(x, t):  # divergence x₀ − sin a₁
        r, a = x["r"], x["a"]
        return {"r": torch.stack([r[:, 0] ** 2 / 2, a[:, 0]], -1), "a": torch.stack([r[:, 1], a[:, 1].cos()], -1)}

    exact = x["r"][:, 0] - x["a"][:, 1].sin()
    for v, y in ((velocity, x), (velocity, swap(x)), (lambda x, t: swap(velocity(x, t)), x)):
        torch.testing.assert_close(divergence(v, m, y, t), exact, rtol=0, atol=1e-14)
    probe = rademacher(m, x, torch.Generator().manual_seed(1))
    torch.testing.assert_close(divergence(velocity, m, x, t, swap(probe)), divergence(velocity, m, x, t, probe))


@pytest.mark.parametrize("d", [2, 3, 5])
def test_radial_field_on_hyperbolic_space(d):
    """∇·(f(r) ∂r) = f' + (d−1) f coth r, here of f = r² at any place of an event."""
    m = Hyperbolic(d)
    origin = m.origin()

    def velocity(x, t):  # −log_x(o) has length r
        return -m.dist(x, origin)[..., None] * m.logmap(x, origin)

    x = m.random(6, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    r = m.dist(x, origin)
    exact = (2 * r + (d - 1) * r**2 / r.tanh()).sum(1)
    torch.testing.assert_close(divergence(velocity, m, x, torch.zeros(6, dtype=F64)), exact, rtol=1e-11, atol=0)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_linear_fields_on_spd_matrices(n):
    """v = AX + XAᵀ generates congruences, which are isometries; v = log(det X) X stretches the line of multiples."""
    m = SPD(n)
    a = torch.randn(n, n, generator=torch.Generator().manual_seed(1), dtype=F64)
    x = m.random(6, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    t = torch.zeros(6, dtype=F64)
    killing = divergence(lambda x, t: a @ x + x @ a.T, m, x, t)
    torch.testing.assert_close(killing, torch.zeros_like(t), rtol=0, atol=1e-12)
    # log det X = s√n of the unit line s ↦ e^{s/√n} X₀, along which v = sn: its derivative is n
    scaling = divergence(lambda x, t: x.logdet()[..., None, None] * x, m, x, t)
    torch.testing.assert_close(scaling, torch.full_like(t, 2.0 * n), rtol=0, atol=1e-11)


def test_field_towards_the_identity_of_spd_matrices():
    """∇·∇(½ dist²) = tr of the Hessian: Σ over i ≤ j of (λi−λj)/2 · coth((λi−λj)/2), which is one for i = j."""
    m, n = SPD(3), 3
    x = m.random(6, generator=torch.Generator().manual_seed(0), dtype=F64)
    v = lambda x, t: -m.logmap(x, m.origin())  # noqa: E731
    logs = torch.linalg.eigvalsh(x).log()
    i, j = torch.triu_indices(n, n, 1)
    half = (logs[:, i] - logs[:, j]) / 2
    exact = n + (half / half.tanh()).sum(1)
    torch.testing.assert_close(divergence(v, m, x, torch.zeros(6, dtype=F64)), exact, rtol=0, atol=1e-10)
