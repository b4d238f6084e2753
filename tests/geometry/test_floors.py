"""Floors: densities that integrate to one, chosen on validation data alone, in closed form where there is one."""

import math

import numpy as np
import pytest
import torch

from sciflow.geometry.floors import BANDWIDTHS, SHARES, _kernels, energy_distance, floors, mixture_weights, nearest
from sciflow.manifolds import SO3, Euclidean, FlatTorus, Hyperbolic, Sphere

F64 = torch.float64
MANIFOLDS = {
    "sphere": Sphere(2),
    "torus": FlatTorus(2),
    "so3": SO3(),
    "hyperbolic": Hyperbolic(2),
    "plane": Euclidean(2),
}


def draw(manifold, n, seed=0):
    return manifold.random(n, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("width", [0.1, max(BANDWIDTHS)])
def test_kernels_on_the_sphere_integrate_to_one(width):
    """By a product rule in the angle from the pole and around it; the widest kernel misses ``e^{−π²/2h²}`` beyond π."""
    nodes, weights = (torch.as_tensor(a) for a in np.polynomial.legendre.leggauss(200))
    around = torch.arange(0, 400, dtype=F64) * 2 * math.pi / 400
    ring = (1 - nodes**2).sqrt()[:, None]
    x = torch.stack([ring * around.cos(), ring * around.sin(), nodes[:, None].expand(-1, 400)], -1)
    density = _kernels(Sphere(2), draw(Sphere(2), 3), x.reshape(-1, 3), torch.tensor([width], dtype=F64)).exp()
    total = (density.reshape(200, 400).mean(1) * weights).sum() * 2 * math.pi
    assert float(total) == pytest.approx(1 - math.exp(-((math.pi / width) ** 2) / 2), abs=2e-5)  # pole at distance π


def test_kernels_on_the_circle_integrate_to_one():
    x = (torch.arange(2000, dtype=F64) * 2 * math.pi / 2000 - math.pi)[:, None]
    widths = torch.tensor([0.05, 0.3, max(BANDWIDTHS)], dtype=F64)
    total = _kernels(FlatTorus(1), draw(FlatTorus(1), 4), x, widths).exp().mean(1) * 2 * math.pi
    expected = torch.erf(math.pi / widths / math.sqrt(2))
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-6)  # the kink half way round costs h² of the rule


@pytest.mark.parametrize("name", MANIFOLDS)
def test_one_kernel_is_the_wrapped_normal(name):
    """About a single point, against the density in polar form: N(r; h²) over the Jacobian of exp at that distance."""
    manifold = MANIFOLDS[name]
    centre, x = draw(manifold, 1), draw(manifold, 30, 1)
    r = manifold.dist(centre, x)
    log_det = {
        "sphere": (r.sin() / r).log(),
        "so3": 2 * ((r / 2).sin() / (r / 2)).log(),
        "hyperbolic": (r.sinh() / r).log(),
    }
    expected = -(r**2) / 2 / 0.3**2 - log_det.get(name, 0.0) - manifold.dim * math.log(0.3 * math.sqrt(2 * math.pi))
    found = _kernels(manifold, centre, x, torch.tensor([0.3], dtype=F64))[0]
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_bandwidth_and_share_are_the_best_on_validation_data():
    """Where the test data are the validation data, no other choice is better; the numbers are those of the formula."""
    manifold = Sphere(2)
    train, x = draw(manifold, 20), draw(manifold, 15, 1)
    r = manifold.dist(train[None], x[:, None])
    kernels = torch.stack(
        [((-0.5 * (r / h) ** 2).exp() / (2 * math.pi * h**2) * r / r.sin()).mean(1) for h in BANDWIDTHS]
    )
    mixed = torch.stack([(1 - w) * kernels + w / (4 * math.pi) for w in SHARES])
    found = floors(manifold, train, x, x)
    assert found.prior == pytest.approx(math.log(4 * math.pi), rel=1e-6)
    assert found.kde == pytest.approx(-float(kernels.log().mean(1).max()), rel=1e-5)
    assert found.mixture == pytest.approx(-float(mixed.log().mean(2).max()), rel=1e-5)


