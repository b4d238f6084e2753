"""Peptides in pockets beside those of crystals: poses, contacts, sequences, side chains, geometry."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..manifolds import SO3, wrap
from ..manifolds.quaternion import rotate
from ..rng import step_generator
from ..study import Metric
from .conformation import Backbones
from .frames import all_atoms, follows, frames, psi
from .residues import AMINO_ACIDS, SYMMETRIC
from .tm import superpose

__all__ = ["Bound", "Hidden", "Library", "built", "chi_error", "peptide_metrics", "rotamers", "turned"]

CONTACT = 0.8  # nm between Cβ, Cα of glycine
CLASH = 0.25  # nm between heavy atoms: shorter than a hydrogen bond
BOND, TOLERANCE = 0.1329, 0.01  # nm, of C–N
RISE = 0.34  # nm a residue of a strand
NEAR = math.radians(20)
RESAMPLED = 400

Counts = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Bound:
    """A peptide in its pocket, N residues.

    Args:
        aatype: (N,), an index into ``AMINO_ACIDS``.
        atoms, atom_mask: heavy atoms (N, 14, 3) [nm], and which are there.
        torsions, torsion_mask: ψ, χ1 … χ4 (N, 5) [rad], and which are known.
        residue_index: (N,), to see breaks of the chain.
        peptide: (N,), true for the peptide, false for its pocket.
    """

    aatype: Tensor
    atoms: Tensor
    atom_mask: Tensor
    torsions: Tensor
    torsion_mask: Tensor
    residue_index: Tensor
    peptide: Tensor

    @property
    def ca(self) -> Tensor:
        """Cα of the peptide (P, 3)."""
        return self.atoms[self.peptide, 1]

    @property
    def backbone(self) -> Backbones:
        """N, CA, C of the peptide, a batch of one."""
        return Backbones.of([self.atoms[self.peptide, :3]], [self.residue_index[self.peptide]])

    def contacts(self) -> Tensor:
        """Pairs of peptide and pocket (P, K) whose Cβ (Cα of glycine) are less than 0.8 nm apart."""
        beta = torch.where(self.atom_mask[:, 4, None], self.atoms[:, 4], self.atoms[:, 1])
        return torch.cdist(beta[self.peptide], beta[~self.peptide]) < CONTACT

    def basins(self) -> Tensor:
        """Where φ, ψ of each residue lie, (P,): 0 helix, 1 strand, 2 left-handed, −1 at ends and breaks.

        Helix is −100° < ψ < 50° at φ < 0. Hydrogen bonds, by which DSSP tells classes, want longer chains than most
        peptides are.
        """
        angles, there = self.backbone.phi_psi()
        phi, psi = angles[0].unbind(-1)
        helix = (psi > math.radians(-100)) & (psi < math.radians(50))
        return torch.where(there[0], torch.where(phi > 0, 2, torch.where(helix, 0, 1)), -1)

    def bonds(self) -> Tensor:
        """Lengths of the bonds C–N within the peptide [nm]."""
        length, there = self.backbone.c_n()
        return length[there]

    def clashes(self) -> int:
        """Pairs of heavy atoms, one of the peptide and one of the pocket, less than 0.25 nm apart."""
        mine, other = (self.atoms[side][self.atom_mask[side]] for side in (self.peptide, ~self.peptide))
        return int((torch.cdist(mine, other) < CLASH).sum())


@dataclass(frozen=True)
class Hidden:
    """What a task hides of the peptide, and so what its samples are judged by."""

    frames: bool
    torsions: bool
    sequence: bool


@dataclass(frozen=True)
class Library:
    """What training receptors and peptides say of any other: the floors.

    Args:
        modes: the commonest χ1 … χ4 of each type (20, 4) [rad].
        background: shares of the types among training peptides (20,).
    """

    modes: Tensor
    background: Tensor


def built(state: dict[str, Tensor], aatype: Tensor, mask: Tensor, joined: Tensor) -> tuple[Tensor, Tensor]:
    """Heavy atoms as of :func:`.frames.all_atoms`; where ``joined`` (…, N) to the next residue, that one places O.

    For a peptide bond is a plane, whatever ψ the state holds.
    """
    turns = psi(state["translation"], state["rotation"], joined)[..., :1]
    turns = torch.where(joined[..., None], turns, state["torsions"][..., :1])
    return all_atoms(state | {"torsions": torch.cat([turns, state["torsions"][..., 1:]], -1)}, aatype, mask)


def rotamers(aatype: Tensor, torsions: Tensor, torsion_mask: Tensor) -> Tensor:
    """The commonest rotamer of each type (20, 4) [rad]: circular means within its fullest well.

    A well is one of three for every χ, [0, 2π/3), [2π/3, 4π/3) and [4π/3, 2π). Types not seen have zeros.

    Args:
        aatype, torsions, torsion_mask: of R residues: (R,), (R, 5), (R, 5).
    """
    modes = torch.zeros(20, 4, dtype=torsions.dtype)
    for kind in range(20):
        seen = torsion_mask[:, 1:] & (aatype == kind)[:, None]
        count = int(seen.any(0).sum())
        chi = torsions[seen[:, :count].all(1) & (count > 0)][:, 1 : count + 1]
        if count and len(chi):
            wells = (chi.remainder(2 * math.pi) / (2 * math.pi / 3)).long().clamp_max(2)
            names, sizes = wells.unique(dim=0, return_counts=True)
            fullest = chi[(wells == names[sizes.argmax()]).all(1)]
            modes[kind, :count] = torch.atan2(fullest.sin().mean(0), fullest.cos().mean(0))
    return modes


def peptide_metrics(
    samples: Sequence[Bound], natives: Sequence[Bound], hidden: Hidden, library: Library, seed: int = 0
) -> dict[str, Metric]:
    """Samples beside the crystals of their complexes; sample i is of complex i mod M. The receptor does not move.

    Values are pooled over residues, contacts or bonds; errors are those of resampled complexes. References are the
    crystals themselves, whose bonds and clashes are not all ideal. Floors: for poses the crystal's own peptide, its
    centre moved to that of the pocket and turned at random; for its shape a straight strand; for basins always strand;
    for sequences always proline (``recovery_background``: draws by the frequencies of training peptides); for side
    chains, and their clashes on a given backbone, the commonest rotamer of the training receptors (``chi…_uniform``:
    uniform angles).
    """
    of = [natives[i % len(natives)] for i in range(len(samples))]
    mine = [_counts(sample, native, hidden) for sample, native in zip(samples, of, strict=True)]
    crystal = [_counts(native, native, hidden) for native in natives]
    beside = [_floor(native, hidden, library, seed, i) for i, native in enumerate(natives)]
    found = {}
    for name in mine[0]:
        value, error, n = _pooled([counts[name] for counts in mine], len(natives), seed)
        floor, reference = (
            _pooled([counts[name] for counts in rows if name in counts], len(natives), seed)[0]
            for rows in (beside, crystal)
        )
        if n:
            found[name] = Metric(value, error, n, floor, reference, _unit(name))
    return found | _other_floors(natives, hidden, library)


def _counts(sample: Bound, native: Bound, hidden: Hidden) -> Counts:
    """Sums and the numbers of their terms, whose ratios over all samples are the metrics."""
    counts: Counts = {}
    length = float(native.peptide.sum())
    if hidden.frames:
        apart = (sample.ca - native.ca).square().sum(-1).mean().sqrt()
        mine, true = sample.contacts(), native.contacts()
        basins, right = sample.basins(), native.basins()
        bonds = sample.bonds()
        counts |= {
            "rmsd": (float(apart), 1.0),
            "rmsd_superposed": (float(superpose(sample.ca, native.ca)[1]), 1.0),
            "contact_recovery": (float((mine & true).sum()), float(true.sum())),
            "contact_precision": (float((mine & true).sum()), float(mine.sum())),
            "basin_agreement": (float(((basins == right) & (right >= 0)).sum()), float((right >= 0).sum())),
            "peptide_bonds_valid": (float(((bonds - BOND).abs() < TOLERANCE).sum()), float(len(bonds))),
        }
    if hidden.sequence:
        same = (sample.aatype == native.aatype)[native.peptide]
        counts["recovery"] = (float(same.sum()), length)
    if hidden.torsions:
        counts |= _side_chains(sample, native)
    return counts | {"clashes": (float(sample.clashes()), length)}


def _side_chains(sample: Bound, native: Bound) -> Counts:
    """Errors of χ [°] where the type is the crystal's."""
    same = (sample.aatype == native.aatype) & native.peptide
    known = native.torsion_mask[:, 1:] & same[:, None]
    error = chi_error(sample.torsions[:, 1:], native.torsions[:, 1:], native.aatype)
    degrees = torch.where(known, error.rad2deg(), 0.0).sum(0)
    counts = {f"chi{k + 1}_mae": (float(degrees[k]), float(known[:, k].sum())) for k in range(4)}
    return counts | {"chi_within_20": (float(((error < NEAR) & known).sum()), float(known.sum()))}


