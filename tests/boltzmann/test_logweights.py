"""Numbers from log-weights: closed forms between two normals, from samples of either."""

import math

import pytest
import torch
from torch import Tensor

from sciflow.boltzmann.logweights import (
    bootstrap,
    chunks,
    clipped_ess,
    effective,
    elbo,
    ess,
    eubo,
    forward_ess,
    forward_kl,
    log_mean_weight,
    reverse_kl,
    systematic,
)
from sciflow.rng import normal, sample_generators, step_generator

D, S, LOG_Z, N = 3, 1.3, 4.0, 100_000


def log_weights(of: str) -> Tensor:
    """Of q = N(0, S²) towards e^LOG_Z N(0, 1), in D dimensions, at samples of q or of p."""
    x = normal(N, D, generator=step_generator(0), dtype=torch.float64) * (S if of == "q" else 1)
    q, p = torch.distributions.Normal(0.0, S), torch.distributions.Normal(0.0, 1.0)
    return LOG_Z + (p.log_prob(x) - q.log_prob(x)).sum(-1)


KL_QP = D * ((S**2 - 1) / 2 - math.log(S))
KL_PQ = D * ((S**-2 - 1) / 2 + math.log(S))
ESS = (math.sqrt(2 * S**2 - 1) / S**2) ** D
CASES = {
    "log Z": (log_mean_weight, "q", LOG_Z),
    "ESS": (ess, "q", ESS),
    "forward ESS": (forward_ess, "p", ESS),
    "ELBO": (elbo, "q", LOG_Z - KL_QP),
    "EUBO": (eubo, "p", LOG_Z + KL_PQ),
    "KL(q‖p)": (reverse_kl, "q", KL_QP),
    "KL(p‖q)": (lambda logw: forward_kl(logw, LOG_Z), "p", KL_PQ),
}


@pytest.mark.parametrize("case", CASES)
def test_between_normals(case: str) -> None:
    statistic, of, exact = CASES[case]
    value, error = bootstrap(statistic, log_weights(of), 40)
    assert error < 0.02
    assert value == pytest.approx(exact, abs=5 * error)


def test_the_bootstrap_has_the_error_of_a_mean() -> None:
    logw = log_weights("q")
    value, error = bootstrap(elbo, logw, 200)
    assert value == pytest.approx(float(logw.mean()))
    assert error == pytest.approx(float(logw.std()) / math.sqrt(N), rel=5 / math.sqrt(400))  # of 200 draws


def test_a_sample_without_weight() -> None:
    """It counts in n, sends the lower bound to −∞, and is bounded by the floor."""
    logw = torch.cat((torch.zeros(3), torch.tensor([-torch.inf])))
    assert float(ess(logw)) == pytest.approx(0.75)
    assert float(log_mean_weight(logw)) == pytest.approx(math.log(0.75))
    assert elbo(logw) == -torch.inf
    assert reverse_kl(logw) == torch.inf
    assert float(reverse_kl(logw, 30)) == pytest.approx(0.75 * math.log(0.75) + 30 / 4, abs=1e-12)


def test_weights_of_any_size_are_summed_in_double_precision() -> None:
    logw = 1e4 + torch.tensor([0.0, 1e-3, 2e-3] * 1000)
    exact = torch.tensor([0.0, 1e-3, 2e-3] * 1000, dtype=torch.float64)
    assert float(log_mean_weight(logw)) - 1e4 == pytest.approx(
        float(log_mean_weight(exact)), abs=1e-3
    )  # float32 at 1e4
    assert log_mean_weight(logw).dtype == torch.float64
    assert float(ess(logw - 2e4)) == pytest.approx(float(ess(logw)), abs=1e-6)


def test_one_large_weight_is_clipped_to_the_next() -> None:
    logw = torch.tensor([9.0, 1.0, *[0.0] * 98])
    assert float(clipped_ess(logw, 0.02)) == pytest.approx(float(ess(torch.tensor([1.0, 1.0, *[0.0] * 98]))))


def test_systematic_resampling_takes_the_floor_or_the_ceiling() -> None:
    logw = normal(200, generator=step_generator(1), dtype=torch.float64)
    logw[-1] = -torch.inf
    for seed in range(20):
        counts = torch.bincount(systematic(logw, 500, step_generator(seed)), minlength=200)
        expected = 500 * logw.softmax(0)
        assert ((counts - expected).abs() < 1 + 1e-9).all()
        assert counts[-1] == 0


def test_chunks_hand_out_each_sample_and_its_generator_once() -> None:
    own = sample_generators(0, 0, 7)
    parts = list(chunks(7, 3, own))
    assert [part for part, _ in parts] == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert [g for _, generators in parts for g in generators] == list(own)
    assert {g for _, g in chunks(7, 3, own[0])} == {own[0]}


def test_an_ensemble_without_weights_is_as_large_as_what_is_effective() -> None:
    logw = torch.tensor([0.0, 0.0, -torch.inf, -torch.inf], dtype=torch.float64)
    assert effective(logw, step_generator(0)).tolist() == [0, 1]
    assert len(effective(logw, step_generator(0), most=1)) == 1
    assert effective(torch.tensor([0.0, 30.0]), step_generator(0)).tolist() == [1]
