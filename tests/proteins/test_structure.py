"""Files of structures: what is written is read again, by us and by others; what is odd in them is kept or named."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mdtraj
import pytest
import torch
from openmm.app import PDBFile, PDBxFile

from sciflow.errors import InputError
from sciflow.proteins.collection import read_structures
from sciflow.proteins.files import write_fasta, write_structure, write_trajectory
from sciflow.proteins.formats import Notes, read_cif, read_pdb
from sciflow.proteins.residues import AMINO_ACIDS
from sciflow.proteins.structure import Chain, parse_structure, read_structure

Build = Callable[..., Chain]

ALL = AMINO_ACIDS + "X"


def _pdb(chain: Chain, path: Path) -> list[str]:
    write_structure([chain], path / "made.pdb")
    return (path / "made.pdb").read_text().splitlines()


def _read(lines: list[str]) -> tuple[list[Chain], list[str]]:
    return parse_structure("\n".join(lines).encode(), "odd.pdb")


def _same(a: Chain, b: Chain) -> None:
    assert a.sequence == b.sequence
    assert torch.equal(a.atom_mask, b.atom_mask)
    assert torch.equal(a.residue_index, b.residue_index)
    torch.testing.assert_close(a.atoms, b.atoms * b.atom_mask[..., None], rtol=0, atol=0.5e-4 + 1e-9)  # 0.001 Å


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_what_is_written_is_read_by_us_and_by_others(build: Build, tmp_path: Path, suffix: str) -> None:
    numbered = torch.tensor([-2, -1, 1, 2, 2, 2, *range(30, 45)])
    first = replace(build(ALL), residue_index=numbered, insertions=("", "", "", "", "A", "B", *[""] * 15))
    second = replace(build("GAV", id="C"), atoms=build("GAV").atoms + 5)
    path = tmp_path / f"two{suffix}"
    write_structure([first, second], path)
    chains, notes = read_structure(path)
    assert [chain.id for chain in chains] == ["A", "C"]
    assert notes == ["two" + suffix + ": not one of the twenty, taken for X: A UNK44"]
    for ours, theirs in zip(chains, (first, second), strict=True):
        _same(ours, theirs)
    assert chains[0].insertions == first.insertions
    atoms = int(first.atom_mask.sum() + second.atom_mask.sum())
    seen = mdtraj.load(str(path))
    assert (seen.n_atoms, seen.n_residues, seen.n_chains) == (atoms, 24, 2)
    assert [c.chain_id for c in seen.topology.chains] == ["A", "C"]
    opened = (PDBFile if suffix == ".pdb" else PDBxFile)(str(path))
    assert {a.element.symbol for a in opened.topology.atoms()} == {"C", "N", "O", "S"}
    assert [r.id for r in opened.topology.residues()][:6] == ["-2", "-1", "1", "2", "2", "2"]


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_every_atom_that_is_written_is_there(build: Build, tmp_path: Path, suffix: str) -> None:
    """At an occupancy of one; an unknown residue that is bonded to nothing stays a part of its chain."""
    chain = build("GAVXLS")
    pocket = replace(chain, **{k: getattr(chain, k)[::3] for k in ("aatype", "atoms", "atom_mask", "residue_index")})
    write_structure([pocket], tmp_path / f"pocket{suffix}")
    lines = (tmp_path / f"pocket{suffix}").read_text().splitlines()
    atoms = list((read_cif if suffix == ".cif" else read_pdb)(lines, "pocket", Notes("pocket")))
    assert len(atoms) == int(pocket.atom_mask.sum())
    assert {atom.occupancy for atom in atoms} == {1.0}
    (found,), _ = read_structure(tmp_path / f"pocket{suffix}")
    _same(found, pocket)


def test_a_file_is_named_in_it_and_its_chains_are_entities(build: Build, tmp_path: Path) -> None:
    chains = [build("GAV", id="A"), build("SG", id="B")]
    for suffix in ("pdb", "cif"):
        write_structure(chains, tmp_path / f"00007.{suffix}", "1abc")
    cif, pdb = (tmp_path / f"00007.{suffix}" for suffix in ("cif", "pdb"))
    assert pdb.read_text().splitlines()[0] == "TITLE     1abc"
    assert cif.read_text().startswith('data_00007\n_struct.title "1abc"\n')
    rows = [line.split() for line in cif.read_text().splitlines() if line.startswith("ATOM")]
    assert [(row[6], row[7]) for row in rows] == [
        (chain.id, str(k)) for k, chain in enumerate(chains, 1) for _ in range(int(chain.atom_mask.sum()))
    ]
    for path in (pdb, cif):
        assert mdtraj.load(str(path)).n_residues == 5
        for ours, theirs in zip(read_structure(path)[0], chains, strict=True):
            _same(ours, theirs)


def test_ids_are_one_letter_each_in_a_file(build: Build, tmp_path: Path) -> None:
    write_structure([build("GA", id="A"), build("GA", id="A"), build("GA", id="heavy")], tmp_path / "x.pdb")
    assert [chain.id for chain in read_structure(tmp_path / "x.pdb")[0]] == ["a", "b", "c"]


def test_a_trajectory_has_its_states_as_models(build: Build, tmp_path: Path) -> None:
    chain = build("ACDEF")
    moved = [replace(chain, atoms=chain.atoms + shift) for shift in (0.0, 0.1, 0.3)]
    write_trajectory([[model] for model in moved], tmp_path / "flow.pdb")
    seen = mdtraj.load(str(tmp_path / "flow.pdb"))
    assert seen.n_frames == 3
    assert abs(seen.xyz[2] - seen.xyz[0] - 0.3).max() < 2e-4
    assert PDBFile(str(tmp_path / "flow.pdb")).getNumFrames() == 3
    (first,), notes = read_structure(tmp_path / "flow.pdb")
    _same(first, chain)
    assert "first model" in notes[0]
    with pytest.raises(ValueError, match="model 2 has other atoms"):
        write_trajectory([[chain], [build("ACDEG")]], tmp_path / "other.pdb")


def test_fasta_and_other_suffixes(build: Build, tmp_path: Path) -> None:
    write_fasta([build("ACX", name="one"), build("GG", id="B", name="two")], tmp_path / "s.fasta")
    assert (tmp_path / "s.fasta").read_text() == ">one_A\nACX\n>two_B\nGG\n"
    write_fasta([build("ACX", name="one")], tmp_path / "s.fasta", ["of 1abc"])
    assert (tmp_path / "s.fasta").read_text() == ">one_A of 1abc\nACX\n"
    with pytest.raises(InputError, match=r"written as \.pdb or \.cif"):
        write_structure([build("GG")], tmp_path / "s.xyz")


def test_columns_behind_the_occupancy_are_not_read(build: Build, tmp_path: Path) -> None:
    chain = build("ACD")
    junk = [line[:66].ljust(72) + "1ACB 158" if line.startswith("ATOM") else line for line in _pdb(chain, tmp_path)]
    short = [line[:54] if line.startswith("ATOM") else line for line in _pdb(chain, tmp_path)]
    for lines in (junk, short):
        (found,), notes = _read(lines)
        _same(found, chain)
        assert not notes


def test_the_fullest_of_alternate_locations_is_kept(build: Build, tmp_path: Path) -> None:
    chain = build("GSG")
    lines = _pdb(chain, tmp_path)
    lines = [line for line in lines if line.startswith("ATOM")]
    odd = []
    for line in lines:  # of residue 2 a serine of 0.4, and a threonine of 0.6 half an Å away
        if int(line[22:26]) != 2:
            odd.append(line)
            continue
        x = float(line[30:38]) + 0.5
        odd.append(line[:16] + "A" + line[17:54] + "  0.40")
        other = line[:16] + "BTHR" + line[20:30] + f"{x:8.3f}" + line[38:54] + "  0.60"
        odd.append(other.replace(" OG ", " OG1"))
    (found,), notes = _read(odd)
    assert found.sequence == "GTG"
    torch.testing.assert_close(found.atoms[1, :4, 0], chain.atoms[1, :4, 0] + 0.05, rtol=0, atol=1e-4)
    assert notes[0] == "odd.pdb: in alternate locations, the fullest kept: A THR2"
    assert "atoms missing" in notes[1]


def test_breaks_leave_gaps_in_positions_alone(build: Build, tmp_path: Path) -> None:
    chain = build("GAVLSTG")
    shifted = chain.atoms.clone()
    shifted[3:] += 2.0
    broken = replace(chain, atoms=shifted, residue_index=torch.tensor([5, 5, 9, 10, 11, 40, 41]))
    assert broken.bonded.tolist() == [True, True, False, True, True, True, False]
    assert broken.positions.tolist() == [5, 6, 7, 9, 10, 11, 12]  # numbered on; still a gap at the break
    assert replace(broken, residue_index=torch.tensor([1, 2, 3, 9, 10, 11, 12])).positions[3] == 9


def test_a_missing_backbone_atom_drops_the_residue_and_a_missing_side_chain_does_not(
    build: Build, tmp_path: Path
) -> None:
    lines = _pdb(build("GKGVG"), tmp_path)
    lines = [line for line in lines if line[12:26].split() not in (["NZ", "LYS", "A", "2"], ["C", "VAL", "A", "4"])]
    (found,), notes = _read(lines)
    assert found.sequence == "GKGG"
    assert not found.atom_mask[1, 8]
    assert not found.atoms[1, 8].any()
    assert set(notes) == {
        "odd.pdb: with atoms missing: A LYS2",
        "odd.pdb: without N, CA or C, left out: A VAL4",
    }
    assert found.positions.tolist() == [1, 2, 3, 5]


def test_modified_residues_waters_and_ligands(build: Build, tmp_path: Path) -> None:
    lines = [line for line in _pdb(build("GMS"), tmp_path) if line.startswith("ATOM")]
    lines = [
        "HETATM" + line[6:].replace("MET", "MSE").replace(" SD ", "SE  ") if "MET" in line else line for line in lines
    ]
    free = [line.replace("ATOM  ", "HETATM").replace(" A   3", " A 300")[:30] for line in lines if "SER" in line]
    free = [line + f"{50 + i:8.3f}{5 * (i % 2):8.3f}{0:8.3f}" for i, line in enumerate(free)]
    water = "HETATM  900  O   HOH A 401      10.000  10.000  10.000  1.00  0.00"
    heme = "HETATM  901 FE   HEM A 402      12.000  10.000  10.000  1.00  0.00"
    (found,), notes = _read([*lines, *free, water, heme])
    assert found.sequence == "GMS"
    assert found.atom_mask[1].sum() == 8
    assert notes == [
        "odd.pdb: modified, taken for their parents: MSE as MET",
        "odd.pdb: ligands left out: HEM",
        "odd.pdb: free amino acids left out: A SER300",
    ]


def test_a_modified_residue_behind_a_break_is_of_its_chain_and_one_behind_its_end_is_not(
    build: Build, tmp_path: Path
) -> None:
    lines = [line for line in _pdb(build("GAVLM"), tmp_path) if line.startswith("ATOM") and "LEU" not in line]
    last = ["HETATM" + line[6:].replace("MET", "MSE").replace(" SD ", "SE  ") for line in lines if "MET" in line]
    free = [line[:22] + "  60" + line[26:30] + f"{float(line[30:38]) + 50:8.3f}" + line[38:] for line in last]
    (found,), notes = _read([*lines[: -len(last)], *last, "TER", *free, "TER"])
    assert found.sequence == "GAVM"
    assert "odd.pdb: free amino acids left out: A MSE60" in notes


def test_mirror_images_and_points_on_a_line_are_no_amino_acids(build: Build, tmp_path: Path) -> None:
    chain = build("GALG")
    mirrored = chain.atoms.clone()
    mirrored[..., 2] *= -1
    (found,), notes = _read(_pdb(replace(chain, atoms=mirrored), tmp_path))
    assert found.sequence == "GXXG"  # glycine has no handedness
    assert not found.atom_mask[:, 4:].any()
    assert notes == ["odd.pdb: D-amino acids, taken for X: A ALA2, A LEU3"]
    flat = chain.atoms.clone()
    flat[1, 0] = 2 * flat[1, 1] - flat[1, 2]
    (found,), notes = _read(_pdb(replace(chain, atoms=flat), tmp_path))
    assert found.sequence == "GLG"
    assert notes == ["odd.pdb: N, CA and C on a line, left out: A ALA2"]


def test_numbers_that_begin_anew_are_another_chain(build: Build, tmp_path: Path) -> None:
    one = [line for line in _pdb(build("GAV", id="A"), tmp_path) if line.startswith("ATOM")]
    chains, _ = _read([*one, "TER", *one])
    assert [(chain.id, chain.sequence) for chain in chains] == [("A", "GAV"), ("A2", "GAV")]
    (chain,), notes = _read([*one, *one])
    assert chain.sequence == "GAV"
    assert "of the same number" in notes[0]


def test_cif_with_quotes_wrapped_rows_and_no_authors() -> None:
    rows = [
        ("N", "GLY", 1, (-0.5, 1.4, 0.0)),
        ("CA", "GLY", 1, (0.0, 0.0, 0.0)),
        ("C", "GLY", 1, (1.5, 0.0, 0.0)),
        ("O5'", "GLY", 1, (9.0, 0.0, 0.0)),
        ("O", "GLY", 1, (2.1, 1.0, 0.0)),
    ]
    names = ["label_atom_id", "label_comp_id", "label_asym_id", "label_seq_id", "Cartn_x", "Cartn_y", "Cartn_z"]
    lines = ["data_x", "loop_", *(f"_atom_site.{name}" for name in names)]
    for atom, residue, number, (x, y, z) in rows:
        quoted = f'"{atom}"' if "'" in atom else atom
        lines += [f"{quoted} {residue} L{'' if atom != 'O' else chr(10)} {number} {x} {y} {z}"]
    (chain,), notes = parse_structure("\n".join([*lines, "#", "_cell.length_a 1"]).encode(), "by_hand.cif")
    assert (chain.id, chain.sequence, len(chain)) == ("L", "G", 1)
    assert chain.atom_mask[0].sum() == 4
    assert not notes


def test_cif_by_the_names_and_numbers_of_the_authors() -> None:
    head = """data_1ABC
