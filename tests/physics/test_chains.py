"""Errors of correlated draws against chains whose correlation is known."""

import math

import pytest
import torch
from torch import Tensor

from sciflow.boltzmann import logweights
from sciflow.boltzmann.free_energy import mbar, one_sided
from sciflow.physics.chains import bootstrap, mbar_covariance

RHO = 0.8


def autoregressive(chains: int, draws: int, seed: int) -> Tensor:
    """Chains x' = ρx + √(1 − ρ²)·noise of the normal law, (chains, draws)."""
    g = torch.Generator().manual_seed(seed)
    x = [torch.randn(chains, generator=g, dtype=torch.float64)]
    for _ in range(draws - 1):
        x.append(RHO * x[-1] + math.sqrt(1 - RHO**2) * torch.randn(chains, generator=g, dtype=torch.float64))
    return torch.stack(x, 1)


def error_of_the_mean(chains: int, draws: int) -> float:
    """Σ_ij ρ^|i−j| / (chains·draws²), its root."""
    k = torch.arange(draws)
    return math.sqrt(float((RHO ** (k[:, None] - k).abs()).sum()) / (chains * draws**2))


def names(chains: int, draws: int) -> Tensor:
    return torch.arange(chains).repeat_interleave(draws)


def mean(x: Tensor) -> float:
    return float(x.mean())


def free_energy(x: Tensor) -> float:
    return one_sided(x).value


def kish(x: Tensor) -> float:
    return float(logweights.ess(-x))


def test_the_error_of_an_autoregressive_chain_is_the_known_one():
    """Of 300 chains and 200 bootstraps it is known to 6 %; independent draws would have a third of it."""
    value, error = bootstrap(mean, [autoregressive(300, 50, 0).flatten()], [names(300, 50)])
    exact = error_of_the_mean(300, 50)
    assert error == pytest.approx(exact, rel=0.25)
    assert exact > 2.5 / math.sqrt(300 * 50)
    assert abs(value) < 4 * exact


@pytest.mark.parametrize("statistic", [mean, free_energy, kish])
def test_duplicates_tell_no_more(statistic):
    x, chain = autoregressive(10, 8, 1).flatten(), names(10, 8)
    once = bootstrap(statistic, [x], [chain])
    many = bootstrap(statistic, [x.repeat(7)], [chain.repeat(7)])
    assert many == pytest.approx(once, rel=1e-9)


def test_few_chains_have_no_smaller_errors_than_they_should():
    """The mean square of the error is that of the mean; four chains drawn again have three quarters of it."""
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    squares = [bootstrap(mean, [row], [names(4, 1)], seed=k, draws=40)[1] ** 2 for k, row in enumerate(x)]
    assert sum(squares) / len(squares) == pytest.approx(1 / 4, rel=0.15)  # 4 %, three times and more


def test_one_chain_has_no_error():
    assert bootstrap(mean, [torch.ones(5)], [torch.zeros(5)]) == (1.0, None)


def ladder(chains: int, draws: int, step: float, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Energies x²/2 + k·step·x, k = 0, 1, 2, of autoregressive chains in each; the ensembles and the chains."""
    x = torch.cat([autoregressive(chains, draws, seed + k).flatten() - k * step for k in range(3)])
    energies = torch.stack([x.square() / 2 + k * step * x for k in range(3)])
    chain = names(3 * chains, draws)
    return energies, chain // chains, chain


def test_independent_draws_have_the_usual_error_of_mbar():
    energies, ensembles, chain = ladder(2000, 1, 0.7, 3)
    delta_f, error = mbar(energies, [2000] * 3)
    covariance = mbar_covariance(energies, delta_f, ensembles, chain)
    torch.testing.assert_close(covariance.diagonal().sqrt(), error, rtol=0.1, atol=1e-12)  # 1/√(2·2000), and some


def test_mbar_of_autoregressive_chains_has_the_known_error():
    """Of ensembles that hardly differ ΔF = 2·step·⟨x⟩, the mean of all of them."""
    energies, ensembles, chain = ladder(200, 40, 0.02, 6)
    delta_f, _ = mbar(energies, [200 * 40] * 3)
    error = float(mbar_covariance(energies, delta_f, ensembles, chain)[-1, -1].sqrt())
    exact = 2 * 0.02 * error_of_the_mean(3 * 200, 40)
    assert error == pytest.approx(exact, rel=0.15)  # 600 chains: 3 %
    again = mbar_covariance(energies.repeat(1, 3), delta_f, ensembles.repeat(3), chain.repeat(3))
    assert float(again[-1, -1].sqrt()) == pytest.approx(error, rel=1e-9)
