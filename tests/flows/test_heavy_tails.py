"""The heavy-tailed base is Student's t and the uniform density on circles."""

import math

import pytest
import torch
from scipy import stats

from sciflow.flows import HeavyTailedBase
from sciflow.rng import sample_generators, step_generator

CIRCULAR = torch.tensor([True, False, False, True, False])
FREEDOM = torch.tensor([1.5, 3.0, 200.0])


def base() -> HeavyTailedBase:
    return HeavyTailedBase(CIRCULAR, FREEDOM).double()


def test_density_is_that_of_student() -> None:
    x = 3 * torch.randn(20, 5, generator=step_generator(0), dtype=torch.float64)
    want = torch.as_tensor(stats.t.logpdf(x[:, ~CIRCULAR].numpy(), FREEDOM.numpy())).sum(-1) - 2 * math.log(2 * math.pi)
    torch.testing.assert_close(base().log_prob(x), want, rtol=1e-5, atol=0)  # ν was stored in float32
    torch.testing.assert_close(base().log_prob(x[:, None].expand(-1, 2, -1)), 2 * want, rtol=1e-5, atol=0)


def test_samples_have_that_density() -> None:
    with torch.no_grad():
        x = base().sample(4000, generator=step_generator(1))
    for column, nu in zip(x.T[~CIRCULAR], FREEDOM, strict=True):
        assert stats.kstest(column.numpy(), stats.t(nu.item()).cdf).pvalue > 1e-3
    for column in x.T[CIRCULAR]:
        assert stats.kstest(column.numpy(), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > 1e-3


def test_sample_i_depends_on_generator_i_alone() -> None:
    whole = base().sample(6, generator=sample_generators(0, 0, 6))
    assert torch.equal(base().sample(2, generator=sample_generators(0, 3, 2)), whole[3:5])


def test_degrees_of_freedom_are_learnt_from_data_and_through_samples() -> None:
    made = base()
    x = made.sample(20000, generator=step_generator(2))
    # The likelihood is stationary at the truth; the error of the mean is known.
    (slope,) = torch.autograd.grad(made.log_prob(x.detach()).mean(), made.raw_freedom)
    assert (slope.abs() < 0.05).all()
    # d/dν E log(1 + x²/2) through samples agrees with a difference of expectations.
    (path,) = torch.autograd.grad((1 + x[:, 1].square() / 2).log().mean(), made.raw_freedom)
    grid = torch.linspace(0, 1, 200001, dtype=torch.float64)[1:-1].numpy()
    ends = [(1 + torch.as_tensor(stats.t.ppf(grid, nu)).square() / 2).log().mean() for nu in (1.4, 1.6)]
    want = float(ends[1] - ends[0]) / 0.2 * torch.sigmoid(made.raw_freedom[0]).item()
    assert path[0].item() == pytest.approx(want, rel=0.05)  # 20 000 draws
    assert path[1:].eq(0).all()


def test_given_degrees_of_freedom_stay() -> None:
    assert not HeavyTailedBase(CIRCULAR, 4.0, learn=False).raw_freedom.requires_grad
    with pytest.raises(ValueError, match="positive"):
        HeavyTailedBase(CIRCULAR, -1.0)
