"""Small proteins made here: chains with real bonds, of any sequence."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sciflow.proteins.frames import all_atoms, axes, frames
from sciflow.proteins.residues import aatypes
from sciflow.proteins.structure import Chain

Build = Callable[..., Chain]


def _next(a: Tensor, b: Tensor, c: Tensor, length: float, angle: float, torsion: float) -> Tensor:
    """The atom bonded to c, by its internal coordinates (nm, degrees)."""
    angle, torsion = math.radians(angle), math.radians(torsion)
    local = [-math.cos(angle), math.sin(angle) * math.cos(torsion), math.sin(angle) * math.sin(torsion)]
    return c + length * axes(a, b, c) @ torch.tensor(local, dtype=torch.float64)


@pytest.fixture
def build() -> Build:
    """``build("ACDE", id="B", name="1abc", phi=-60, psi=-45)``: a helix by default, with torsions drawn by the seed."""

    def build(letters: str, id: str = "A", name: str = "made", phi: float = -60, psi: float = -45) -> Chain:
        trace = [torch.tensor(p, dtype=torch.float64) for p in ([-0.05, 0.136, 0], [0, 0, 0], [0.152, 0, 0])]
        for _ in letters[1:]:
            for length, angle, torsion in ((0.133, 117, psi), (0.146, 121, 180), (0.152, 111, phi)):
                trace.append(_next(*trace[-3:], length, angle, torsion))
        translation, rotation = frames(*torch.stack(trace).unflatten(0, (-1, 3)).unbind(1))
        angles = 2 * torch.pi * torch.rand(len(letters), 5, generator=torch.Generator().manual_seed(1)).double()
        angles[:, 0] = math.radians(psi)
        state = {"translation": translation, "rotation": rotation, "torsions": angles}
        aatype = aatypes(letters)
        atoms, mask = all_atoms(state, aatype, torch.ones(len(letters), dtype=torch.bool))
        return Chain(name, id, aatype, atoms, mask, torch.arange(1, len(letters) + 1))

    return build
