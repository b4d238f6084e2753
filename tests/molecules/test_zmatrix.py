"""Z-matrices of peptides: every atom follows its references, φ and ψ appear as themselves, chirality is kept."""

import mdtraj
import numpy as np
import pytest
import torch
from openmm import app, unit

from sciflow.errors import InputError
from sciflow.flows import InternalCoordinates
from sciflow.molecules.system import from_sequence
from sciflow.molecules.zmatrix import zmatrix

SEQUENCES = ["ACE-ALA-NME", "ACE-ILE-PRO-NME", "GLY-TRP-HIS"]


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_rows_follow_their_references_and_bonds(sequence):
    molecule = from_sequence(sequence)
    z = zmatrix(molecule.topology)
    bonds = {frozenset((a.index, b.index)) for a, b in molecule.topology.bonds()}
    assert sorted(z[:, 0].tolist()) == list(range(molecule.n_atoms))
    placed: set[int] = set()
    for k, (atom, *references) in enumerate(z.tolist()):
        references = references[: min(k, 3)]
        assert set(references) <= placed
        assert len(set(references)) == len(references)
        assert k == 0 or frozenset((atom, references[0])) in bonds
        placed.add(atom)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_round_trip_up_to_a_proper_rotation(sequence):
    molecule = from_sequence(sequence)
    x = torch.as_tensor(molecule.positions)[None] + 0.005 * torch.randn(
        4, molecule.n_atoms, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    transform = InternalCoordinates(zmatrix(molecule.topology))
    back = transform.inv(transform(x))
    # equal distances, and equal handedness at every centre: the same molecule, not its mirror image
    torch.testing.assert_close(torch.cdist(back, back), torch.cdist(x, x), atol=1e-7, rtol=0)
    assert molecule.stereochemistry.kept(back).all()
    assert not molecule.stereochemistry.kept(-back).any()


def test_phi_and_psi_are_coordinates():
    molecule = from_sequence("ACE-ALA-NME")
    z = zmatrix(molecule.topology)
    torsions = InternalCoordinates(z)(torch.as_tensor(molecule.positions)[None])[0, -(molecule.n_atoms - 3) :]
    trajectory = mdtraj.Trajectory(molecule.positions[None], mdtraj.Topology.from_openmm(molecule.topology))
    for angle in (mdtraj.compute_phi(trajectory)[1], mdtraj.compute_psi(trajectory)[1]):
        assert np.abs(torsions.numpy() - angle[0, 0]).min() < 1e-5


def test_l_amino_acids_are_built():
    molecule = from_sequence("ACE-ALA-ILE-NME")
    atoms = {(a.residue.name, a.name): a.index for a in molecule.topology.atoms()}
    x = molecule.positions
    for residue in ("ALA", "ILE"):
        n, ca, c, cb = (x[atoms[residue, name]] for name in ("N", "CA", "C", "CB"))
        assert np.dot(np.cross(n - ca, c - ca), cb - ca) > 0  # the CORN rule


def test_two_molecules_are_refused():
    one = from_sequence("ACE-ALA-NME")
    positions = one.positions * unit.nanometer
    modeller = app.Modeller(one.topology, positions)
    modeller.add(one.topology, positions)
    with pytest.raises(InputError, match="one molecule"):
        zmatrix(modeller.topology)


def test_cis_peptide_bonds_leave_the_target():
    molecule = from_sequence("ACE-ALA-NME")
    assert len(molecule.stereochemistry.peptide_bonds) == 2
    transform = InternalCoordinates(zmatrix(molecule.topology))
    y = transform(torch.as_tensor(molecule.positions)[None])
    n = molecule.n_atoms
    z = zmatrix(molecule.topology).tolist()
    for row in molecule.stereochemistry.peptide_bonds.tolist():
        turned = y.clone()
        for k, (_, bonded, angle, dihedral) in enumerate(z[3:]):
            sibling = any(r[0] == dihedral and r[1] == bonded for r in z)
            if {bonded, angle} == set(row[1:3]) and not sibling:
                turned[:, 2 * n - 3 + k] += torch.pi
        assert molecule.stereochemistry.kept(transform.inv(y)).all()
        assert not molecule.stereochemistry.kept(transform.inv(turned)).any()
