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


@pytest.mark.parametrize(
    ("make", "fix"), [(lambda: Exponential(0.0), "Linear"), (lambda: Polynomial(0.5), "at least 1")]
)
def test_degenerate_schedules_are_refused(make, fix):
    with pytest.raises(ValueError, match=fix):
        make()