def chi_error(chi: Tensor, true: Tensor, aatype: Tensor) -> Tensor:
    """|Δχ| (…, 4) [rad], modulo π where a half turn changes no atom."""
    turn = wrap(chi - true).abs()
    return torch.where(SYMMETRIC[aatype, 1:], torch.minimum(turn, math.pi - turn), turn)


def turned(native: Bound, seed: int, i: int) -> Bound:
    """Complex ``i`` with its peptide's centre on that of the pocket, turned at random: the floor of poses."""
    pocket = native.atoms[~native.peptide, 1].mean(0)
    turn = SO3().random(1, generator=step_generator(seed, 7, i), dtype=native.atoms.dtype)
    atoms = rotate(turn, native.atoms - native.ca.mean(0)) + pocket
    return replace(native, atoms=torch.where(native.peptide[:, None, None], atoms, native.atoms))


def _floor(native: Bound, hidden: Hidden, library: Library, seed: int, i: int) -> Counts:
    """Counts of what needs no model."""
    proline = torch.full_like(native.aatype, AMINO_ACIDS.index("P"))
    pose = replace(turned(native, seed, i) if hidden.frames else native, aatype=proline)
    counts = _counts(pose, native, replace(hidden, torsions=False))
    if hidden.torsions:
        packed = _packed(native, library)
        counts |= _side_chains(packed, native)
        if not hidden.frames:
            counts["clashes"] = (float(packed.clashes()), float(native.peptide.sum()))
    if hidden.frames:
        straight = RISE * torch.arange(len(native.ca)).to(native.ca)[:, None] * torch.eye(3).to(native.ca)[0]
        right = native.basins()
        counts["rmsd_superposed"] = (float(superpose(straight, native.ca)[1]), 1.0)
        counts["basin_agreement"] = (float((right == 1).sum()), float((right >= 0).sum()))
        counts["peptide_bonds_valid"] = (0.0, 1.0)  # frames at random
    return counts


