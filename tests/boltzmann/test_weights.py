"""Importance weights: exact cases, and bad weights refused."""

import math

import pytest
import torch
from torch import Tensor

from sciflow.boltzmann import WeightedSamples, importance
from sciflow.rng import normal, sample_generators, step_generator


class Gaussian:
    """N(0, s²) in d dimensions, as a flow and as an energy (without its normaliser)."""

    def __init__(self, d: int, s: float) -> None:
        self.d, self.s = d, s

    def sample(self, n: int, *, generator=None) -> tuple[Tensor, Tensor]:
        x = self.s * normal(n, self.d, generator=generator, dtype=torch.float64)
        return x, -self.energy(x) - self.d * math.log(self.s * math.sqrt(2 * math.pi))

    def energy(self, x: Tensor) -> Tensor:
        return 0.5 * (x / self.s).square().sum(-1)


def weighted(logw: list[float]) -> WeightedSamples:
    logw = torch.tensor(logw, dtype=torch.float64)
    return WeightedSamples(torch.arange(len(logw))[:, None], torch.zeros_like(logw), logw)


def test_exact_flow_has_equal_weights_and_the_exact_normaliser():
    target = Gaussian(3, 0.7)
    w = importance(target, target, 1000, generator=step_generator(0))
    assert w.ess() == pytest.approx(1, abs=1e-12)
    assert w.log_z().value == pytest.approx(3 * math.log(0.7 * math.sqrt(2 * math.pi)), abs=1e-10)


def test_too_wide_a_flow_is_corrected():
    n = 40_000
    w = importance(Gaussian(2, 1.5), Gaussian(2, 1.0), n, generator=step_generator(1))
    # closed form of the effective fraction for Gaussians: per dimension sqrt(2σ²−1)/σ²
    assert w.ess() == pytest.approx((math.sqrt(2 * 1.5**2 - 1) / 1.5**2) ** 2, rel=0.05)
    assert w.log_z().value == pytest.approx(math.log(2 * math.pi), abs=5 * w.log_z().error)
    assert w.log_z().error == pytest.approx(math.sqrt((1 / w.ess() - 1) / n), rel=1e-4)
    assert float(w.mean(w.x[:, 0].square())) == pytest.approx(1, abs=5 * math.sqrt(2 / (n * w.ess())))


def test_what_cannot_be_drawn_or_weighed_says_so():
    target = Gaussian(2, 1.0)
    with pytest.raises(ValueError, match="n=0 samples"):
        importance(target, target, 0)
    with pytest.raises(ValueError, match=r"<lambda> has no method energy.*LogDensity"):
        importance(target, lambda x: x.square().sum(-1), 3)


def test_ess_and_clipping():
    equal, one = weighted([0.0] * 100), weighted([50.0] + [0.0] * 99)
    assert equal.ess() == pytest.approx(1)
    assert one.ess() == pytest.approx(1 / 100)
    assert one.ess_clipped(0.02) == pytest.approx(1)
    assert one.ess_clipped(0.01) == pytest.approx(one.ess())


def test_weights_do_not_depend_on_a_constant():
    a, b = weighted([0.0, 1.0, -2.0]), weighted([1000.0, 1001.0, 998.0])
    torch.testing.assert_close(a.weights, b.weights)


def test_resampling_is_unbiased_and_never_draws_weight_zero():
    w = weighted([-math.inf, math.log(3.0), 0.0])
    counts = torch.bincount(w.resample(4000, step_generator(0)), minlength=3)
    assert counts.tolist() == pytest.approx([0, 3000, 1000], abs=1)


def test_profile_and_delta_f_of_a_known_density():
    n = 50_000
    x = normal(n, 1, generator=step_generator(3), dtype=torch.float64)
    w = WeightedSamples(x, torch.zeros(n), torch.zeros(n))
    bins = torch.linspace(-2, 2, 9, dtype=torch.float64)
    profile = w.free_energy(x[:, 0], bins)
    cdf = torch.special.ndtr(bins)
    exact = -torch.log(cdf.diff())
    assert ((profile.free_energy - (exact - exact.min())).abs() < 5 * profile.error + 0.02).all()
    value, error = w.delta_f(x[:, 0] > 1)
    p = 1 - float(torch.special.ndtr(torch.tensor(1.0)))
    assert value == pytest.approx(math.log((1 - p) / p), abs=5 * error)
    assert error == pytest.approx(1 / math.sqrt(n * p * (1 - p)), rel=0.2)


@pytest.mark.parametrize("logw", [[0.0, math.nan], [0.0, math.inf], [-math.inf, -math.inf]])
def test_broken_weights_are_refused(logw):
    with pytest.raises(ValueError, match="weight"):
        weighted(logw)


def test_samples_do_not_depend_on_the_batch_size():
    g = Gaussian(2, 1.0)
    a = importance(g, g, 7, generator=sample_generators(0, 0, 7), batch_size=7)
    b = importance(g, g, 7, generator=sample_generators(0, 0, 7), batch_size=3)
    assert torch.equal(a.x, b.x)
