"""Positive definite matrices: their isometries, repeated eigenvalues, and functions of matrices."""

import math

import pytest
import torch

from sciflow.manifolds import SPD
from sciflow.manifolds.symmetric import expm1, log1p
from sciflow.rng import normal, step_generator

F64 = torch.float64
M = SPD(3)


def points(seed, n=40):
    return M.random(n, generator=step_generator(seed), dtype=F64)


def test_congruences_and_inversion_are_isometries():
    a = normal(3, 3, generator=step_generator(9), dtype=F64)
    x, y = points(0), points(1)
    u = M.randn_tangent(x, step_generator(2))
    moved = [a @ z @ a.T for z in (x, y, u)]
    torch.testing.assert_close(M.dist(*moved[:2]), M.dist(x, y), rtol=0, atol=1e-10)
    torch.testing.assert_close(M.dist(x.inverse(), y.inverse()), M.dist(x, y), rtol=0, atol=1e-10)
    for there, here in (
        (M.expmap(moved[0], moved[2]), M.expmap(x, u)),
        (M.logmap(moved[0], moved[1]), M.logmap(x, y)),
        (M.transp(*moved), M.transp(x, y, u)),
    ):
        torch.testing.assert_close(there, a @ here @ a.T, rtol=1e-9, atol=1e-9)


def test_commuting_matrices_are_flat_space():
    logs = normal(2, 40, 3, generator=step_generator(0), dtype=F64)
    x, y = (part.exp().diag_embed() for part in logs)
    torch.testing.assert_close(M.dist(x, y), (logs[0] - logs[1]).norm(dim=-1))
    middle, _ = M.geodesic(x, y, torch.full((40,), 0.5, dtype=F64))
    torch.testing.assert_close(middle, logs.mean(0).exp().diag_embed())


def test_exponential_is_that_of_matrices():
    x, u = points(0), M.randn_tangent(points(0), step_generator(1))
    torch.testing.assert_close(M.expmap(x, u), x @ torch.linalg.matrix_exp(torch.linalg.solve(x, u)))


@pytest.mark.parametrize("gap", [0.0, 1e-15, 1e-9, 1e-4, 1.0])
def test_derivatives_at_nearly_equal_eigenvalues(gap):
    """exp against torch's own; log by the inverse of its derivative: D exp(log A) [D log(A)[E]] = E."""
    vectors = torch.linalg.qr(normal(3, 3, generator=step_generator(0), dtype=F64)).Q
    a = (vectors * torch.tensor([0.7, 0.7 + gap, 0.7 - 0.3 * gap], dtype=F64)) @ vectors.T
    a = (a + a.T) / 2
    e = normal(3, 3, generator=step_generator(1), dtype=F64)
    e = e + e.T
    _, exact = torch.func.jvp(torch.linalg.matrix_exp, (a,), (e,))
    value, rate = torch.func.jvp(expm1, (a,), (e,))
    torch.testing.assert_close(value, torch.linalg.matrix_exp(a) - torch.eye(3, dtype=F64))
    torch.testing.assert_close(rate, exact)
    logs, rate = torch.func.jvp(log1p, (a,), (e,))
    torch.testing.assert_close(torch.func.jvp(torch.linalg.matrix_exp, (logs,), (rate,))[1], e)
    pulled = torch.func.vjp(log1p, a)[1](e)[0]  # self-adjoint
    torch.testing.assert_close(pulled, rate)


def test_derivatives_batch_over_directions():
    a = points(0, 2).requires_grad_()
    directions = torch.eye(9, dtype=F64).reshape(9, 1, 3, 3).expand(9, 2, 3, 3)
    out = log1p(a)
    batched = torch.autograd.grad(out, a, directions, is_grads_batched=True, retain_graph=True)[0]
    alone = [torch.autograd.grad(out, a, e, retain_graph=True)[0] for e in directions]
    torch.testing.assert_close(batched, torch.stack(alone))
    vmapped = torch.func.vmap(torch.func.jacrev(log1p))(a.detach())
    torch.testing.assert_close(vmapped.reshape(2, 9, 3, 3).movedim(0, 1), batched)


