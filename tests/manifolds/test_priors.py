"""Priors are normalised densities, and their samples follow them."""

import math

import pytest
import torch

from sciflow.manifolds import SE3, SO3, Euclidean, FlatTorus, Normal, Sphere
from sciflow.rng import normal, step_generator


@pytest.mark.parametrize(
    ("manifold", "volume"),
    [
        (Sphere(1), 2 * math.pi),
        (Sphere(2), 4 * math.pi),
        (Sphere(3), 2 * math.pi**2),
        (FlatTorus(3), (2 * math.pi) ** 3),
        (SO3(), 8 * math.pi**2),
    ],
    ids=str,
)
def test_uniform_is_one_over_the_volume(manifold, volume):
    x = manifold.random(2, 5, generator=step_generator(0), dtype=torch.float64)
    torch.testing.assert_close(manifold.prior().log_prob(x), x.new_full((2,), -5 * math.log(volume)))


def test_volume_is_that_of_the_metric():
    """Share of rotations within an angle r: (r − sin r)/π in the metric whose distance is the angle; a cap on S²."""
    n, r = 40_000, 1.0
    for manifold, share in ((SO3(), (r - math.sin(r)) / math.pi), (Sphere(2), (1 - math.cos(r)) / 2)):
        x = manifold.random(n, generator=step_generator(0), dtype=torch.float64)
        found = (manifold.dist(x[:1], x[1:]) < r).double().mean().item()
        assert abs(found - share) < 4 * math.sqrt(share * (1 - share) / n)


def test_normal_is_the_normal_density():
    x = normal(4, 3, 2, generator=step_generator(0), dtype=torch.float64)
    reference = torch.distributions.Normal(torch.tensor(0.0, dtype=torch.float64), 0.7).log_prob(x).sum((1, 2))
    torch.testing.assert_close(Normal(2, scale=0.7).log_prob(x), reference)


def test_centered_normal_is_normal_on_the_subspace():
    """In an orthonormal basis of the zero-mean subspace it is the standard normal of (N−1)·d dimensions."""
    prior = Euclidean(3, centered=True).prior()
    x = prior.sample(6, 5, generator=step_generator(0), dtype=torch.float64)
    assert x.mean(dim=1).abs().max() < 1e-15
    projector = torch.eye(5, dtype=torch.float64) - 0.2
    basis = torch.linalg.eigh(projector).eigenvectors[:, 1:]  # the first eigenvector is the constant one
    coordinates = torch.einsum("nk,bnd->bkd", basis, x)
    reference = torch.distributions.Normal(0.0, 1.0).log_prob(coordinates).sum((1, 2))
    torch.testing.assert_close(prior.log_prob(x), reference)


def test_product_prior_sums_its_factors():
    x = SE3().random(3, 4, generator=step_generator(0), dtype=torch.float64)
    expected = Euclidean(3).prior().log_prob(x["translation"]) + SO3().prior().log_prob(x["rotation"])
    torch.testing.assert_close(SE3().prior().log_prob(x), expected)
