"""Every transform of sciflow.flows, held to the same laws."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sciflow.flows import (
    AffineCoupling,
    AutoregressiveAffine,
    BodyFrame,
    Composed,
    InternalCoordinates,
    MixedCoordinates,
    ModuleTransform,
    ResidualBlock,
    Rotors,
    SmoothCoupling,
    SplineCoupling,
    Unbound,
    Whiten,
    smooth_couplings,
    spline_couplings,
)
from sciflow.manifolds import wrap
from sciflow.testing import assert_transform_laws

GENERATOR = torch.Generator().manual_seed(0)
CIRCULAR = torch.tensor([True, False, False, True, False])
MASK = torch.tensor([True, True, False, False, True])
ZMATRIX = torch.tensor([[0, -1, -1, -1], [1, 0, -1, -1], [2, 0, 1, -1], [3, 1, 0, 2], [4, 1, 0, 3], [5, 2, 0, 1]])
NUMBERS, ANGLES = torch.zeros(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool)


def perturbed(transform: ModuleTransform, scale: float = 0.1) -> ModuleTransform:
    """Away from the identity, where gradients reach all of the network."""
    transform.double()
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=GENERATOR, dtype=parameter.dtype)
    return transform


def coupling(circular: Tensor = CIRCULAR, mask: Tensor = MASK) -> ModuleTransform:
    return perturbed(SplineCoupling(circular, mask, bins=5, bound=3.0, width=8, depth=1, generator=GENERATOR))


def smooth(circular: Tensor = CIRCULAR, mask: Tensor = MASK) -> ModuleTransform:
    return perturbed(SmoothCoupling(circular, mask, bins=5, bound=3.0, width=8, depth=1, generator=GENERATOR))


def autoregressive(**settings: Any) -> ModuleTransform:
    return perturbed(AutoregressiveAffine(4, 3, width=8, depth=1, heads=2, tolerance=0.0, **settings))


def seams_edges_and_tails() -> Tensor:
    """Normal and uniform points, then the seam at ±π, the edges of the box at ±3, and far outside."""
    x = 2 * torch.randn(12, 5, generator=GENERATOR, dtype=torch.float64)
    x[:, CIRCULAR] = 2 * math.pi * torch.rand(12, 2, generator=GENERATOR, dtype=torch.float64) - math.pi
    for row, (angle, number) in enumerate(
        [
            (math.pi, 3.0),
            (-math.pi + 1e-12, -3.0),
            (0.0, 0.0),
            (math.pi - 1e-12, 3.0 - 1e-12),
            (1.0, 20.0),
            (-2.0, -20.0),
        ]
    ):
        x[row] = torch.where(CIRCULAR, angle, number)
    return x


def frames() -> Tensor:
    mixing = torch.randn(5, 5, generator=GENERATOR, dtype=torch.float64) + 2 * torch.eye(5)
    return torch.randn(64, 5, generator=GENERATOR, dtype=torch.float64) @ mixing


def internal_coordinates() -> Tensor:
    """6 atoms: 5 bonds, 4 angles, 3 torsions, some at their ends."""
    y = torch.rand(8, 12, generator=GENERATOR, dtype=torch.float64)
    y = torch.cat((0.1 + 0.1 * y[:, :5], 0.5 + 2 * y[:, 5:9], 6 * y[:, 9:] - 3), -1)
    y[0, 9:], y[1, 9:], y[2, 9:], y[3, 5:9] = math.pi, -math.pi + 1e-9, 0.0, 3.1
    return y


def unbound(centre: list[float], circular: Tensor) -> Unbound:
    return Unbound(torch.tensor(centre).double(), circular, (1, 4, 4, 3))


def mixed(core: list[int]) -> MixedCoordinates:
    """A core in its own frame and the rest on it; the law test takes molecules within the core's chart."""
    return MixedCoordinates.fit(ZMATRIX, core, molecules()[:1] + 0.2 * torch.cat([molecules() for _ in range(5)]))


def molecules() -> Tensor:
    return torch.randn(4, 6, 3, generator=GENERATOR, dtype=torch.float64)


def rigid_motions(x: Tensor) -> Tensor:
    """Translations, and rotations about the first atom: (N, 3, 6)."""
    axes = torch.eye(3, dtype=x.dtype)
    translations = axes.expand(len(x), 3, 3)
    rotations = torch.stack([torch.linalg.cross(axis.expand_as(x), x - x[0]) for axis in axes], -1)
    return torch.cat((translations, rotations), -1)


def rotors() -> Rotors:
    return Rotors(torch.tensor([[0, 2, 1]]), torch.tensor([0.4], dtype=torch.float64), (0, 5, 4, 3))


