"""Padded tensors say what the chains say, and lead back to them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sciflow.manifolds import SO3
from sciflow.proteins.frames import all_atoms, follows
from sciflow.proteins.structure import Chain
from sciflow.proteins.tensors import ProteinDataset, as_chains, residues, stacked, tensors
from sciflow.training import save_tensors
from sciflow.training.loader import read

Build = Callable[..., Chain]


def test_chains_come_back_from_tensors(build: Build) -> None:
    chains = [build("ACDEFGHIKL"), build("MNPQRSTVWYX")]
    data = tensors(chains, 16)
    assert data["mask"].sum(1).tolist() == [10, 11]
    assert data["x"]["translation"].shape == (2, 16, 3)
    atoms, mask = all_atoms(data["x"], data["aatype"], data["mask"])
    for i, chain in enumerate(chains):
        (found,) = as_chains(
            atoms[i], mask[i], data["aatype"][i], {k: data[k][i] for k in ("mask", "chain", "residue_index")}, "made"
        )
        assert found.sequence == chain.sequence
        assert torch.equal(found.atom_mask, chain.atom_mask)
        torch.testing.assert_close(found.atoms, chain.atoms, rtol=0, atol=1e-6)  # float32
        assert torch.equal(found.residue_index, chain.residue_index)


def test_beyond_a_protein_there_are_points_of_the_manifold_and_no_conditions(build: Build) -> None:
    data = tensors([build("ACD"), build("G")], 4)
    x, beyond = data["x"], ~data["mask"]
    assert not x["translation"][beyond].any()
    assert not x["torsions"][beyond].any()
    assert torch.equal(x["rotation"][beyond], SO3().origin().float().expand(4, 4))
    torch.testing.assert_close(x["sequence"].sum(-1), torch.ones(2, 4))
    for name in ("residue_index", "chain", "aatype", "torsion_mask"):
        assert not data[name][beyond].any()
    assert all(value.dtype == torch.float32 for value in x.values())
    with pytest.raises(ValueError, match="a protein of 3 residues"):
        tensors([build("ACD")], 2)


def test_sequences_are_vertices_and_x_is_the_centre(build: Build) -> None:
    data = residues([build("AYX")])
    assert data["sequence"].argmax(-1)[:2].tolist() == [0, 19]
    assert data["sequence"][:2].amax(-1).tolist() == [1, 1]
    assert torch.equal(data["sequence"][2], torch.full((20,), 0.05))


def test_breaks_and_chains_end_the_bonds(build: Build) -> None:
    chain = build("GAVL")
    moved = chain.atoms.clone()
    moved[2:] += 1.0
    one = residues([replace(chain, atoms=moved), build("GA", id="B")])
    assert one["chain"].tolist() == [0, 0, 0, 0, 1, 1]
    mask = torch.ones(6, dtype=torch.bool)
    bonds = follows(one["residue_index"], one["chain"], mask)
    assert bonds.tolist() == [True, False, True, False, True, False]
    both = stacked([one])
    kept = {name: both[name][0] for name in ("mask", "chain", "residue_index")}
    atoms, there = all_atoms(both["x"], both["aatype"], both["mask"])
    found = as_chains(atoms[0], there[0], both["aatype"][0], kept, "two")
    assert [(c.id, c.sequence) for c in found] == [("A", "GAVL"), ("B", "GA")]


def test_a_batch_is_as_long_as_its_longest(build: Build, tmp_path: Path) -> None:
    data = tensors([build("GA"), build("GAVL"), build("GAV"), build("GAVLST")], 8)
    save_tensors(data | {"label": torch.arange(4)}, tmp_path / "train.safetensors")
    dataset = ProteinDataset(tmp_path / "train.safetensors")
    assert dataset.lengths.tolist() == [2, 4, 3, 6]
    batch = read(dataset, [2, 0])
    assert batch["mask"].tolist() == [[True] * 3, [True, True, False]]
    assert batch["x"]["rotation"].shape == (2, 3, 4)
    assert batch["torsion_mask"].shape == (2, 3, 5)
    assert batch["label"].tolist() == [2, 0]
    torch.testing.assert_close(batch["x"]["translation"], data["x"]["translation"][[2, 0], :3])
