"""Facts of the residues against the chemistry of RDKit, which knows their atoms, bonds and handedness."""

from itertools import pairwise

import pytest
import torch
from rdkit import Chem

from sciflow.proteins.frames import _IDEAL, all_atoms
from sciflow.proteins.residues import (
    AMINO_ACIDS,
    ATOMS,
    CHIS,
    GROUPS,
    HAS_TORSION,
    PARENTS,
    SYMMETRIC,
    THREE,
    UNKNOWN,
    aatypes,
    sequence,
)

TYPES = pytest.mark.parametrize("aa", range(20), ids=THREE[:20])


def _molecule(aa: int) -> tuple[Chem.Mol, list[str]]:
    mol = Chem.MolFromSequence(AMINO_ACIDS[aa])
    names = [atom.GetPDBResidueInfo().GetName().strip() for atom in mol.GetAtoms()]
    if THREE[aa] == "ILE":  # RDKit hangs CD1 on CG2; the ethyl group begins with CG1 (IUPAC-IUB 1970)
        names = [{"CG1": "CG2", "CG2": "CG1"}.get(name, name) for name in names]
    return mol, names


def _bonds(aa: int) -> set[frozenset[str]]:
    mol, names = _molecule(aa)
    return {frozenset((names[b.GetBeginAtomIdx()], names[b.GetEndAtomIdx()])) for b in mol.GetBonds()}


def _ideal_atoms(aa: int) -> torch.Tensor:
    """All atoms of a residue at the origin, stretched out but for proline's ring."""
    angles = torch.full((1, 5), torch.pi, dtype=torch.float64)
    if THREE[aa] == "PRO":
        angles[0, 1:3] = torch.tensor([0.5, -0.6])
    state = {"translation": torch.zeros(1, 3).double(), "rotation": torch.eye(4)[:1].double(), "torsions": angles}
    return all_atoms(state, torch.tensor([aa]), torch.tensor([True]))[0][0]


@TYPES
def test_atoms_are_those_of_the_molecule(aa: int) -> None:
    _, names = _molecule(aa)
    assert {*ATOMS[aa], "OXT"} == set(names)
    assert len(ATOMS[aa]) == len(set(ATOMS[aa])) == len(GROUPS[aa]) <= 14


@TYPES
def test_a_torsion_turns_all_that_is_behind_its_bond(aa: int) -> None:
    bonds = _bonds(aa)
    for k, quad in enumerate(CHIS[aa]):
        assert all(frozenset(pair) in bonds for pair in pairwise(quad))
        if THREE[aa] == "PRO":  # a ring has no side of a bond
            continue
        behind, rest = {quad[2]}, bonds - {frozenset(quad[1:3])}
        while more := {name for bond in rest if bond & behind for name in bond} - behind:
            behind |= more
        turned = {name for name, group in zip(ATOMS[aa], GROUPS[aa], strict=True) if group >= 2 + k}
        assert behind == turned | {quad[2]}


@TYPES
def test_ideal_bonds_are_those_of_the_molecule(aa: int) -> None:
    atoms, names = _ideal_atoms(aa), ATOMS[aa]
    near = torch.cdist(atoms, atoms)[: len(names), : len(names)]
    found = {
        frozenset((a, b)) for i, a in enumerate(names) for j, b in enumerate(names) if i < j and near[i, j] < 0.195
    }
    assert found == {bond for bond in _bonds(aa) if "OXT" not in bond}
    lengths = torch.tensor([near[names.index(a), names.index(b)] for a, b in map(tuple, found)])
    assert lengths.min() > 0.12  # C=O is 0.123
    assert lengths.max() < 0.184  # C–S is 0.181


@TYPES
def test_ideal_residues_have_the_handedness_of_life(aa: int) -> None:
    mol, names = _molecule(aa)
    expected = Chem.FindMolChiralCenters(mol)
    atoms = dict(zip(ATOMS[aa], _ideal_atoms(aa), strict=False))
    atoms["OXT"] = 2 * atoms["C"] - atoms["O"]
    conformer = Chem.Conformer(len(names))
    for i, name in enumerate(names):
        conformer.SetAtomPosition(i, (10 * atoms[name]).tolist())
    Chem.RemoveStereochemistry(mol)
    mol.AddConformer(conformer)
    Chem.AssignStereochemistryFrom3D(mol)
    assert Chem.FindMolChiralCenters(mol) == expected


def test_symmetric_torsions_are_those_that_half_a_turn_leaves_alike() -> None:
    for aa in range(20):
        for k in range(1, 5):
            slots = [i for i, group in enumerate(GROUPS[aa]) if group == 1 + k]
            here = _IDEAL.local[aa, slots]
            there = here * torch.tensor([1.0, -1.0, -1.0])
            elements = torch.tensor([ord(ATOMS[aa][i][0]) for i in slots])
            alike = (torch.cdist(here, there) < 0.003) & (elements == elements[:, None])  # other groups: 0.1 nm
            assert bool(SYMMETRIC[aa, k]) == (len(slots) > 0 and bool(alike.any(1).all())), (THREE[aa], k)


def test_flat_groups_are_flat() -> None:
    for letter in "DEFHNQRWY":
        aa = AMINO_ACIDS.index(letter)
        last = _IDEAL.local[aa, [group == max(GROUPS[aa]) for group in GROUPS[aa]] + [False] * (14 - len(GROUPS[aa]))]
        assert last[:, 2].abs().max() < 0.001  # 0.01 Å


def test_names_lead_to_types_and_back() -> None:
    assert sequence(aatypes(AMINO_ACIDS + "X")) == AMINO_ACIDS + "X"
    assert aatypes("B*x").tolist() == [UNKNOWN] * 3
    assert set(PARENTS.values()) <= set(THREE[:20])
    assert not PARENTS.keys() & set(THREE)
    assert HAS_TORSION.sum(1).tolist() == [1 + len(chis) for chis in CHIS]