def turned() -> Tensor:
    """Atoms in their order round the axis: 0 < δ₂ < δ₃ < 2π, in the domain of `rotors`, up to its ends."""
    y = internal_coordinates()
    offsets = 2 * math.pi * torch.rand(8, 2, generator=GENERATOR, dtype=torch.float64).sort(-1).values
    place = math.pi / 3 * torch.linspace(-1 + 1e-9, 1 - 1e-9, 8, dtype=torch.float64)
    y[:, 9], y[:, 10:] = wrap(0.4 + place - offsets.sum(-1) / 3), wrap(offsets.flip(-1))
    return y


TORSIONS = torch.tensor([False] * 9 + [True] * 3)
CASES: dict[str, Callable[[], tuple]] = {
    "affine": lambda: (perturbed(AffineCoupling(MASK, width=8)), frames()),
    "autoregressive": lambda: (autoregressive(), molecules().flatten(1)[:, :12]),
    "autoregressive, reversed, in chunks": lambda: (autoregressive(reverse=True, chunk=3), internal_coordinates()),
    "body frame": lambda: (BodyFrame(torch.tensor([2, 0, 5, 1, 4, 3])), molecules(), None, rigid_motions),
    "internal coordinates": lambda: (InternalCoordinates(ZMATRIX), molecules(), None, rigid_motions),
    "mixed coordinates": lambda: (mixed([2, 0, 4, 1]), molecules(), None, rigid_motions),
    "mixed coordinates, plane core": lambda: (mixed([0, 1, 2]), molecules(), None, rigid_motions),
    "mixed coordinates, core only": lambda: (mixed(list(range(6))), molecules(), None, rigid_motions),
    "unbound, linear": lambda: (unbound([3.0, 0.1, -1.0], NUMBERS), internal_coordinates()[3:]),
    "unbound, circular": lambda: (unbound([0.0, 0.0, 0.0], ANGLES), internal_coordinates(), TORSIONS),
    "rotors": lambda: (rotors(), turned(), TORSIONS),
    "whiten": lambda: (Whiten.fit(frames(), CIRCULAR), seams_edges_and_tails(), CIRCULAR),
    "coupling": lambda: (coupling(), seams_edges_and_tails(), CIRCULAR),
    "coupling, complement": lambda: (coupling(mask=~MASK), seams_edges_and_tails(), CIRCULAR),
    "coupling, numbers": lambda: (coupling(torch.zeros(5, dtype=torch.bool)), seams_edges_and_tails()),
    "coupling, angles": lambda: (coupling(torch.ones(5, dtype=torch.bool)), seams_edges_and_tails(), ~NUMBERS.any()),
    "smooth": lambda: (smooth(), seams_edges_and_tails(), CIRCULAR),
    "smooth, numbers": lambda: (smooth(torch.zeros(5, dtype=torch.bool)), seams_edges_and_tails()),
    "smooth, angles": lambda: (smooth(torch.ones(5, dtype=torch.bool)), seams_edges_and_tails(), ~NUMBERS.any()),
    "smooth stack": lambda: (
        perturbed(smooth_couplings(CIRCULAR, 3, 8, 4, depth=1)),
        seams_edges_and_tails(),
        CIRCULAR,
    ),
    "residual": lambda: (perturbed(ResidualBlock(5, 8)), seams_edges_and_tails()),
    "residual, strained": lambda: (perturbed(ResidualBlock(5, 32, lipschitz=0.99), 10), seams_edges_and_tails()),
    "stack": lambda: (perturbed(spline_couplings(CIRCULAR, 3, 8, 4, depth=1)), seams_edges_and_tails(), CIRCULAR),
    "composed": lambda: (Composed(Whiten.fit(frames(), CIRCULAR), coupling()), seams_edges_and_tails(), CIRCULAR),
}


@pytest.mark.parametrize("case", CASES)
def test_transform_laws(case: str) -> None:
    transform, x, *rest = CASES[case]()
    circular, orbit = (*rest, None, None)[:2]
    assert_transform_laws(transform, x, circular=circular, orbit=orbit)


def test_a_circle_is_closed_at_the_seam_of_its_spline() -> None:
    layer = coupling()
    x = seams_edges_and_tails()[:1].repeat(2, 1)
    x[:, 0] = wrap(math.pi - layer.shift[0] + torch.tensor([-1e-13, 1e-13]))
    y, ladj = layer.call_and_ladj(x)
    torch.testing.assert_close(wrap(y[0] - y[1]), torch.zeros(5).double(), atol=1e-11, rtol=0)
    torch.testing.assert_close(ladj[0], ladj[1], atol=1e-10, rtol=0)
