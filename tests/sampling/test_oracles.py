"""Flows with closed forms, met to 1e-10: velocity, map and density, forwards and backwards."""

import math

import pytest
import torch

from sciflow.manifolds import SO3, Euclidean, Normal, Sphere
from sciflow.manifolds.quaternion import conjugate, from_matrix, multiply, rotate, to_matrix
from sciflow.nets import FunctionField
from sciflow.paths import GeodesicPath
from sciflow.sampling import RK4, Dopri5, log_prob, sample

F64 = torch.float64
M = torch.tensor([0.7, -1.2, 0.3], dtype=F64)
A = torch.tensor([[1.1, 0.3, 0.0], [0.0, 0.7, -0.4], [0.2, 0.0, 0.9]], dtype=F64)
S, EYE = A @ A.T, torch.eye(3, dtype=F64)


def grid(n, start=0.0, end=1.0):
    return torch.linspace(start, end, n + 1, dtype=F64)


def solvers(start=0.0, end=1.0):
    return (RK4(), grid(400, start, end)), (Dopri5(1e-12, 1e-12), grid(1, start, end))


def normal(n=5, seed=0):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=F64)


def close(x, y):
    torch.testing.assert_close(x, y, rtol=0, atol=1e-10)


def covariance(t):
    """Of the marginal at time t between N(0, I) and N(m, S), straight and independent pairs."""
    return (1 - t) ** 2 * EYE + t**2 * S


def gaussian_velocity(x, t):
    t = float(t[0])
    gain = (t * S - (1 - t) * EYE) @ torch.linalg.inv(covariance(t))
    return M + (x - t * M) @ gain.T


def gaussian_map(x, s, t):
    """t m + C_t^½ C_s^−½ (x − s m)"""

    def root(time, power):
        values, vectors = torch.linalg.eigh(covariance(time))
        return (vectors * values**power) @ vectors.T

    return t * M + (x - s * M) @ root(s, -0.5) @ root(t, 0.5)


GAUSSIAN = FunctionField(Euclidean(3), gaussian_velocity)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.9])
def test_gaussian_velocity(t):
    """The path's velocity towards the posterior mean E[x₁|x_t] is the marginal velocity, and that of the flow map."""
    x, time = normal(), torch.full((5,), t, dtype=F64)
    posterior_mean = M + (x - t * M) @ torch.linalg.inv(covariance(t)) @ (t * S)
    close(GeodesicPath(Euclidean(3)).velocity(posterior_mean, x, time), gaussian_velocity(x, time))
    h = 1e-5
    difference = (gaussian_map(x, t, t + h) - gaussian_map(x, t, t - h)) / (2 * h)
    torch.testing.assert_close(difference, gaussian_velocity(x, time), rtol=0, atol=1e-8)  # h² + rounding/h


@pytest.mark.parametrize(("s", "t"), [(0.0, 1.0), (0.3, 0.8), (0.7, 0.2)])
def test_gaussian_map_and_density(s, t):
    x = s * M + normal() @ torch.linalg.cholesky(covariance(s)).T
    start, end = (torch.distributions.MultivariateNormal(time * M, covariance(time)) for time in (s, t))
    for step, times in solvers(s, t):
        run = sample(GAUSSIAN, x, times, step, track_logq=True, logq0=start.log_prob(x))
        close(run.x, gaussian_map(x, s, t))
        close(run.logq, end.log_prob(run.x))


def test_gaussian_likelihood():
    x1 = normal(seed=1)
    exact = torch.distributions.MultivariateNormal(M, S).log_prob(x1)
    for step, times in solvers(1.0, 0.0):
        close(log_prob(GAUSSIAN, x1, Normal(3), step=step, grid=times), exact)
    torch.testing.assert_close(log_prob(GAUSSIAN, x1, Normal(3)), exact, rtol=0, atol=1e-4)  # default rtol, atol: 1e-5


@pytest.mark.parametrize("t", [0.4, 1.0])
def test_gradient_flow_on_the_sphere(t):
    """v = κ(μ − ⟨μ,x⟩x) takes tan θ/2 to e^{−κt} tan θ/2, and 1/4π to (cosh κt − sinh κt cos θ)^−2 / 4π."""
    kappa, mu = 1.3, torch.tensor([0.0, 0.6, 0.8], dtype=F64)
    sphere = Sphere(2)
    field = FunctionField(sphere, lambda x, t: kappa * (mu - (x @ mu)[..., None] * x))
    x0 = sphere.random(6, generator=torch.Generator().manual_seed(0), dtype=F64)
    theta = torch.acos(x0 @ mu)
    turned = 2 * torch.atan(math.exp(-kappa * t) * (theta / 2).tan())
    across = torch.nn.functional.normalize(x0 - (x0 @ mu)[:, None] * mu, dim=-1)
    x_t = turned.cos()[:, None] * mu + turned.sin()[:, None] * across
    exact = -2 * (math.cosh(kappa * t) - math.sinh(kappa * t) * turned.cos()).log() - math.log(4 * math.pi)
    for step, times in solvers(0.0, t):
        run = sample(field, x0, times, step, track_logq=True, logq0=sphere.prior().log_prob(x0))
        close(run.x, x_t)
        close(run.logq, exact)
        close(log_prob(field, x_t, sphere.prior(), step=step, grid=times.flip(0)), exact)


class MatrixFisher:
    """Density ∝ exp tr(FᵀR) on rotations."""

    def __init__(self, f):
        self.f = f

    def log_prob(self, q):
        return (self.f * to_matrix(q)).sum((-2, -1))


def test_two_sided_rotation_on_so3():
    """Body velocity a + Rᵀb: the flow e^{b} R e^{a} keeps volume, and takes matrix Fisher F to e^{b} F e^{a}."""
    a, b = torch.tensor([0.4, -0.9, 0.2], dtype=F64), torch.tensor([1.1, 0.3, -0.5], dtype=F64)
    field = FunctionField(SO3(), lambda q, t: a + rotate(conjugate(q), b))
    q0 = SO3().random(5, generator=torch.Generator().manual_seed(0), dtype=F64)
    left, right = (SO3().expmap(from_matrix(EYE), u) for u in (b, a))
    q1 = multiply(multiply(left, q0), right)
    source = MatrixFisher(2 * A)
    target = MatrixFisher(to_matrix(left) @ source.f @ to_matrix(right))
    for step, times in solvers():
        run = sample(field, q0, times, step, track_logq=True)
        assert SO3().dist(run.x, q1).max() < 1e-10
        assert run.logq.abs().max() < 1e-13
        close(log_prob(field, q1, source, step=step, grid=times.flip(0)), target.log_prob(q1))
