"""Densities against closed forms, and the laws of the divergence."""

import math

import pytest
import torch

from sciflow.manifolds import SO3, Euclidean, FlatTorus, Normal, Product, Sphere
from sciflow.manifolds.quaternion import conjugate, multiply, rotate
from sciflow.nets import EGNNField, FunctionField, MLPField
from sciflow.rng import sample_generators
from sciflow.sampling import RK4, Dopri5, divergence, log_prob, sample
from sciflow.sampling.divergence import rademacher

F64 = torch.float64


def grid(n, start=0.0, end=1.0):
    return torch.linspace(start, end, n + 1, dtype=F64)


def gaussian():
    """N(0, I) to N(m, S) along straight independent pairs: velocity, flow map from 0, covariance at time t."""
    m = torch.tensor([0.7, -1.2, 0.3], dtype=F64)
    a = torch.tensor([[1.1, 0.3, 0.0], [0.0, 0.7, -0.4], [0.2, 0.0, 0.9]], dtype=F64)
    s, eye = a @ a.T, torch.eye(3, dtype=F64)

    def covariance(t):
        return (1 - t) ** 2 * eye + t**2 * s

    def velocity(x, t):
        t = float(t[0])
        gain = (t * s - (1 - t) * eye) @ torch.linalg.inv(covariance(t))
        return m + (x - t * m) @ gain.T

    def flow_map(x0, t):
        values, vectors = torch.linalg.eigh(covariance(t))
        return t * m + x0 @ (vectors * values.sqrt()) @ vectors.T

    return m, s, FunctionField(Euclidean(3), velocity), flow_map


def test_gaussian_to_gaussian():
    """Flow map C_t^½ x and density N(m, S), to 1e-10; the score never enters."""
    m, s, field, flow_map = gaussian()
    x0 = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    prior, target = Normal(3), torch.distributions.MultivariateNormal(m, s)
    for step, times in ((RK4(), grid(400)), (Dopri5(1e-12, 1e-12), grid(1))):
        run = sample(field, x0, times, step, track_logq=True, logq0=prior.log_prob(x0))
        torch.testing.assert_close(run.x, flow_map(x0, 1.0), rtol=0, atol=1e-10)
        torch.testing.assert_close(run.logq, target.log_prob(run.x), rtol=0, atol=1e-10)
        torch.testing.assert_close(
            log_prob(field, run.x, prior, step=step, grid=times.flip(0)), run.logq, rtol=0, atol=1e-10
        )
    run = sample(field, x0, grid(3, 0.0, 0.6), Dopri5(1e-12, 1e-12))
    torch.testing.assert_close(run.x, flow_map(x0, 0.6), rtol=0, atol=1e-10)


def test_default_likelihood_meets_its_tolerance():
    m, s, field, _ = gaussian()
    x1 = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=F64)
    exact = torch.distributions.MultivariateNormal(m, s).log_prob(x1)
    torch.testing.assert_close(log_prob(field, x1, Normal(3)), exact, rtol=0, atol=1e-4)  # default rtol, atol: 1e-5


def test_gradient_flow_on_the_sphere():
    """v = κ(μ − ⟨μ,x⟩x) carries the uniform density to (cosh κt − sinh κt cos θ)^−2 / 4π."""
    kappa, mu = 1.3, torch.tensor([0.0, 0.6, 0.8], dtype=F64)
    field = FunctionField(Sphere(2), lambda x, t: kappa * (mu - (x @ mu)[..., None] * x))
    prior = Sphere(2).prior()
    x = Sphere(2).random(6, generator=torch.Generator().manual_seed(0), dtype=F64)
    for t in (1.0, 0.4):
        exact = -2 * (math.cosh(kappa * t) - math.sinh(kappa * t) * (x @ mu)).log() - math.log(4 * math.pi)
        for step, times in ((RK4(), grid(400, t, 0.0)), (Dopri5(1e-12, 1e-12), grid(1, t, 0.0))):
            torch.testing.assert_close(log_prob(field, x, prior, step=step, grid=times), exact, rtol=0, atol=1e-10)


def test_two_sided_rotation_on_so3():
    """Body velocity a + Rᵀb: the flow is e^{tb} R e^{ta}, which keeps volume."""
    a, b = torch.tensor([0.4, -0.9, 0.2], dtype=F64), torch.tensor([1.1, 0.3, -0.5], dtype=F64)
    field = FunctionField(SO3(), lambda q, t: a + rotate(conjugate(q), b))
    q0 = SO3().random(5, generator=torch.Generator().manual_seed(0), dtype=F64)
    one = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=F64)
    exact = multiply(multiply(SO3().expmap(one, b), q0), SO3().expmap(one, a))
    for step, times in ((RK4(), grid(400)), (Dopri5(1e-12, 1e-12), grid(1))):
        run = sample(field, q0, times, step, track_logq=True)
        assert SO3().dist(run.x, exact).max() < 1e-10
        assert run.logq.abs().max() < 1e-13


