"""Molecules from sequences and files: what is built, and what is refused in one line."""

import numpy as np
import pytest
import torch

from sciflow.boltzmann import OpenMMEnergy
from sciflow.errors import InputError
from sciflow.molecules.system import from_pdb, from_sequence


@pytest.mark.parametrize(("sequence", "atoms"), [("ACE-ALA-NME", 22), ("ACE-ALA-ALA-NME", 32), ("ALA-ALA", 23)])
def test_peptides_have_their_atoms(sequence, atoms):
    assert from_sequence(sequence).n_atoms == atoms


def test_every_amino_acid_is_built():
    from sciflow.molecules.system import _ONE_LETTER

    molecule = from_sequence("ACE-" + "-".join(_ONE_LETTER) + "-NME")
    assert [r.name for r in molecule.topology.residues()][1:-1] == list(_ONE_LETTER)
    assert np.isfinite(molecule.positions).all()


def test_a_pdb_file_gives_back_the_molecule(tmp_path):
    built = from_sequence("ACE-ALA-NME")
    built.write_pdb(tmp_path / "a.pdb")
    read = from_pdb(tmp_path / "a.pdb")
    assert [a.name for a in read.topology.atoms()] == [a.name for a in built.topology.atoms()]
    x = torch.as_tensor(built.positions)[None]
    energies = [OpenMMEnergy(m.system, 300.0).energy(x) for m in (built, read)]
    torch.testing.assert_close(*energies)


@pytest.mark.parametrize("sequence", ["ACE-XYZ-NME", "NME-ALA", "ACE-NME", "", "ALA-ACE", "A", "ALA"])
def test_bad_sequences_are_one_line(sequence):
    with pytest.raises(InputError, match="sequence=") as error:
        from_sequence(sequence)
    assert "\n" not in str(error.value)


def test_unknown_residue_is_named(tmp_path):
    built = from_sequence("ACE-ALA-NME")
    built.write_pdb(tmp_path / "a.pdb")
    (tmp_path / "b.pdb").write_text((tmp_path / "a.pdb").read_text().replace("ALA", "QQQ"))
    with pytest.raises(InputError, match=r"b\.pdb.*QQQ"):
        from_pdb(tmp_path / "b.pdb")


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.pdb"):
        from_pdb(tmp_path / "none.pdb")
    (tmp_path / "text.pdb").write_text("this is not a structure\n")
    with pytest.raises(InputError, match=r"text\.pdb"):
        from_pdb(tmp_path / "text.pdb")


def test_energy_is_in_kt_and_force_is_its_slope():
    molecule = from_sequence("ACE-ALA-NME")
    generator = torch.Generator().manual_seed(0)
    x = torch.as_tensor(molecule.positions)[None]
    x = x + 0.005 * torch.randn(x.shape, dtype=x.dtype, generator=generator)
    energy = OpenMMEnergy(molecule.system, 300.0)
    e, f = energy.energy_and_force(x)
    torch.testing.assert_close(energy.at(600.0).energy(x), e / 2)
    direction = torch.randn(x.shape, dtype=x.dtype, generator=generator)
    h = 1e-5
    slope = (energy.energy(x + h * direction) - energy.energy(x - h * direction)) / (2 * h)
    torch.testing.assert_close(slope, -(f * direction).sum((1, 2)), rtol=1e-5, atol=1e-3)


def test_atoms_on_top_of_each_other_have_no_weight():
    molecule = from_sequence("ACE-ALA-NME")
    x = torch.zeros(1, molecule.n_atoms, 3, dtype=torch.float64)
    assert OpenMMEnergy(molecule.system, 300.0).energy(x).item() == float("inf")
