"""Measures of backbones: closed forms, rigid motions, mirror images, breaks and padding."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sciflow.manifolds.quaternion import rotate
from sciflow.proteins.conformation import Backbones, Measured, random_walk
from sciflow.proteins.ramachandran import Region
from sciflow.proteins.structure import Chain

Build = Callable[..., Chain]
MEASURES = (
    Backbones.ca_ca,
    Backbones.c_n,
    Backbones.ca_c_n,
    Backbones.c_n_ca,
    Backbones.broken,
    Backbones.phi_psi,
    Backbones.handedness,
    Backbones.clashes,
    Backbones.size,
)


def found(measured: Measured) -> Tensor:
    return measured.value[measured.there]


def of(*chains: Chain) -> Backbones:
    return Backbones.of([c.atoms[:, :3] for c in chains], [c.residue_index for c in chains])


def mirrored(chains: Backbones) -> Backbones:
    return Backbones(chains.atoms * torch.tensor([1.0, 1.0, -1.0]), chains.mask, chains.residue_index)


def test_a_built_chain_measures_as_it_was_built(build: Build) -> None:
    chain = of(build("A" * 30, phi=-70, psi=130))
    n = torch.ones(29, dtype=torch.float64)
    torch.testing.assert_close(found(chain.c_n()), 0.133 * n, atol=2e-3, rtol=0)  # ideal frames move N by as much
    torch.testing.assert_close(torch.rad2deg(found(chain.ca_c_n())), 117 * n, atol=2.0, rtol=0)
    torch.testing.assert_close(torch.rad2deg(found(chain.c_n_ca())), 121 * n, atol=2.0, rtol=0)
    torch.testing.assert_close(found(chain.ca_ca()), 0.38 * n, atol=3e-3, rtol=0)
    angles = torch.rad2deg(found(chain.phi_psi()))
    expected = torch.tensor([-70.0, 130.0], dtype=torch.float64).expand(28, 2)
    torch.testing.assert_close(angles, expected, atol=0.5, rtol=0)


@pytest.mark.parametrize("measure", MEASURES)
def test_rigid_motions_and_padding_change_nothing(build: Build, measure: Callable[[Backbones], Measured]) -> None:
    long, short = build("A" * 40), build("A" * 25, phi=-120, psi=120)
    q = torch.tensor([0.5, -0.5, 0.1, 0.7], dtype=torch.float64)
    together = of(long, short)
    atoms = rotate(q / q.norm(), together.atoms) + torch.tensor([3.0, -2.0, 1.0])
    moved = Backbones(torch.where(together.mask[..., None, None], atoms, 50.0), together.mask, together.residue_index)
    alone = torch.cat([found(measure(of(long))), found(measure(of(short)))])
    torch.testing.assert_close(found(measure(moved)), alone, atol=1e-9, rtol=0)


def test_a_gap_in_the_numbers_is_no_bond(build: Build) -> None:
    chain = build("A" * 20)
    atoms, index = chain.atoms[:, :3].clone(), chain.residue_index.clone()
    atoms[10:] += 1.0
    for numbers, breaks, bonds in ((index, 1, 19), (index + 5 * (index > 10), 0, 18)):
        broken = Backbones.of([atoms], [numbers]).broken()
        assert (found(broken).sum(), int(broken.there.sum())) == (breaks, bonds)


def test_clashes_are_counted_once_and_not_between_neighbours() -> None:
    """On a line with steps of 0.1 nm, residues i and i + 3 are within 0.36 nm, and no others that count."""
    atoms = torch.zeros(12, 3, 3)
    atoms[:, :, 0] = 0.1 * torch.arange(12)[:, None]
    assert found(Backbones.of([atoms]).clashes()).sum() == 9


def test_size_of_a_rod() -> None:
    n, step = 50, 0.15
    atoms = torch.zeros(n, 3, 3, dtype=torch.float64)
    atoms[:, :, 2] = step * torch.arange(n, dtype=torch.float64)[:, None]
    expected = step * math.sqrt((n**2 - 1) / 12) / n**0.38
    assert found(Backbones.of([atoms]).size()).item() == pytest.approx(expected, rel=1e-12)


def test_dssp_knows_a_helix_and_padding(build: Build) -> None:
    kinds = of(build("A" * 30), build("A" * 20, phi=-140, psi=160)).secondary_structure()
    assert (kinds[0, 2:-2] == 0).all()
    assert (kinds[1, :20] == 2).all()  # a lone strand has no partner
    assert (kinds[1, 20:] == -1).all()


def test_mirror_images_are_noticed(build: Build) -> None:
    helix = of(build("A" * 30))
    assert found(helix.handedness()).mean() == 1
    assert len(found(helix.handedness())) == 27
    assert found(mirrored(helix).handedness()).mean() == 0
    assert not Region.of(helix).inside(found(mirrored(helix).phi_psi())).any()


def test_region_holds_what_it_says() -> None:
    """A density, 98 % of the angles it was made of, and of uniform angles its area, within the noise of 20 000."""
    g = torch.Generator().manual_seed(0)
    walk = random_walk(Backbones.of([torch.zeros(400, 3, 3)] * 60), g)
    region = Region.of(walk)
    assert float(region.density.sum()) * (2 * math.pi / 72) ** 2 == pytest.approx(1, abs=1e-5)
    angles = 2 * math.pi * torch.rand(20000, 2, generator=g)
    assert float(region.inside(angles).double().mean()) == pytest.approx(region.area, abs=0.01)
    torch.testing.assert_close(region.inside(angles), region.inside(angles + 2 * math.pi))
    held = region.inside(found(walk.phi_psi())).double().mean()
    assert float(held) == pytest.approx(0.98, abs=0.005)


def test_region_goes_around_the_torus(build: Build) -> None:
    region = Region.of(of(build("A" * 40, phi=-60, psi=179)))
    angles = torch.deg2rad(torch.tensor([[-60.0, 176.0], [-60.0, -176.0], [-60.0, 0.0]]))
    assert region.density[24, [0, 1]].min() > 0.1 * region.density.max()
    assert region.inside(angles).tolist()[::2] == [True, False]


def test_random_walks_have_steps_and_nothing_else() -> None:
    like = Backbones.of([torch.zeros(n, 3, 3) for n in (80, 50)])
    walk = random_walk(like, torch.Generator().manual_seed(0))
    torch.testing.assert_close(found(walk.ca_ca()), torch.full((128,), 0.38), atol=1e-5, rtol=0)
    assert ((found(walk.c_n()) - 0.1329).abs() < 0.01).double().mean() < 0.1
    assert torch.equal(walk.lengths, torch.tensor([80, 50]))