MANIFOLDS = {
    "euclidean": (Euclidean(2), (3,)),
    "centered": (Euclidean(2, centered=True), (4,)),
    "sphere": (Sphere(2), (2,)),
    "so3": (SO3(), (2,)),
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


def test_hutchinson_is_exact_for_diagonal_fields():
    """Signs square to one, so only off-diagonal terms of the Jacobian make noise."""
    rates = torch.tensor([0.5, -2.0, 1.0], dtype=F64)
    field = FunctionField(Euclidean(3), lambda x, t: rates * x)
    x1 = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    exact = log_prob(field, x1, Normal(3))
    estimate = log_prob(field, x1, Normal(3), divergence="hutchinson", generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(estimate, exact, rtol=0, atol=1e-12)


def test_a_detached_velocity_does_not_pass_for_divergence_free():
    x, t = torch.zeros(2, 3, dtype=F64), torch.zeros(2, dtype=F64)
    with pytest.raises(ValueError, match="no gradient"):
        divergence(lambda x, t: 2 * x.detach(), Euclidean(3), x, t)
    assert (divergence(lambda x, t: 1 + 0 * x, Euclidean(3), x, t) == 0).all()


def test_sample_does_not_depend_on_its_batch():
    """One generator a sample: sample i is the same alone and among others, source, probe and log q."""
    torch.manual_seed(0)
    manifold = Product(r=Euclidean(3), q=SO3())
    field = MLPField(manifold, (2,), width=16, depth=1).double()

    def run(start, n):
        generators = sample_generators(7, start, n)
        x0 = manifold.random(n, 2, generator=generators, dtype=F64)
        return sample(field, x0, grid(4), RK4(), track_logq=True, generator=generators, divergence="hutchinson")

    among, alone = run(0, 5), run(3, 1)
    for name in among.x:
        torch.testing.assert_close(among.x[name][3:4], alone.x[name], rtol=0, atol=1e-13)
    torch.testing.assert_close(among.logq[3:4], alone.logq, rtol=0, atol=1e-13)


def test_hooks_compose_left_to_right_and_their_divergence_is_tracked():
    """Doubling then damping x ↦ x gives rate 2 − 1; log q falls by d times that, whatever the field alone would do."""
    field = FunctionField(Euclidean(2), lambda x, t, gain: gain[:, None] * x)
    seen = []

    def double(velocity):
        seen.append("double")
        return lambda x, t, **cond: 2 * velocity(x, t, **cond)

    def damp(velocity):
        seen.append("damp")
        return lambda x, t, **cond: velocity(x, t, **cond) - x

    x0 = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    cond = {"gain": torch.tensor([1.0, 1.0, 0.5], dtype=F64)}
    run = sample(field, x0, grid(40), RK4(), hooks=(double, damp), track_logq=True, cond=cond)
    rate = 2 * cond["gain"] - 1
    torch.testing.assert_close(run.x, rate.exp()[:, None] * x0, rtol=1e-7, atol=0)
    torch.testing.assert_close(run.logq, -2 * rate, rtol=1e-7, atol=0)
    assert seen == ["double", "damp"]
    assert run.logw is None
    assert run.nfe == 160


def test_molecule_density_is_on_the_centred_subspace_and_invariant():
    """A turned molecule is as likely; padding changes nothing."""
    torch.manual_seed(0)
    field = EGNNField([0, 0, 1, 2], width=8, depth=2).double()
    prior = field.manifold.prior()
    x = field.manifold.random(3, 4, generator=torch.Generator().manual_seed(1), dtype=F64)
    q = SO3().random(generator=torch.Generator().manual_seed(2), dtype=F64)
    turned, plain = (log_prob(field, y, prior, step=RK4(), grid=grid(4, 1.0, 0.0)) for y in (rotate(q, x), x))
    torch.testing.assert_close(turned, plain, rtol=0, atol=1e-12)

    padded = torch.cat([x, torch.zeros(3, 2, 3, dtype=F64)], 1)
    cond = {
        "mask": torch.tensor([[1, 1, 1, 1, 0, 0]]).bool().expand(3, -1),
        "atom_types": torch.tensor([[0, 0, 1, 2, 0, 0]]).expand(3, -1),
    }
    ragged = sample(field, padded, grid(4), RK4(), track_logq=True, cond=cond)
    dense = sample(field, x, grid(4), RK4(), track_logq=True)
    torch.testing.assert_close(ragged.x[:, :4], dense.x, rtol=0, atol=1e-12)
    torch.testing.assert_close(ragged.logq, dense.logq, rtol=0, atol=1e-12)


def test_likelihood_trains_parameters():
    """d/dθ of mean log p at the maximum of the likelihood vanishes; away from it, it points there."""
    x1 = 2 * torch.randn(2000, 1, generator=torch.Generator().manual_seed(0), dtype=F64)
    best = float(x1.square().mean().sqrt().log())  # flow of v = θx is e^θ x0
    for theta, sign in ((best, 0), (best - 0.2, 1), (best + 0.2, -1)):
        rate = torch.tensor(theta, dtype=F64, requires_grad=True)
        field = FunctionField(Euclidean(1), lambda x, t, rate=rate: rate * x)
        log_prob(field, x1.clone().requires_grad_(), Normal(1), step=RK4(), grid=grid(16, 1.0, 0.0)).mean().backward()
        assert float(rate.grad.sign()) == sign if sign else abs(float(rate.grad)) < 1e-5