def test_test_data_choose_nothing():
    """Two halves of them are judged by one density, that of the whole."""
    manifold = FlatTorus(2)
    train, val, test = draw(manifold, 40), draw(manifold, 10, 1), draw(manifold, 30, 2)
    one, other = floors(manifold, train, val, test[:15]), floors(manifold, train, val, test[15:])
    whole = floors(manifold, train, val, test)
    assert whole.mixture == pytest.approx((one.mixture + other.mixture) / 2, rel=1e-6)


def test_repeated_points_choose_the_narrowest_kernel():
    """Each is its own: 1/(2πh²) over the 20 of them."""
    x = draw(Sphere(2), 20)
    narrowest = math.log(20 * 2 * math.pi * min(BANDWIDTHS) ** 2)
    assert floors(Sphere(2), x, x, x).kde == pytest.approx(narrowest, abs=1e-6)


def test_energy_distance():
    """Point masses an angle d apart: twice the chord. Samples of one density: zero, to the error of 400 points."""
    a, b = torch.tensor([[0.5]], dtype=F64).repeat(4, 1), torch.tensor([[-0.4]], dtype=F64).repeat(6, 1)
    assert energy_distance(FlatTorus(1), a, b) == pytest.approx(4 * math.sin(0.45), rel=1e-12)
    x, y = draw(Sphere(2), 400), draw(Sphere(2), 400, 1)
    assert abs(energy_distance(Sphere(2), x, y)) < 0.03
    assert energy_distance(Sphere(2), x, y * y.sign()) > 0.3


@pytest.mark.parametrize("manifold", [FlatTorus(2), SO3()], ids=str)
def test_energy_distance_is_positive_where_geodesic_distances_fail(manifold):
    """Two laws that differ by the sign of an eigenvector of −JDJ of negative value, D the distances of 60 points."""

    def geodesic(a, b):
        return float(manifold.dist(a[:, None], b[None]).sum())

    x = draw(manifold, 60)
    d = manifold.dist(x[:, None], x[None])
    least = torch.linalg.eigh(d.mean(0) + d.mean(1, keepdim=True) - d - d.mean())[1][:, 0]
    a, b = (x[chosen].repeat(40, 1) for chosen in (least > 0, least < 0))
    between, within = geodesic(a, b) / (len(a) * len(b)), (geodesic(z, z) / (len(z) * (len(z) - 1)) for z in (a, b))
    assert 2 * between - sum(within) < -0.01
    assert energy_distance(manifold, a, b) > 0.05


def test_weights_of_widths_are_the_likeliest():
    """At the maximum no density is likelier on average than the mixture (the conditions of Karush, Kuhn and Tucker)."""
    logs = torch.randn(4, 200, generator=torch.Generator().manual_seed(0), dtype=F64)
    weights = mixture_weights(logs)
    gain = (logs - torch.logsumexp(logs + weights.log()[:, None], 0)).exp().mean(1)
    assert weights.sum() == pytest.approx(1)
    assert gain.max() < 1 + 1e-3
    train, x = draw(Sphere(2), 20), draw(Sphere(2), 15, 1)
    found = floors(Sphere(2), train, x, x)
    assert found.widths < found.mixture + 1e-6


def test_nearest():
    train = draw(Sphere(2), 30)
    x = Sphere(2).expmap(train[:5], 0.01 * torch.nn.functional.normalize(Sphere(2).randn_tangent(train[:5]), dim=-1))
    torch.testing.assert_close(nearest(Sphere(2), x, train), torch.full((5,), 0.01, dtype=F64), rtol=1e-6, atol=0)
    assert float(nearest(Sphere(2), train, train).max()) < 1e-7
