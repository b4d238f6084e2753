"""Steps of a trust region between normal laws, by their quantiles."""

import math

import pytest
import torch
from torch import Tensor

from sciflow.boltzmann.losses.trust_region import constrained_weights

QUANTILES = torch.special.ndtri((torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)  # of q = N(0, 1)


def variance_of(logw: Tensor) -> float:
    return float((logw.softmax(0) * QUANTILES.square()).sum())


def steps_from_standard_normal(target_variance: float, kl: float, entropy: float) -> float:
    """Variance of the q' that is nearest to N(0, target_variance) under the two constraints."""
    logq = -QUANTILES.square() / 2 - math.log(2 * math.pi) / 2
    return variance_of(constrained_weights(QUANTILES.square() / (2 * target_variance), logq, kl, entropy))


def test_a_trust_region_that_does_not_bind_is_importance_sampling() -> None:
    assert steps_from_standard_normal(0.5, kl=9.0, entropy=9.0) == pytest.approx(0.5, abs=1e-3)  # quantiles


@pytest.mark.parametrize("kl", [0.01, 0.1])
def test_a_step_is_as_long_as_the_trust_region(kl: float) -> None:
    v = steps_from_standard_normal(0.1, kl, entropy=9.0)
    assert (v - 1 - math.log(v)) / 2 == pytest.approx(kl, rel=0.01)  # KL(N(0, v)‖N(0, 1)); quantiles
    assert v < 1


@pytest.mark.parametrize("entropy", [0.05, 0.3])
def test_entropy_falls_no_faster_than_allowed(entropy: float) -> None:
    v = steps_from_standard_normal(0.1, kl=9.0, entropy=entropy)
    lost = -math.log(v) / 2
    assert lost == pytest.approx(entropy, abs=1e-3)  # quantiles


def test_samples_without_energy_get_no_weight() -> None:
    energy = torch.where(QUANTILES > 0, torch.inf, 0.0)
    logw = constrained_weights(energy, torch.zeros_like(QUANTILES), kl=0.1, entropy=0.1)
    assert (logw[QUANTILES > 0] == -torch.inf).all()
    assert logw[QUANTILES < 0].isfinite().all()
