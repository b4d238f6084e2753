"""Free-energy differences between harmonic wells, in closed form, by every estimator."""

import importlib
import math
import sys
from dataclasses import dataclass

import pytest
import torch
import zuko.transforms  # noqa: F401 (call_and_ladj of torch's transforms)
from torch import Tensor
from torch.distributions import AffineTransform, Transform

from sciflow.boltzmann import free_energy
from sciflow.boltzmann.free_energy import bar, generalised_work, mbar, one_sided, two_sided
from sciflow.errors import InputError
from sciflow.rng import normal, step_generator

D = 3


@dataclass(frozen=True)
class Well:
    """u = k (x − m)²/2 + c in D dimensions: F = c − D/2 ln(2π/k)."""

    k: float
    m: float = 0.0
    c: float = 0.0

    def energy(self, x: Tensor) -> Tensor:
        return self.c + self.k * (x - self.m).square().sum(-1) / 2

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.energy(x), -self.k * (x - self.m)

    def sample(self, n: int, seed: int) -> Tensor:
        return self.m + normal(n, D, generator=step_generator(seed), dtype=torch.float64) / math.sqrt(self.k)

    @property
    def free_energy(self) -> float:
        return self.c - D / 2 * math.log(2 * math.pi / self.k)


def affine(loc: float, scale: float) -> Transform:
    return AffineTransform(torch.full((D,), loc).double(), torch.full((D,), scale).double(), event_dim=1)


SOFT, STIFF = Well(1.0), Well(4.0, m=0.3, c=2.0)
FAR = Well(25.0, m=4.0, c=-1.0)
PERFECT = affine(4.0, 0.2)  # takes SOFT to FAR
NOTHING = affine(0.0, 1.0)


def test_works_between_overlapping_wells() -> None:
    exact, n = STIFF.free_energy - SOFT.free_energy, 4000
    x0, x1 = SOFT.sample(n, 0), STIFF.sample(n, 1)
    forward, reverse = STIFF.energy(x0) - SOFT.energy(x0), SOFT.energy(x1) - STIFF.energy(x1)
    for found in (bar(forward, reverse), one_sided(forward), two_sided(x0, x1, SOFT, STIFF, NOTHING)):
        assert 0 < found.error < 0.1
        assert found.value == pytest.approx(exact, abs=5 * found.error)
    assert bar(forward, reverse).error < one_sided(forward).error
    back = bar(reverse, forward)
    assert back.value == pytest.approx(-bar(forward, reverse).value, abs=1e-6)  # the solver's tolerance


def test_the_error_of_the_acceptance_ratio_is_that_of_repetitions() -> None:
    """Spread over 60 repetitions, known to 9 %."""
    found = []
    for seed in range(60):
        x0, x1 = SOFT.sample(200, 2 * seed), STIFF.sample(200, 2 * seed + 1)
        found.append(two_sided(x0, x1, SOFT, STIFF, NOTHING))
    spread = torch.tensor([f.value for f in found]).std()
    mean_error = torch.tensor([f.error for f in found]).square().mean().sqrt()
    assert float(mean_error / spread) == pytest.approx(1, abs=0.4)


def test_a_perfect_map_has_the_same_work_everywhere() -> None:
    exact = FAR.free_energy - SOFT.free_energy
    work = generalised_work(SOFT.sample(50, 2), SOFT, FAR, PERFECT.call_and_ladj)
    torch.testing.assert_close(work, torch.full((50,), exact).double())
    back = generalised_work(FAR.sample(50, 3), FAR, SOFT, PERFECT.inv.call_and_ladj)
    torch.testing.assert_close(back, torch.full((50,), -exact).double())
    assert two_sided(SOFT.sample(50, 2), FAR.sample(50, 3), SOFT, FAR, PERFECT).value == pytest.approx(exact)


def test_an_imperfect_map_bridges_wells_that_do_not_overlap() -> None:
    exact = FAR.free_energy - SOFT.free_energy
    rough = affine(3.9, 0.25)
    x0, x1 = SOFT.sample(4000, 4), FAR.sample(4000, 5)
    one = one_sided(generalised_work(x0, SOFT, FAR, rough.call_and_ladj))
    two = two_sided(x0, x1, SOFT, FAR, rough)
    for found in (one, two):
        assert found.error < 0.1
        assert found.value == pytest.approx(exact, abs=5 * found.error)
    assert two.error < one.error


def test_a_map_is_learned_by_its_mean_work() -> None:
    """The mean generalised work is ΔF + KL: its minimum over affine maps is the perfect one."""
    loc, log_scale = torch.zeros(D, dtype=torch.float64), torch.zeros(D, dtype=torch.float64)
    optimizer = torch.optim.Adam([loc.requires_grad_(), log_scale.requires_grad_()], 0.1)
    for step in range(600):
        optimizer.zero_grad()
        map_ = AffineTransform(loc, log_scale.exp(), event_dim=1)
        loss = generalised_work(SOFT.sample(100, 10 + step), SOFT, FAR, map_.call_and_ladj).mean()
        loss.backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] *= 0.99
    assert float(loss.detach()) == pytest.approx(FAR.free_energy - SOFT.free_energy, abs=2e-2)  # what Adam leaves
    torch.testing.assert_close(loc.detach(), torch.full((D,), 4.0).double(), atol=1e-2, rtol=0)
    torch.testing.assert_close(log_scale.exp().detach(), torch.full((D,), 0.2).double(), atol=1e-2, rtol=0)


