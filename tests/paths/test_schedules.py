"""Every schedule runs from 0 to 1, forward, at the rate it states."""

import pytest
import torch

from sciflow.paths import Cosine, Exponential, Linear, Polynomial


@pytest.mark.parametrize("schedule", [Linear(), Exponential(10.0), Exponential(-2.0), Cosine(), Polynomial(3)], ids=str)
def test_schedule_laws(schedule):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    kappa = schedule.kappa(t)
    torch.testing.assert_close(kappa[[0, -1]], t[[0, -1]], atol=1e-15, rtol=0)
    assert (kappa.diff() > 0).all()
    _, rate = torch.func.jvp(schedule.kappa, (t,), (torch.ones_like(t),))
    torch.testing.assert_close(schedule.dkappa(t), rate, atol=1e-12, rtol=0)
    torch.testing.assert_close(schedule.ahead(t), 1 - kappa, atol=1e-15, rtol=0)


@pytest.mark.parametrize("schedule", [Linear(), Exponential(10.0), Exponential(-2.0), Cosine(), Polynomial(3)], ids=str)
def test_what_is_ahead_keeps_its_precision(schedule):
    """In float32, where 1 − κ of the fastest falls to 9e-7 before the last of 500 steps; at the end alone it is 0."""
    t = torch.linspace(0, 1, 501)
    ahead = schedule.ahead(t)
    assert ahead[-1] == 0
    torch.testing.assert_close(ahead, schedule.ahead(t.double()).float(), rtol=1e-4, atol=0)  # t³ cancels: ε/3(1 − t)


@pytest.mark.parametrize(
    ("make", "fix"), [(lambda: Exponential(0.0), "Linear"), (lambda: Polynomial(0.5), "at least 1")]
)
def test_degenerate_schedules_are_refused(make, fix):
    with pytest.raises(ValueError, match=fix):
        make()
