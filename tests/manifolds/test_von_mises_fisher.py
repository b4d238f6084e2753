"""Von Mises–Fisher: normalised at every concentration, and sampled exactly."""

import math

import numpy as np
import pytest
import torch

from sciflow.manifolds import FlatTorus, Sphere, VonMises, VonMisesFisher
from sciflow.rng import normal, sample_generators, step_generator

F64 = torch.float64
KAPPAS = [0.0, 1e-8, 0.3, 7.0, 500.0, 1e4, 1e7, 1e12]


def mean(d):
    m = normal(d + 1, generator=step_generator(d), dtype=F64)
    return m / m.norm()


def cosine_grid(d, kappa, n=4000):
    """Angles from the mean where the density lives, and ∫ of it up to each of them by the trapezoid rule."""
    widest = min(math.pi, 12 * math.sqrt((d + 4) / kappa)) if kappa else math.pi
    theta = torch.linspace(0, widest, n + 1, dtype=F64)
    area = 2 * math.pi ** (d / 2) / math.gamma(d / 2)
    m = mean(d)
    across = torch.linalg.qr(torch.cat([m[:, None], torch.eye(d + 1, dtype=F64)], 1)).Q[:, 1]
    x = theta.cos()[:, None] * m + theta.sin()[:, None] * across
    density = (VonMisesFisher(d, m, kappa).log_prob(x) + math.log(area) + torch.xlogy(d - 1, theta.sin())).exp()
    return theta, torch.cumulative_trapezoid(density, theta)


@pytest.mark.parametrize("kappa", KAPPAS)
@pytest.mark.parametrize("d", [1, 2, 3, 10, 60])
def test_density_is_normalised(d, kappa):
    total = cosine_grid(d, kappa)[1][-1]
    assert total == pytest.approx(1, abs=2e-5)  # trapezoid rule: (Δθ)² times a curvature of order 10, rounding at 1e7


@pytest.mark.parametrize("kappa", KAPPAS)
@pytest.mark.parametrize("d", [1, 2, 3, 20])
def test_samples_follow_the_density(d, kappa):
    n, m = 10_000, mean(d)
    x = VonMisesFisher(d, m, kappa).sample(n, generator=step_generator(1), dtype=F64)
    angle = Sphere(d).dist(m, x)
    theta, cumulative = cosine_grid(d, kappa)
    ranks = np.interp(angle.sort().values.numpy(), theta[1:].numpy(), cumulative.numpy())
    assert np.abs(ranks - (np.arange(n) + 0.5) / n).max() < 2.2 / math.sqrt(n)  # Kolmogorov–Smirnov, p = 1e-4
    across = x - (x @ m)[:, None] * m
    across = across / across.norm(dim=-1, keepdim=True)
    assert across.mean(0).norm() < 4.5 * math.sqrt(1 / n)  # directions around the mean are even: norm² · n d ~ χ²_d


@pytest.mark.parametrize("kappa", KAPPAS)
def test_angles_are_the_circle(kappa):
    """VonMises on one angle is VonMisesFisher on S¹, in density and in its samples' spread."""
    n = 10_000
    angles = VonMises(torch.tensor([2.5, -1.0], dtype=F64), kappa)
    x = angles.sample(n, generator=step_generator(0), dtype=F64)
    assert x.abs().max() <= math.pi
    circle = torch.stack([x.cos(), x.sin()], -1)
    expected = sum(
        VonMisesFisher(1, torch.tensor([math.cos(a), math.sin(a)], dtype=F64), kappa).log_prob(circle[:, i])
        for i, a in enumerate((2.5, -1.0))
    )
    torch.testing.assert_close(angles.log_prob(x), expected, rtol=0, atol=1e-9 + 1e-9 * kappa**0.5)
    theta, cumulative = cosine_grid(1, kappa)
    turn = FlatTorus(1).dist(torch.tensor([2.5], dtype=F64), x[:, :1])
    ranks = np.interp(turn.sort().values.numpy(), theta[1:].numpy(), cumulative.numpy())
    assert np.abs(ranks - (np.arange(n) + 0.5) / n).max() < 2.2 / math.sqrt(n)


def test_each_angle_may_have_its_own_concentration():
    both = VonMises(torch.tensor([0.3, -2.0], dtype=F64), (1.0, 50.0))
    x = both.sample(5, 2, generator=step_generator(0), dtype=F64)
    parts = [VonMises(torch.tensor([m], dtype=F64), k) for m, k in ((0.3, 1.0), (-2.0, 50.0))]
    torch.testing.assert_close(both.log_prob(x), parts[0].log_prob(x[..., :1]) + parts[1].log_prob(x[..., 1:]))


def test_without_concentration_it_is_uniform():
    x = Sphere(4).random(3, 2, generator=step_generator(0), dtype=F64)
    torch.testing.assert_close(VonMisesFisher(4, mean(4), 0.0).log_prob(x), Sphere(4).prior().log_prob(x))


def test_concentrated_it_is_normal():
    """For large κ the offset from the mean is normal of variance 1/κ, whose density differs by O(d²/κ)."""
    d, kappa = 3, 1e7
    x = VonMisesFisher(d, mean(d), kappa).sample(50, generator=step_generator(0), dtype=F64)
    flat = -0.5 * kappa * Sphere(d).dist(mean(d), x) ** 2 + d / 2 * math.log(kappa / (2 * math.pi))
    torch.testing.assert_close(VonMisesFisher(d, mean(d), kappa).log_prob(x), flat, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kappa", [0.0, 3.0, 1e7])
def test_single_precision_keeps_the_spread(kappa):
    x = VonMisesFisher(2, mean(2), kappa).sample(4000, generator=step_generator(0), dtype=torch.float32)
    off = (x - mean(2).float()).square().sum(-1) / 2  # 1 − cos θ, of mean 1 − coth κ + 1/κ
    expected = 1 - 1 / math.tanh(kappa) + 1 / kappa if kappa else 1.0
    assert off.mean().item() == pytest.approx(expected, rel=0.05)  # spread of one sample ≤ its mean, 3 of them


@pytest.mark.parametrize(
    "prior", [VonMisesFisher(1, mean(1), 3.0), VonMisesFisher(2, mean(2), 3.0), VonMises(mean(1), 3.0)], ids=str
)
def test_sample_i_depends_on_generator_i_alone(prior):
    whole, part = (prior.sample(n, 3, generator=sample_generators(0, at, n)) for at, n in ((0, 5), (3, 1)))
    assert torch.equal(whole[3:4], part)
    assert whole.dtype == torch.get_default_dtype()
    assert prior.log_prob(whole).shape == (5,)


@pytest.mark.parametrize(("d", "mean", "kappa"), [(2, mean(2), -1.0), (2, mean(3), 1.0), (2, 0 * mean(2), 1.0)])
def test_what_is_no_density_is_refused(d, mean, kappa):
    with pytest.raises(ValueError, match="give"):
        VonMisesFisher(d, mean, kappa)