def test_all_ensembles_at_once() -> None:
    """Four wells from stiff to soft and one that is only asked for."""
    wells = [Well(4.0, c=1.0), Well(2.0), Well(1.0, 0.2), Well(0.5), Well(3.0, 0.1, -2.0)]
    counts = [1000, 500, 1000, 800, 0]
    x = torch.cat([well.sample(n, 20 + n) for well, n in zip(wells, counts, strict=True)])
    value, error = mbar(torch.stack([well.energy(x) for well in wells]), counts)
    exact = torch.tensor([well.free_energy for well in wells], dtype=torch.float64) - wells[0].free_energy
    assert ((value - exact).abs() <= 5 * error).all()
    assert (error[1:] < 0.1).all()
    again, _ = mbar(torch.stack([well.energy(x) for well in wells]).float(), torch.tensor(counts).float())
    torch.testing.assert_close(again, value, rtol=0, atol=1e-5)  # energies rounded to float32


def test_places_of_infinite_energy() -> None:
    """A wall on one side: F of a half well is ln 2 higher; forward works are infinite half of the time."""
    x0 = SOFT.sample(4000, 6)
    inside = x0[:, 0] > 0
    forward = torch.where(inside, 0.0, torch.inf)
    found = bar(forward, torch.zeros(int(inside.sum())))
    assert found.value == pytest.approx(math.log(2), abs=5 * found.error)
    assert one_sided(forward).value == pytest.approx(math.log(2), abs=5 * one_sided(forward).error)


@pytest.mark.parametrize("dissipated", [5.0, 100.0, 1000.0])
def test_works_of_ensembles_far_apart(dissipated: float) -> None:
    """Normal works that obey Crooks, of variance twice their mean dissipation: the error does not vanish."""
    spread = math.sqrt(2 * dissipated)  # a few works of either side decide
    noise = spread * normal(2, 300, generator=step_generator(7), dtype=torch.float64)
    found = bar(3 + dissipated + noise[0], -3 + dissipated + noise[1])
    assert found.value == pytest.approx(3, abs=min(spread, 5 * found.error))
    assert found.error > 0.1


def test_works_that_do_not_meet_leave_a_gap() -> None:
    """All that such works say is that ΔF lies between −50 and 50, and equal ones that they are ΔF."""
    found = bar(torch.full((10,), 50.0), torch.full((10,), 50.0))
    assert found == pytest.approx((0, 100 / 12**0.5), abs=1e-6)
    assert bar(torch.full((10,), 2.5), torch.full((20,), -2.5)) == pytest.approx((2.5, 0), abs=1e-6)


@pytest.mark.parametrize("counts", [(50, 50), (400, 30)])
def test_the_acceptance_ratio_is_that_of_pymbar(counts: tuple[int, int]) -> None:
    import pymbar

    x0, x1 = SOFT.sample(counts[0], 8), STIFF.sample(counts[1], 9)
    forward, reverse = STIFF.energy(x0) - SOFT.energy(x0), SOFT.energy(x1) - STIFF.energy(x1)
    found = pymbar.bar(forward.numpy(), reverse.numpy(), relative_tolerance=1e-12)
    ours = bar(forward, reverse)
    assert ours.value == pytest.approx(float(found["Delta_f"]), abs=1e-9)
    assert ours.error == pytest.approx(float(found["dDelta_f"]), rel=0.02)  # n − 1 in place of n


def test_samples_that_are_impossible_in_another_ensemble() -> None:
    """The same wall for MBAR; without the samples outside of it ln 2 would be lost."""
    x0 = SOFT.sample(4000, 6)
    x = torch.cat((x0, SOFT.sample(2000, 10).abs()))[:, 0]
    value, error = mbar(torch.stack((x.square() / 2, torch.where(x > 0, x.square() / 2, torch.inf))), [4000, 2000])
    assert error[1] < 0.05
    assert float(value[1]) == pytest.approx(math.log(2), abs=5 * float(error[1]))


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2"):
        bar(torch.zeros(1), torch.zeros(2))
    with pytest.raises(InputError, match="drop NaN"):
        bar(torch.tensor([0.0, math.nan]), torch.zeros(2))
    with pytest.raises(InputError, match="sum to N"):
        mbar(torch.zeros(2, 5), [2, 2])
    for energies in ([[torch.inf, 0.0], [0.0, 0.0]], [[0.0, torch.nan], [0.0, 0.0]]):
        with pytest.raises(InputError, match="1 samples have an energy that is NaN"):
            mbar(torch.tensor(energies), [1, 1])


def test_pymbar_comes_late_and_silently(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pymbar"]:
        monkeypatch.delitem(sys.modules, name)
    importlib.reload(free_energy)
    assert "pymbar" not in sys.modules
    free_energy.mbar(torch.zeros(2, 4), [2, 2])
    assert "pymbar" in sys.modules
    assert not caplog.records
