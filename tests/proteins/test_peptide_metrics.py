"""Metrics of peptides in pockets: closed forms, symmetries, and floors that follow from counting."""

import math
from dataclasses import replace

import pytest
import torch

from sciflow.manifolds import SO3
from sciflow.manifolds.quaternion import rotate
from sciflow.proteins.frames import dihedral, follows
from sciflow.proteins.peptide_metrics import Bound, Hidden, Library, built, peptide_metrics, rotamers
from sciflow.proteins.residues import AMINO_ACIDS, HAS_ATOM, HAS_TORSION, aatypes
from sciflow.proteins.tensors import residues
from sciflow.rng import step_generator

ALL = Hidden(frames=True, torsions=True, sequence=True)
LIBRARY = Library(torch.zeros(20, 4, dtype=torch.float64), torch.full((20,), 0.05))


def helix(letters: str, phi: float = -57, psi: float = -47) -> torch.Tensor:
    """Backbone N, CA, C (3L, 3) [nm] of ideal bonds at φ, ψ [°]: each atom placed from three before it."""
    angles = [math.radians(a) for a in (111.0, 116.6, 121.7)]  # at CA, C, N
    bonds, turns = [0.1458, 0.1525, 0.1329], [math.radians(a) for a in (psi, 180.0, phi)]
    atoms = [torch.tensor(p, dtype=torch.float64) for p in ([0.0, 0, 0], [0.1458, 0, 0])]
    atoms.append(atoms[1] + 0.1525 * torch.tensor([-math.cos(angles[0]), math.sin(angles[0]), 0], dtype=torch.float64))
    for i in range(3, 3 * len(letters)):
        a, b, c = atoms[-3:]
        k = i % 3  # 0 places N (turn ψ, angle at C), 1 CA (turn ω, angle at N), 2 C (turn φ, angle at CA)
        bond, angle, turn = bonds[k - 1], angles[(1, 2, 0)[k]], turns[k]
        along = (c - b) / (c - b).norm()
        normal = torch.linalg.cross(b - a, along)
        normal = normal / normal.norm()
        frame = torch.stack([-along, torch.linalg.cross(normal, along), normal], 1)
        local = torch.tensor([math.cos(angle), math.sin(angle) * math.cos(turn), math.sin(angle) * math.sin(turn)])
        atoms.append(c + bond * frame @ local.double())
    return torch.stack(atoms)


def bound(letters: str = "AFDERTWYK", pocket: int = 6, seed: int = 0, **angles: float) -> Bound:
    """A helix beside residues at random, side chains at random."""
    g = step_generator(seed)
    aatype = torch.cat([aatypes(letters), aatypes("L" * pocket)])
    n, p = len(aatype), len(letters)
    atoms = torch.randn(n, 14, 3, generator=g, dtype=torch.float64) * 0.2
    atoms[:p, :3] = helix(letters, **angles).reshape(p, 3, 3)
    atoms[:p, 3:] += atoms[:p, 1:2]
    atoms[p:] += torch.randn(pocket, 1, 3, generator=g, dtype=torch.float64) * 0.5
    torsions = (torch.rand(n, 5, generator=g, dtype=torch.float64) * 2 - 1) * math.pi
    peptide = torch.arange(n) < p
    return Bound(aatype, atoms, HAS_ATOM[aatype], torsions, HAS_TORSION[aatype], torch.arange(n), peptide)


def moved(b: Bound, by: torch.Tensor, turn: torch.Tensor | None = None) -> Bound:
    turned = b.atoms if turn is None else rotate(turn, b.atoms)
    return replace(b, atoms=torch.where(b.peptide[:, None, None], turned + by, b.atoms))


def test_crystals_are_their_own_reference() -> None:
    natives = [bound(seed=i) for i in range(3)]
    metrics = peptide_metrics([*natives, *natives], natives, ALL, LIBRARY)
    for metric in metrics.values():
        assert metric.reference is None or metric.value == pytest.approx(metric.reference, abs=1e-9)
    perfect = {name: metrics[name].value for name in ("contact_recovery", "contact_precision", "recovery")}
    assert set(perfect.values()) == {1.0}
    assert metrics["rmsd"].value == 0
    assert metrics["chi1_mae"].value == 0
    assert metrics["chi_within_20"].value == 1
    assert metrics["peptide_bonds_valid"].value == 1


def test_a_moved_peptide_is_as_far_as_it_was_moved_and_superposes() -> None:
    native = bound()
    shifted = moved(native, torch.tensor([0.3, 0.4, 1.2], dtype=torch.float64))
    metrics = peptide_metrics([shifted], [native], ALL, LIBRARY)
    assert metrics["rmsd"].value == pytest.approx(1.3)
    turn = SO3().random(1, generator=step_generator(1), dtype=torch.float64)
    turned = peptide_metrics([moved(native, torch.ones(3), turn)], [native], ALL, LIBRARY)
    for found in (metrics, turned):  # kabsch is exact to the root of rounding
        assert found["rmsd_superposed"].value == pytest.approx(0, abs=1e-7)
        assert found["basin_agreement"].value == found["peptide_bonds_valid"].value == 1