@pytest.mark.parametrize("gap", [0.0, 1e-9, 1e-4, 0.6, 1.5, 4.0])
@pytest.mark.parametrize("function", [expm1, log1p])
def test_second_derivatives(function, gap):
    """Against differences of the first, which the test above holds; forwards over backwards as well."""
    vectors = torch.linalg.qr(normal(3, 3, generator=step_generator(0), dtype=F64)).Q
    a = (vectors * torch.tensor([0.7, 0.7 + gap, 0.7 + 0.5 * gap], dtype=F64)) @ vectors.T
    assert torch.autograd.gradgradcheck(lambda z: function(z + z.mT), (a / 2).requires_grad_())
    square = lambda z: function(z).square().sum()  # noqa: E731
    hessian = torch.autograd.functional.hessian(square, a)
    torch.testing.assert_close(torch.func.hessian(square)(a), hessian, rtol=1e-9, atol=1e-9)


def test_a_third_derivative_is_refused_not_wrong():
    a = points(0, 2).requires_grad_()
    (slope,) = torch.autograd.grad(log1p(a).square().sum(), a, create_graph=True)
    (bend,) = torch.autograd.grad(slope.square().sum(), a, create_graph=True)
    with pytest.raises(NotImplementedError, match="twice"):
        bend.sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_close_points_keep_their_distance(dtype):
    """The logarithm is of the difference: only the points' own rounding is lost."""
    x = points(0).to(dtype)
    assert (M.dist(x, x) == 0).all()
    u = M.randn_tangent(x, step_generator(1))
    u = u * (1e-3 / M.inner(x, u, u).sqrt())[:, None, None]
    condition = torch.linalg.cond(x).max().item()
    assert (M.dist(x, M.expmap(x, u)) - 1e-3).abs().max() < 4 * torch.finfo(dtype).eps * condition


@pytest.mark.parametrize(("condition", "tolerance"), [(1e2, 1e-4), (1e4, 1e-2)])
def test_ill_conditioned_matrices_lose_only_their_own_rounding(condition, tolerance):
    """eps · condition, though L⁻¹YL⁻ᵀ spans the square of it: single precision against double at the same points."""
    spectrum = torch.tensor([1.0, condition**-0.5, 1 / condition], dtype=F64)
    turns = torch.linalg.qr(normal(2, 40, 3, 3, generator=step_generator(0), dtype=F64)).Q
    x, y = ((q * spectrum) @ q.mT for q in turns)
    x, y = ((part + part.mT).float() / 2 for part in (x, y))
    t = torch.linspace(0, 1, 40)
    for z in (y, 1e6 * y, x.inverse()):
        z = (z + z.mT) / 2
        exact, found = M.dist(x.double(), z.double()), M.dist(x, z)
        torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)
        middle, exact = M.geodesic(x, z, t)[0].double(), M.geodesic(x.double(), z.double(), t.double())[0]
        assert M.dist(M.projx(middle), exact).max() < tolerance


def test_gradients_are_finite_where_eigenvalues_meet():
    eye = torch.eye(3, dtype=F64).expand(4, 3, 3)
    x, y = eye.clone().requires_grad_(), (2 * eye).requires_grad_()
    x_t, u_t = M.geodesic(x, y, torch.linspace(0, 1, 4, dtype=F64))
    outcome = M.dist(x, y).sum() + x_t.sum() + u_t.sum() + M.coordinates(x).sum() + M.prior().log_prob(y).sum()
    assert all(g.isfinite().all() for g in torch.autograd.grad(outcome, (x, y)))
    torch.testing.assert_close(M.dist(x, y).detach(), torch.full((4,), math.sqrt(3) * math.log(2), dtype=F64))


def test_projection_floors_eigenvalues():
    x = points(0)
    assert torch.equal(M.projx(x), x)
    broken = x - 2 * torch.linalg.eigvalsh(x)[:, :1, None] * torch.eye(3, dtype=F64)  # least eigenvalue turned negative
    fixed = M.projx(broken + torch.triu(torch.full_like(x, 1e-3), 1) - torch.tril(torch.full_like(x, 1e-3), -1))
    assert torch.linalg.eigvalsh(fixed).min() > 0
    torch.linalg.cholesky(fixed)


def test_coordinates_are_normal_at_the_identity():
    x = points(0)
    torch.testing.assert_close(M.coordinates(x).norm(dim=-1), M.dist(M.origin(), x))
