"""The rate of the Dirichlet path: a finite sum in 900 digits, the closed flow, the law at the end."""

from itertools import pairwise

import mpmath
import pytest
import torch
from scipy import stats
from scipy.special import betainc, betaincinv

from sciflow.paths import DirichletPath
from sciflow.paths.dirichlet_rate import DirichletRate, dirichlet_rate
from sciflow.rng import step_generator

F64 = torch.float64


def finite_sum(b, alpha, k):
    """``−∂_a I_b(a, k − 1)`` over the density, of ``I_b(a, c) = b^a Σ_{j<c} (a)_j (1 − b)^j/j!``."""
    with mpmath.workdps(900):
        b, a, total, term, harmonic = mpmath.mpf(b), mpmath.mpf(1 + alpha), mpmath.mpf(0), mpmath.mpf(1), mpmath.mpf(0)
        depth = -mpmath.log(b)
        for j in range(k - 1):
            total += term * (depth - harmonic)
            harmonic += 1 / (a + j)
            term *= (a + j) / (j + 1) * (1 - b)
        return float(b * mpmath.beta(a, k - 1) * (1 - b) ** (1 - k) * total)


@pytest.mark.parametrize("k", [2, 4, 20, 256])
def test_rate_is_the_derivative_of_the_incomplete_beta_function(k):
    b = torch.tensor([1e-9, 0.003, 0.03, 0.3, 0.6, 0.9, 0.999], dtype=F64)
    for alpha in (0.0, 3.0, 25.0):
        exact = torch.tensor([finite_sum(x, alpha, k) for x in b.tolist()], dtype=F64)
        at = torch.tensor(alpha, dtype=F64)
        torch.testing.assert_close(dirichlet_rate(b, at, k), exact, rtol=1e-8, atol=0)
        grid = DirichletRate(k, 30.0)(b[1:].expand(2, 1, -1), at.expand(2))[1, 0]
        torch.testing.assert_close(grid, exact[1:], rtol=1e-6, atol=0)
        single = DirichletRate(k, 30.0)(b[1:].float().expand(2, 1, -1), at.float().expand(2))[1, 0]
        torch.testing.assert_close(single.double(), exact[1:], rtol=1e-3, atol=0)  # of b = 0.999 rounded, and k = 256


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("k", [4, 20, 256])
def test_rate_is_positive_from_face_to_vertex(k, dtype):
    b = torch.cat([torch.logspace(-30, 0, 300, dtype=dtype), torch.linspace(0, 1, 300, dtype=dtype)[1:]])
    rate = DirichletRate(k, 30.0)(b.expand(9, 1, -1), torch.linspace(0, 30, 9, dtype=dtype))
    assert rate.isfinite().all()
    assert (rate > 0).all()
    assert dirichlet_rate(torch.zeros(1, dtype=F64), torch.ones(1, dtype=F64), k) == 0


@pytest.mark.parametrize("k", [4, 20, 64, 160])
def test_conditional_flow_keeps_quantiles_and_ends_in_its_law(k):
    path = DirichletPath(k)
    b = path.prior.sample(20, 1000, generator=step_generator(k), dtype=F64)[..., 0]
    x = torch.stack([b, 1 - b], -1)  # the other letters only shrink: their sum stands for them
    certain = torch.tensor([1.0, 0.0], dtype=F64).expand_as(x)
    grid = torch.linspace(0, 1 - 1e-9, 101, dtype=F64)
    for t, s in pairwise(grid):
        x = path.advance(certain, x, t.expand(20), s.expand(20))
    a = 1 + path.alpha_max * grid[-1].item()
    end = x[..., 0].flatten().numpy()
    assert stats.kstest(end, stats.beta(a, k - 1).cdf).statistic < 0.02
    closed = betaincinv(a, k - 1, betainc(1, k - 1, b.flatten().numpy()))
    # of order 2 in 100 steps; beside the face, where the rate is b log b, a little of the start stays for ever
    assert abs(end - closed).mean() < 1e-3


def test_a_unit_of_alpha_halves_the_doubt():
    path = DirichletPath(5)
    t = torch.full((10,), 2 / path.alpha_max, dtype=F64)
    x0 = path.prior.sample(10, 2000, generator=step_generator(0), dtype=F64)
    x = path.sample(x0, torch.zeros(10, 2000, dtype=torch.long), t, step_generator(1)).x_t
    law = stats.beta(3, 4)  # of Dirichlet(1 + 2 e_k)
    assert stats.kstest(x[..., 0].flatten().numpy(), law.cdf).statistic < 1.95 / 20000**0.5  # one in a thousand
    assert abs((x[..., 1] > x[..., 0]).double().mean() - 2.0**-3) < 4 * (0.125 / 20000) ** 0.5
    assert 4 * 2 ** -(1 + path.alpha_max) == pytest.approx(1e-4)