def test_contacts_are_pairs_of_beta_carbons() -> None:
    native = bound("AG", pocket=3)
    atoms = torch.full_like(native.atoms, 50.0)
    atoms[:2, 1], atoms[0, 4] = 0.0, 0.0  # the glycine has Cα only
    atoms[1, 1] = torch.tensor([10.0, 0, 0])
    atoms[2, 4, :], atoms[3, 4, :], atoms[4, 4, :] = (torch.tensor([x, 0.0, 0.0]) for x in (0.79, 10.79, 0.81))
    native = replace(native, atoms=atoms)
    assert native.contacts().tolist() == [[True, False, False], [False, True, False]]
    away = atoms.clone()
    away[1, 1, 0] = 0.0  # loses its own contact for one that the crystal lacks
    found = peptide_metrics([replace(native, atoms=away)], [native], ALL, LIBRARY)
    assert (found["contact_recovery"].value, found["contact_precision"].value) == (0.5, 0.5)


@pytest.mark.parametrize(("phi", "psi", "basin"), [(-57, -47, 0), (-120, 130, 1), (-65, 145, 1), (57, 47, 2)])
def test_basins_of_ideal_chains(phi: float, psi: float, basin: int) -> None:
    b = bound("AAAAAA", phi=phi, psi=psi)
    assert b.basins().tolist() == [-1, basin, basin, basin, basin, -1]
    broken = replace(b, residue_index=torch.tensor([0, 1, 2, 5, 6, 7, *range(6)]))
    assert broken.basins().tolist() == [-1, basin, -1, -1, basin, -1]
    assert len(broken.bonds()) == 4


def test_half_turns_of_symmetric_groups_are_no_error() -> None:
    native = bound("FYDERN")
    half = native.torsions.clone()
    for i, k in ((0, 2), (1, 2), (2, 2), (3, 3)):
        half[i, k] += math.pi
    assert peptide_metrics([replace(native, torsions=half)], [native], ALL, LIBRARY)["chi2_mae"].value < 1e-9
    half[5, 2] += math.pi  # asparagine's amide is not symmetric: one of the six χ2
    metrics = peptide_metrics([replace(native, torsions=half)], [native], ALL, LIBRARY)
    assert metrics["chi2_mae"].value == pytest.approx(180 / 6)
    assert metrics["chi3_mae"].value < 1e-9
    assert metrics["chi_within_20"].value == pytest.approx(1 - 1 / metrics["chi_within_20"].n)


def test_side_chains_are_compared_where_the_type_is_right() -> None:
    native = bound("KKKK")
    other = replace(native, aatype=torch.cat([aatypes("KKEE"), native.aatype[4:]]), torsions=native.torsions + 0.5)
    metrics = peptide_metrics([other], [native], ALL, LIBRARY)
    assert metrics["recovery"].value == 0.5
    assert metrics["chi1_mae"].n == 2
    assert metrics["chi1_mae"].value == pytest.approx(math.degrees(0.5))


def test_floors_follow_from_counting() -> None:
    natives = [bound("PPKA"), bound("PFDL", seed=1)]
    library = Library(torch.ones(20, 4), torch.eye(20)[AMINO_ACIDS.index("K")])
    metrics = peptide_metrics([bound("AAAA"), bound("AAAA")], natives, ALL, library)
    assert metrics["recovery"].floor == pytest.approx(3 / 8)
    assert metrics["recovery_background"].value == pytest.approx(1 / 8)
    assert metrics["chi1_uniform"].value == 90
    assert metrics["chi2_uniform"].value == pytest.approx((90 * 5 + 45 * 2) / 7)  # PPK, P, L and the symmetric F, D
    turns = torch.cat([(b.torsions - 1)[b.torsion_mask[:, 1] & b.peptide, 1] for b in natives])
    expected = torch.atan2(turns.sin(), turns.cos()).abs().mean().rad2deg()
    assert peptide_metrics(natives, natives, ALL, library)["chi1_mae"].floor == pytest.approx(float(expected))
    assert metrics["rmsd"].floor is not None
    assert metrics["rmsd"].floor > 0


def test_the_uniform_floor_is_the_mean_error_of_uniform_angles() -> None:
    native = bound("FEDRKMFEDRKM" * 50)
    g = step_generator(3)
    drawn = replace(
        native, torsions=(torch.rand(native.torsions.shape, generator=g, dtype=torch.float64) * 2 - 1) * math.pi
    )
    metrics = peptide_metrics([drawn], [native], Hidden(False, True, False), LIBRARY)
    for k in range(1, 5):  # errors are uniform: five standard errors
        found = metrics[f"chi{k}_mae"]
        assert abs(found.value - metrics[f"chi{k}_uniform"].value) < 5 * 52 / found.n**0.5


