"""Laws of frames and torsions: they move with the protein, come back from atoms, and never make a gradient NaN."""

import math
import os
import tarfile
from pathlib import Path

import mdtraj
import numpy as np
import pytest
import torch
from torch import Tensor

from sciflow.manifolds import SO3, wrap
from sciflow.manifolds.quaternion import multiply, rotate
from sciflow.proteins.frames import all_atoms, axes, backbone, dihedral, follows, frames, psi, torsions
from sciflow.proteins.residues import HAS_TORSION, SYMMETRIC
from sciflow.proteins.structure import parse_structure

N = 60


def _state(generator: torch.Generator) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Random frames and torsions of all types, two proteins of N residues."""
    angles = wrap(2 * math.pi * torch.rand(2, N, 5, generator=generator, dtype=torch.float64))
    angles[0, :3] = math.pi  # the ends of the interval
    state = {
        "translation": torch.randn(2, N, 3, generator=generator, dtype=torch.float64),
        "rotation": SO3().random(2, N, generator=generator).double(),
        "torsions": angles,
    }
    state["rotation"] /= state["rotation"].norm(dim=-1, keepdim=True)
    return state, torch.arange(2 * N).reshape(2, N) % 21, torch.ones(2, N, dtype=torch.bool)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_torsions_come_back_from_atoms(generator: torch.Generator) -> None:
    state, aatype, mask = _state(generator)
    atoms, atom_mask = all_atoms(state, aatype, mask)
    angles, known = torsions(atoms, atom_mask, aatype, torch.zeros_like(mask))
    assert torch.equal(known, HAS_TORSION[aatype])
    error = wrap(angles - state["torsions"])[known].abs()
    assert error.max() < 1e-6
    assert (angles > -math.pi).all()
    assert (angles <= math.pi).all()
    assert not angles[~known].any()


def test_frames_come_back_from_atoms(generator: torch.Generator) -> None:
    state, aatype, mask = _state(generator)
    atoms, _ = all_atoms(state, aatype, mask)
    n, ca, c = backbone(state["translation"], state["rotation"]).unbind(-2)
    torch.testing.assert_close(torch.stack([n, ca, c], -2), atoms[..., :3, :], rtol=0, atol=1e-12)
    translation, rotation = frames(n, ca, c)
    assert torch.equal(translation, state["translation"])
    assert SO3().dist(rotation, state["rotation"]).max() < 1e-12


def test_frames_and_atoms_move_with_the_protein(generator: torch.Generator) -> None:
    state, aatype, mask = _state(generator)
    turn, shift = SO3().random(generator=generator).double(), torch.randn(3, generator=generator).double()
    turn = turn / turn.norm()
    atoms, atom_mask = all_atoms(state, aatype, mask)
    moved = rotate(turn, atoms) + shift
    translation, rotation = frames(*moved[..., :3, :].unbind(-2))
    torch.testing.assert_close(translation, rotate(turn, state["translation"]) + shift, rtol=0, atol=1e-12)
    assert SO3().dist(rotation, multiply(turn, state["rotation"])).max() < 1e-12
    again, _ = all_atoms(state | {"translation": translation, "rotation": rotation}, aatype, mask)
    torch.testing.assert_close(again[atom_mask], moved[atom_mask], rtol=0, atol=1e-12)
    follow = follows(torch.arange(N).expand(2, N), torch.zeros(2, N), mask)
    angles, known = torsions(moved, atom_mask, aatype, follow)
    assert wrap(angles - torsions(atoms, atom_mask, aatype, follow)[0])[known].abs().max() < 1e-9


def test_half_a_turn_of_a_symmetric_torsion_only_swaps_atoms(generator: torch.Generator) -> None:
    state, aatype, mask = _state(generator)
    turned = wrap(state["torsions"] + math.pi * SYMMETRIC[aatype])
    atoms, atom_mask = all_atoms(state, aatype, mask)
    others, _ = all_atoms(state | {"torsions": turned}, aatype, mask)
    gap = torch.cdist(atoms, others).masked_fill(~atom_mask[..., None, :], math.inf).amin(-1)
    assert gap[atom_mask].max() < 0.003  # 0.03 Å: the two halves are measured apart
    assert (atoms - others).norm(dim=-1).max() > 0.1


def test_dihedral_is_that_of_the_field(generator: torch.Generator) -> None:
    points = torch.randn(200, 4, 3, generator=generator).double()
    topology = mdtraj.Topology()
    residue = topology.add_residue("X", topology.add_chain())
    for _ in range(4):
        topology.add_atom("C", mdtraj.element.carbon, residue)
    expected = mdtraj.compute_dihedrals(mdtraj.Trajectory(points.numpy(), topology), [[0, 1, 2, 3]])[:, 0]
    found = dihedral(*points.unbind(1)).numpy()
    np.testing.assert_allclose(np.cos(found - expected), 1, atol=1e-6)  # mdtraj is in float32
    a, b, c = torch.tensor([[0.0, 1, 0], [0, 0, 0], [1, 0, 0]])
    assert dihedral(a, b, c, torch.tensor([1.0, -1.0, -0.0])) == torch.tensor(math.pi)  # never −π


def test_psi_is_of_the_next_n_where_o_is_missing(generator: torch.Generator) -> None:
    state, aatype, mask = _state(generator)
    atoms, atom_mask = all_atoms(state, aatype, mask)
    follow = mask.clone()
    follow[:, -1] = follow[:, 7] = False
    bare = atom_mask.clone()
    bare[..., 3] = False
    angles, known = torsions(atoms, bare, aatype, follow)
    assert torch.equal(known[..., 0], follow)
    expected = dihedral(*atoms[:, 4, :3].unbind(1), atoms[:, 5, 0])
    torch.testing.assert_close(angles[:, 4, 0], expected, rtol=0, atol=1e-12)
    by_frames = psi(state["translation"], state["rotation"], follow)
    torch.testing.assert_close(by_frames[..., 0], angles[..., 0], rtol=0, atol=1e-9)
    assert not by_frames[..., 1:].any()


def test_residues_follow_in_their_chain_alone() -> None:
    index = torch.tensor([[1, 2, 4, 5, 6, 7, 7, 0]])
    chain = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 0]])
    mask = torch.tensor([[True] * 7 + [False]])
    assert follows(index, chain, mask).tolist() == [[True, False, True, False, True, False, False, False]]


@pytest.mark.parametrize("case", ["one point", "on a line", "on the axis"])
def test_gradients_are_finite_where_angles_are_not_defined(case: str) -> None:
    points = {
        "one point": torch.zeros(4, 3),
        "on a line": torch.arange(4.0)[:, None] * torch.tensor([0.1, 0.0, 0.0]),
        "on the axis": torch.tensor([[0.0, 0.1, 0.0], [0, 0, 0], [0.1, 0, 0], [0.2, 0, 0]]),
    }[case].requires_grad_()
    translation, rotation = frames(*points[:3])
    (dihedral(*points) + translation.sum() + rotation.sum() + axes(*points[:3]).sum()).backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()


def test_gradients_of_torsions_reach_atoms_and_nothing_else(generator: torch.Generator) -> None:
    state, aatype, mask = _state(generator)
    atoms, atom_mask = all_atoms(state, aatype, mask)
    atoms.requires_grad_()
    torsions(atoms, atom_mask, aatype, ~mask)[0].sum().backward()
    assert atoms.grad is not None
    assert atoms.grad.isfinite().all()
    assert not atoms.grad[~atom_mask].any()


def test_crystal_structures_come_back_within_the_floor_of_ideal_geometry() -> None:
    if "SCIFLOW_MIRROR" not in os.environ:
        pytest.skip("SCIFLOW_MIRROR is not set")
    errors, sides = [], []
    with tarfile.open(Path(os.environ["SCIFLOW_MIRROR"]) / "pepset/complexes.tar.xz") as tar:
        for member in (m for m in tar if m.name.endswith("rec_b.pdb")):
            file = tar.extractfile(member)
            assert file is not None
            for chain in parse_structure(file.read(), member.name)[0]:
                translation, rotation = frames(*chain.atoms[:, :3].unbind(1))
                angles, _ = torsions(chain.atoms, chain.atom_mask, chain.aatype, chain.bonded)
                state = {"translation": translation, "rotation": rotation, "torsions": angles}
                atoms, mask = all_atoms(state, chain.aatype, torch.ones(len(chain), dtype=torch.bool))
                error = 10 * (atoms - chain.atoms).norm(dim=-1)
                errors.append(error[:, :4][(mask & chain.atom_mask)[:, :4]])
                sides.append(error[mask & chain.atom_mask])
            if len(errors) > 40:
                break
    backbone_error, heavy = torch.cat(errors), torch.cat(sides)
    assert backbone_error.square().mean().sqrt() < 0.05  # Å
    assert heavy.median() < 0.05
