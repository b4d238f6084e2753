"""Mixed coordinates: their frame, their chart and its border."""

import math

import pytest
import torch

from sciflow.errors import InputError
from sciflow.flows import InternalCoordinates, MixedCoordinates
from sciflow.rng import step_generator

ZMATRIX = torch.tensor([[0, -1, -1, -1], [1, 0, -1, -1], [2, 0, 1, -1], [3, 1, 0, 2], [4, 1, 0, 3], [5, 2, 0, 1]])
GENERATOR = step_generator(0)


def molecules(n: int) -> torch.Tensor:
    shape = torch.randn(6, 3, generator=step_generator(1), dtype=torch.float64)
    return shape + 0.3 * torch.randn(n, 6, 3, generator=GENERATOR, dtype=torch.float64)


def test_rigid_motions_are_forgotten_and_mirror_images_are_told_apart() -> None:
    x, mixed = molecules(8), MixedCoordinates.fit(ZMATRIX, [0, 2, 1, 4], molecules(50))
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=GENERATOR, dtype=torch.float64))[0]
    rotation = rotation * torch.linalg.det(rotation).sign()
    y, ladj = mixed.call_and_ladj(x)
    moved, moved_ladj = mixed.call_and_ladj(x @ rotation.T + 3.0)
    torch.testing.assert_close((moved, moved_ladj), (y, ladj), atol=1e-10, rtol=0)
    rebuilt = mixed.inv(y)
    torch.testing.assert_close(torch.cdist(rebuilt, rebuilt), torch.cdist(x, x), atol=1e-7, rtol=0)  # cdist's roots
    assert ((mixed(x * torch.tensor([1.0, 1.0, -1.0])) - y).abs().amax(-1) > 0.1).all()


def test_core_is_centred_without_torque_and_spread_along_principal_axes() -> None:
    frames = molecules(400)
    mixed = MixedCoordinates.fit(ZMATRIX, [0, 2, 1, 4], frames)
    y = mixed(frames)
    core = mixed.inv(y)[:, [0, 2, 1, 4]]
    torch.testing.assert_close(core.mean(1), torch.zeros(400, 3).double(), atol=1e-12, rtol=0)
    torque = torch.linalg.cross(mixed.reference.expand_as(core), core).sum(1)
    torch.testing.assert_close(torque, torch.zeros_like(torque), atol=1e-10, rtol=0)
    scatter = y[:, :6].T @ y[:, :6]
    torch.testing.assert_close(scatter, scatter.diagonal().diag(), atol=1e-8 * float(scatter.max()), rtol=0)


def test_both_coordinates_measure_the_same_volume() -> None:
    """ladj differs from that of internal coordinates by the Jacobian between the two."""
    mixed, internal = MixedCoordinates.fit(ZMATRIX, [0, 1, 2, 3], molecules(20)), InternalCoordinates(ZMATRIX)
    y, ladj = mixed.call_and_ladj(molecules(1)[0])
    jacobian = torch.autograd.functional.jacobian(lambda y: internal(mixed.inv(y)), y)
    x_ladj = internal.call_and_ladj(mixed.inv(y))[1]
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], x_ladj - ladj, atol=1e-10, rtol=0)


def test_configuration_integral_of_three_springs_over_the_chart() -> None:
    """exp(−½ Σ|xᵢ−xⱼ|²) integrates to (2π)³ 3^(−3/2) V: the chart holds each molecule once, with its volume."""
    springs = torch.tensor([[0, -1, -1, -1], [1, 0, -1, -1], [2, 0, 1, -1]])
    frames = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.3, 0.8, 0]]) + 0.1 * torch.randn(
        9, 3, 3, generator=GENERATOR, dtype=torch.float64
    )
    mixed = MixedCoordinates.fit(springs, [0, 1, 2], frames)
    line = torch.linspace(-6, 6, 81, dtype=torch.float64)
    x, ladj = mixed.inv.call_and_ladj(torch.cartesian_prod(line, line, line))
    assert 0.1 < ladj.isinf().double().mean() < 0.9  # the border of the chart lies within the grid
    energy = (x - x.roll(1, -2)).square().sum((-1, -2)) / 2
    want = (2 * math.pi) ** 3 / 3**1.5 / (8 * math.pi**2)
    got = (ladj - energy).exp().sum().item() * 0.15**3
    assert got == pytest.approx(
        want, rel=2e-3
    )  # the volume vanishes with a kink at the border: h² of the trapezoid rule


def test_beyond_the_chart_a_molecule_has_another_alignment() -> None:
    mixed = MixedCoordinates.fit(ZMATRIX, list(range(6)), molecules(50))
    y = 3 * torch.randn(500, 12, generator=GENERATOR, dtype=torch.float64)
    x, ladj = mixed.inv.call_and_ladj(y)
    outside = ladj.isinf()
    assert 10 < outside.sum() < 490
    same = (mixed(x) - y).abs().amax(-1) < 1e-8
    assert torch.equal(same, ~outside)


@pytest.mark.parametrize("core", [[0, 1], [0, 1, 2, 2], [0, 1, 2, 6]], ids=["first rows", "twice", "no such atom"])
def test_malformed_core_is_refused(core: list[int]) -> None:
    with pytest.raises(InputError, match="core"):
        MixedCoordinates.fit(ZMATRIX, core, molecules(10))


def test_a_core_on_a_line_is_refused() -> None:
    frames = molecules(20)
    frames[:, :3] = torch.tensor([-0.1, 0.0, 0.15], dtype=torch.float64)[:, None] * frames[:, 3:4]
    with pytest.raises(InputError, match=r"core \[0, 1, 2\]: its atoms lie on a line"):
        MixedCoordinates.fit(ZMATRIX, [0, 1, 2], frames)
    MixedCoordinates.fit(ZMATRIX, [0, 1, 2, 4], frames)
    mixed = MixedCoordinates.fit(ZMATRIX, [0, 1, 2], molecules(20))
    with pytest.raises(InputError, match="on a line"):
        MixedCoordinates(ZMATRIX, [0, 1, 2], frames[0, :3], mixed.axes)