def test_a_task_is_judged_by_what_it_hides() -> None:
    natives = [bound()]
    packing = peptide_metrics(natives, natives, Hidden(frames=False, torsions=True, sequence=False), LIBRARY)
    assert "rmsd" not in packing
    assert "recovery" not in packing
    assert {"chi1_mae", "clashes"} <= set(packing)
    docking = peptide_metrics(natives, natives, Hidden(frames=True, torsions=True, sequence=False), LIBRARY)
    assert "rmsd" in docking
    assert "recovery" not in docking


def test_clashes_count_pairs_of_heavy_atoms() -> None:
    native = bound("GG", pocket=1)
    atoms = torch.arange(3 * 14, dtype=torch.float64).reshape(3, 14, 1).expand(3, 14, 3).clone()
    atoms[2, 0] = atoms[0, 0] + 0.1  # 0.17 nm
    atoms[2, 13] = atoms[1, 3]  # leucine has no such atom
    assert replace(native, atoms=atoms).clashes() == 1


def test_errors_are_those_of_complexes_not_of_samples() -> None:
    native = bound()
    natives = [native] * 64
    shifts = torch.randn(64, generator=step_generator(5), dtype=torch.float64)
    once = [moved(native, torch.tensor([float(s), 0, 0])) for s in shifts]
    one, many = (peptide_metrics(once * k, natives, ALL, LIBRARY)["rmsd"] for k in (1, 4))
    assert many.error == pytest.approx(one.error)
    assert many.value == pytest.approx(one.value)
    assert one.error == pytest.approx(float(shifts.abs().std()) / 8, rel=0.2)  # 400 resamplings


def test_the_commonest_rotamer_is_a_mean_within_its_well() -> None:
    g = step_generator(2)
    wells = torch.tensor([[-1.1, 3.0], [-1.1, 3.0], [-1.1, 3.0], [1.0, 3.0], [1.0, -1.2]], dtype=torch.float64)
    chi = wells.repeat(200, 1) + 0.05 * torch.randn(1000, 2, generator=g, dtype=torch.float64)
    torsions = torch.zeros(1000, 5, dtype=torch.float64)
    torsions[:, 1:3] = chi
    kind = AMINO_ACIDS.index("L")
    aatype = torch.full((1000,), kind)
    mask = HAS_TORSION[aatype]
    mask[:100, 2] = False  # such residues are left out whole
    modes = rotamers(aatype, torsions, mask)
    torch.testing.assert_close(modes[kind, :2], wells[0], atol=0.01, rtol=0)
    assert not modes[kind, 2:].any()
    assert not modes[:kind].any()


def test_the_floor_of_packing_is_the_crystal_where_its_rotamers_are_the_commonest(build) -> None:
    chains = [build("FDERKMWY"), build("LLLLLLLL")]
    parts = residues(chains)
    atoms = torch.cat([chain.atoms + 0.35 * i for i, chain in enumerate(chains)])
    torsions, peptide = parts["torsions"].double(), parts["chain"] == 0
    native = Bound(
        parts["aatype"], atoms, HAS_ATOM[parts["aatype"]], torsions, parts["torsion_mask"], torch.arange(16), peptide
    )
    modes = torch.zeros(20, 4, dtype=torch.float64)
    modes[native.aatype[peptide]] = torsions[peptide, 1:]
    library = Library(modes, LIBRARY.background)
    metrics = peptide_metrics([native], [native], Hidden(frames=False, torsions=True, sequence=False), library)
    assert metrics["clashes"].reference == metrics["clashes"].floor > 0
    assert metrics["chi1_mae"].floor == pytest.approx(0, abs=1e-3)  # float32 torsions
    turned = replace(native, torsions=torsions.index_fill(1, torch.tensor(0), 0.5))  # O lies by the frames, not by ψ
    assert (
        peptide_metrics([turned], [turned], Hidden(False, True, False), library)["clashes"].floor
        == metrics["clashes"].floor
    )
    other = peptide_metrics([native], [native], Hidden(False, True, False), Library(-modes, LIBRARY.background))
    assert other["clashes"].floor != metrics["clashes"].floor


@pytest.mark.parametrize("psi", [-45, 140])
def test_the_next_residue_places_the_oxygen_whatever_the_torsion(build, psi: float) -> None:
    """A peptide bond is a plane: O, C, N and Cα of the next residue; of the last one ψ says where O is."""
    chain = build("ACDEFG", psi=psi)
    parts = residues([chain])
    state = {name: parts[name].double() for name in ("translation", "rotation", "torsions")}
    joined = follows(torch.arange(6), parts["chain"], torch.ones(6, dtype=torch.bool))
    atoms, _ = built(state, parts["aatype"], chain.atom_mask.any(1), joined)
    torch.testing.assert_close(atoms, chain.atoms, atol=1e-3, rtol=0)  # nm: of ideal backbones
    state["torsions"][:, 0] = 2.0
    other, _ = built(state, parts["aatype"], chain.atom_mask.any(1), joined)
    assert torch.equal(other[:-1], atoms[:-1])
    assert (other[-1, 3] - atoms[-1, 3]).norm() > 0.01  # nm
    plane = dihedral(other[:-1, 3], other[:-1, 2], other[1:, 0], other[1:, 1])
    assert plane.abs().max() < 0.05
