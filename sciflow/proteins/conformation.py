"""What backbones are like, residue by residue: bonds, angles, torsions, contacts, secondary structure, size."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import mdtraj
import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..rng import normal
from .frames import all_atoms, backbone, dihedral, follows, frames, psi
from .residues import UNKNOWN

__all__ = ["Backbones", "Measured", "random_walk"]

_CLASH, _APART = 0.36, 3  # nm between Cα that are at least so many residues apart
_BROKEN = 0.2  # nm between C and N
_AT_ONCE = 64  # chains whose distances are in memory together


class Measured(NamedTuple):
    """A value for each residue ``(B, N)`` and whether that residue has it."""

    value: Tensor
    there: Tensor


@dataclass(frozen=True)
class Backbones:
    """Chains ``atoms (B, N, 3, 3)``: N, CA, C in nm, padded; ``mask (B, N)``; residue numbers, with gaps at breaks."""

    atoms: Tensor
    mask: Tensor
    residue_index: Tensor

    @classmethod
    def of(cls, chains: Sequence[Tensor], residue_index: Sequence[Tensor] | None = None) -> "Backbones":
        """Of chains ``(N, 3, 3)``, numbered without gaps unless told otherwise."""
        numbers = [torch.arange(len(c), device=c.device) for c in chains] if residue_index is None else residue_index
        mask = pad_sequence([torch.ones_like(c[:, 0, 0], dtype=torch.bool) for c in chains], batch_first=True)
        return cls(pad_sequence(list(chains), batch_first=True), mask, pad_sequence(list(numbers), batch_first=True))

    @classmethod
    def of_state(cls, x: dict[str, Tensor], mask: Tensor, residue_index: Tensor) -> "Backbones":
        """Of frames, by their ideal atoms."""
        return cls(backbone(x["translation"], x["rotation"]), mask, residue_index)

    def __len__(self) -> int:
        return len(self.atoms)

    def __getitem__(self, index: Tensor | slice | list[int]) -> "Backbones":
        return Backbones(self.atoms[index], self.mask[index], self.residue_index[index])

    @property
    def lengths(self) -> Tensor:
        """(B,)"""
        return self.mask.sum(-1)

    @property
    def traces(self) -> list[Tensor]:
        """Cα (N, 3) of each chain, without padding."""
        return [atoms[mask, 1] for atoms, mask in zip(self.atoms, self.mask, strict=True)]

    @property
    def bonded(self) -> Tensor:
        """(B, N): residues that the next one should be bonded to, by number."""
        return follows(self.residue_index, torch.zeros_like(self.residue_index), self.mask)

    def ca_ca(self) -> Measured:
        """Distance of Cα to that of the next residue, nm."""
        ca = self.atoms[:, :, 1]
        return Measured((ca.roll(-1, 1) - ca).norm(dim=-1), self.bonded)

    def c_n(self) -> Measured:
        """Length of the peptide bond to the next residue, nm."""
        return Measured((self.atoms[:, :, 0].roll(-1, 1) - self.atoms[:, :, 2]).norm(dim=-1), self.bonded)

    def broken(self) -> Measured:
        """One where that bond is longer than 0.2 nm."""
        length, there = self.c_n()
        return Measured((length > _BROKEN).to(length), there)

    def ca_c_n(self) -> Measured:
        """Angle CA–C–N of the peptide bond to the next residue, radians."""
        _, ca, c = self.atoms.unbind(2)
        return Measured(_angle(ca, c, self.atoms[:, :, 0].roll(-1, 1)), self.bonded)

    def c_n_ca(self) -> Measured:
        """Angle C–N–CA of the peptide bond to the next residue, radians."""
        n, ca, _ = self.atoms.roll(-1, 1).unbind(2)
        return Measured(_angle(self.atoms[:, :, 2], n, ca), self.bonded)

    def phi_psi(self) -> Measured:
        """φ and ψ ``(B, N, 2)`` of residues bonded on both sides, radians."""
        n, ca, c = self.atoms.unbind(2)
        angles = torch.stack([dihedral(c.roll(1, 1), n, ca, c), dihedral(n, ca, c, n.roll(-1, 1))], -1)
        return Measured(angles, self.bonded & self.bonded.roll(1, 1))

    def handedness(self) -> Measured:
        """One where four Cα in a row turn as in a right-handed helix, zero where they turn the other way.

        Their torsion is +50° in an α-helix; turns of 30° to 70° of either sign count.
        """
        ca = [self.atoms[:, :, 1].roll(-k, 1) for k in range(4)]
        torsion = torch.rad2deg(dihedral(*ca))
        in_a_row = self.bonded & self.bonded.roll(-1, 1) & self.bonded.roll(-2, 1)
        return Measured((torsion > 0).to(torsion), in_a_row & ((torsion.abs() - 50).abs() < 20))

    def clashes(self) -> Measured:
        """Cα of residues at least three earlier that are nearer than 0.36 nm, a number."""
        n = self.mask.shape[1]
        earlier = torch.ones(n, n, dtype=torch.bool, device=self.mask.device).tril(-_APART)
        near = [
            ((torch.cdist(ca, ca) < _CLASH) & earlier & mask[:, None]).sum(-1)
            for ca, mask in zip(self.atoms[:, :, 1].split(_AT_ONCE), self.mask.split(_AT_ONCE), strict=True)
        ]
        return Measured(torch.cat(near).to(self.atoms), self.mask)

    def size(self) -> Measured:
        """Radius of gyration of the Cα over N^0.38, nm, ``(B, 1)``: about the same for all globular chains.

        Source: Skolnick, Kolinski, Ortiz 1997 (J. Mol. Biol. 265).
        """
        ca, lengths = self.atoms[:, :, 1], self.lengths.to(self.atoms)
        weight = self.mask[..., None] / lengths[:, None, None]
        square = (weight * (ca - (weight * ca).sum(1, keepdim=True)).square()).sum((1, 2))
        return Measured((square.sqrt() / lengths**0.38)[:, None], self.mask[:, :1])

    def secondary_structure(self) -> Tensor:
        """(B, N) of DSSP by mdtraj: 0 helix, 1 strand, 2 coil; −1 padding. O is placed by ψ, H by mdtraj on every N.

        Source: Kabsch, Sander 1983 (Biopolymers 22).
        """
        translation, rotation = frames(*self.atoms.unbind(2))
        state = {"translation": translation, "rotation": rotation, "torsions": psi(translation, rotation, self.bonded)}
        oxygen = all_atoms(state, torch.full_like(self.residue_index, UNKNOWN), self.mask)[0][:, :, 3:4]
        atoms = torch.cat([self.atoms, oxygen], 2).cpu().float().numpy()
        found = torch.full(self.mask.shape, -1)
        for i, mask in enumerate(self.mask.cpu().numpy()):
            chain = mdtraj.Trajectory(atoms[i, mask].reshape(1, -1, 3), _topology(int(mask.sum())))
            letters = mdtraj.compute_dssp(chain)[0]
            found[i, torch.from_numpy(mask)] = torch.from_numpy((letters != "H").astype(np.int64) + (letters == "C"))
        return found.to(self.mask.device)


def random_walk(like: Backbones, generator: torch.Generator | None = None) -> Backbones:
    """Chains as long, of Cα in steps of 0.38 nm in independent directions, each residue turned at random."""
    shape, device = like.mask.shape, like.atoms.device
    step, turn = (normal(*shape, n, generator=generator, device=device, dtype=like.atoms.dtype) for n in (3, 4))
    ca = 0.38 * (step / step.norm(dim=-1, keepdim=True)).cumsum(1)
    return Backbones(backbone(ca, turn / turn.norm(dim=-1, keepdim=True)), like.mask, like.residue_index)


def _angle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Angle (…) at b; zero where points coincide."""
    u, v = a - b, c - b
    return torch.atan2(torch.linalg.cross(u, v).norm(dim=-1), (u * v).sum(-1))


@lru_cache(maxsize=512)
def _topology(residues: int) -> mdtraj.Topology:
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(residues):
        residue = topology.add_residue("ALA", chain)
        for name in ("N", "CA", "C", "O"):
            topology.add_atom(name, mdtraj.element.Element.getBySymbol(name[0]), residue)
    return topology