def _packed(native: Bound, library: Library) -> Bound:
    """The peptide with the commonest rotamer at each of its residues."""
    chi = library.modes.to(native.torsions)[native.aatype.clamp_max(19)]
    torsions = torch.cat([native.torsions[:, :1], chi], 1)
    translation, rotation = frames(*native.atoms[:, :3].unbind(1))
    state = {"translation": translation, "rotation": rotation, "torsions": torsions}
    joined = follows(native.residue_index, torch.zeros_like(native.aatype), native.peptide)
    atoms, _ = built(state, native.aatype, native.peptide, joined)
    return replace(native, torsions=torsions, atoms=torch.where(native.peptide[:, None, None], atoms, native.atoms))


def _other_floors(natives: Sequence[Bound], hidden: Hidden, library: Library) -> dict[str, Metric]:
    """Weaker floors, in closed form: draws by frequency, uniform angles."""
    found = {}
    if hidden.sequence:
        types = torch.cat([native.aatype[native.peptide] for native in natives])
        share = torch.bincount(types, minlength=21)[:20].double() / len(types)
        chance = float(share @ library.background.double())
        found["recovery_background"] = Metric(chance, n=len(types), unit="fraction")
    if hidden.torsions:
        for k in range(4):
            known = torch.cat([native.torsion_mask[native.peptide, k + 1] for native in natives])
            types = torch.cat([native.aatype[native.peptide] for native in natives])[known]
            quarter = 90 - 45 * SYMMETRIC[types, k + 1].double()
            if len(quarter):
                found[f"chi{k + 1}_uniform"] = Metric(float(quarter.mean()), n=len(quarter), unit="degree")
    return found


def _pooled(counts: Sequence[tuple[float, float]], complexes: int, seed: int) -> tuple[float, float, int]:
    """Ratio of summed counts, its error over resampled complexes, and the number of terms."""
    table = torch.zeros(complexes, 2, dtype=torch.float64)
    table.index_add_(0, torch.arange(len(counts)) % complexes, torch.tensor(counts, dtype=torch.float64))
    again = torch.randint(complexes, (RESAMPLED, complexes), generator=step_generator(seed, 8))
    drawn = table[again].sum(1)
    drawn = drawn[drawn[:, 1] > 0]
    top, bottom = table.sum(0).tolist()
    if not bottom:
        return 0.0, 0.0, 0
    return top / bottom, float((drawn[:, 0] / drawn[:, 1]).std()), round(bottom)


def _unit(name: str) -> str:
    if name.startswith("rmsd"):
        return "nm"
    return "degree" if name.endswith("_mae") else "clashes/residue" if name == "clashes" else "fraction"