_entry.id 1ABC
_struct.title
;A title of two lines,
_atom_site. in its second
;
loop_
_atom_site.group_PDB
_atom_site.label_atom_id
_atom_site.label_alt_id
_atom_site.label_comp_id
_atom_site.label_asym_id
_atom_site.label_seq_id
_atom_site.pdbx_PDB_ins_code
_atom_site.Cartn_x
_atom_site.Cartn_y
_atom_site.Cartn_z
_atom_site.occupancy
_atom_site.auth_seq_id
_atom_site.auth_asym_id
_atom_site.pdbx_PDB_model_num
"""
    place = {"N": "-0.5 1.4", "CA": "0.0 0.0", "C": "1.5 0.0"}
    rows = [f"ATOM {atom} . GLY B 1 A {xy} 0.0 1.00 52 H 1" for atom, xy in place.items()]
    rows += ["ATOM O A GLY B 1 A 2.1 1.0 0.0 0.30 52 H 1", "ATOM O B GLY B 1 A 2.0 -1.0 0.0 0.70 52 H 1"]
    rows += ["HETATM O . HOH C . ? 9.0 9.0 9.0 1.00 301 H 1", "HETATM ZN . ZN D . ? 8.0 9.0 9.0 1.00 302 H 1"]
    rows += [f"ATOM {atom} . GLY B 1 A {xy} 7.0 1.00 52 H 2" for atom, xy in place.items()]
    (chain,), notes = parse_structure((head + "\n".join(rows) + "\n#\n").encode(), "1abc.cif")
    assert (chain.id, chain.residue_index.tolist(), chain.insertions) == ("H", [52], ("A",))
    expected = torch.tensor([[-0.5, 1.4, 0], [0, 0, 0], [1.5, 0, 0], [2.0, -1.0, 0]]).double() / 10
    torch.testing.assert_close(chain.atoms[0, :4], expected)
    assert sorted(note.split(": ")[1] for note in notes) == [
        "in alternate locations, the fullest kept",
        "ligands left out",
        "only the first model is read",
    ]


_CIF = b"loop_\n" + b"".join(
    b"_atom_site.%b\n" % name
    for name in b"group_PDB label_atom_id label_comp_id label_asym_id label_seq_id Cartn_x Cartn_y Cartn_z".split()
)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.xyz", b"", "neither PDB nor mmCIF"),
        ("x.pdb", b"hello", "no amino acids"),
        ("x.cif", b"data_x", "no column _atom_site"),
        ("x.pdb.gz", b"hello", "not a gzip file"),
        ("x.pdb", b"ATOM      1  N   GLY A   1      aa.aaa  bb.bbb", "x.pdb, line 1"),
        (
            "x.pdb",
            b"ATOM   1816  CA ",
            "line 1: 'ATOM   1816  CA' has no number, x, y and z in their columns; is the file com",
        ),
        ("x.cif", _CIF + b"ATOM CA GLY A 1 0.0", "x.cif: ends within a row of _atom_site; is the file complete"),
    ],
)
def test_what_is_no_structure_is_one_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_structure(tmp_path / name)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_structure(tmp_path / "nowhere.pdb")


def test_a_folder_and_its_archives_are_the_same(
    build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "all"
    (folder / "deep").mkdir(parents=True)
    write_structure([build("GAV")], folder / "b.pdb")
    write_structure([build("GSV", id="H"), build("GTV", id="L")], folder / "deep" / "a.cif")
    (folder / "c.ent.gz").write_bytes(gzip.compress((folder / "b.pdb").read_bytes()))
    (folder / "bad.pdb").write_text("nothing")
    (folder / ".hidden.pdb").write_text("nothing")
    (folder / "README.md").write_text("nothing")
    packed = [tmp_path / "all.tar.xz", tmp_path / "all.tar", tmp_path / "all.zip"]
    with (
        tarfile.open(packed[0], "w:xz") as xz,
        tarfile.open(packed[1], "w") as tar,
        zipfile.ZipFile(packed[2], "w") as z,
    ):
        for file in folder.rglob("*.*"):
            for archive in (xz, tar):
                archive.add(file, str(file.relative_to(folder)))
            z.write(file, str(file.relative_to(folder)))
    for path in (folder, *packed):
        chains, notes, unread = read_structures(path, quiet=True)
        assert [(c.name, c.id, c.sequence) for c in chains] == [
            ("b", "A", "GAV"),
            ("c", "A", "GAV"),
            ("deep/a", "H", "GSV"),
            ("deep/a", "L", "GTV"),
        ]
        assert unread == ["bad.pdb: no amino acids with N, CA and C in it; give a structure of a protein"]
        assert notes == []
        assert "1 of 4 files could not be read (bad.pdb: no amino" in capsys.readouterr().err
    (chain,), *_ = read_structures(folder / "b.pdb")
    assert chain.name == "b"


def test_what_is_no_collection_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"nothing")
    (tmp_path / "empty").mkdir()
    with tarfile.open(tmp_path / "none.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("x.txt"), io.BytesIO())
    for name, message in {
        "x.tar.gz": "cannot be read",
        "empty": "no structure in it",
        "none.tar": "no structure in it",
        "nowhere": "no such file or folder",
    }.items():
        with pytest.raises(InputError, match=message):
            read_structures(tmp_path / name)
