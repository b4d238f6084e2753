"""Peptides bound to receptors: complexes from files, pockets around peptides, pieces of receptors as peptides."""

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..errors import InputError
from .clusters import cluster
from .collection import read_structures
from .residues import UNKNOWN
from .structure import Chain
from .tensors import residues

__all__ = ["FEWEST", "SHORTEST", "Complex", "Pocket", "bound", "families", "pieces", "read_complexes"]

SHORTEST = 5  # residues of a peptide
FEWEST = 5  # residues of a pocket
_FLANK = 2  # residues on either side of a piece that its pocket leaves out
_TRIES = 5  # for each piece: most stretches are buried, or broken
_ALIKE = 0.5  # of the words of a peptide, which has few: more is a copy, or a part of the other
_NEIGHBOURS = 1.0  # nm between Cα, to count what buries a residue

Residues = dict[str, Tensor]


@dataclass(frozen=True)
class Complex:
    """A peptide and its receptor's chains."""

    name: str
    peptide: Chain
    receptor: list[Chain]

    @property
    def sequence(self) -> str:
        """One-letter names of the receptor, chain after chain."""
        return "".join(chain.sequence for chain in self.receptor)


@dataclass
class Pocket:
    """Which residues of a receptor are given: those with an atom within ``radius`` [nm] of the peptide, the nearest
    ``most`` of them. The pocket is known in use, as is usual in the field; where the peptide lies in it is not."""

    radius: float = 0.8
    most: int = 64
    longest: int = 25  # residues of a peptide


def read_complexes(path: Path, pocket: Pocket, peptide_chain: str = "") -> tuple[list[Complex], list[str]]:
    """Complexes of a folder or an archive, and what was left out and why.

    With ``peptide_chain`` each file is a complex, whose chain of that name is the peptide; else each folder is, of all
    the files in it (or each file, where there are no folders), and its shortest chain is the peptide.

    Raises:
        InputError: no complex in it.
    """
    chains, left_out, unread = read_structures(path)
    notes: list[str] = []
    groups = defaultdict(list)
    for chain in chains:
        folder = str(Path(chain.name).parent)
        groups[chain.name if peptide_chain or folder == "." else folder].append(chain)
    found = []
    for name, members in groups.items():
        named = [chain for chain in members if chain.id == peptide_chain] if peptide_chain else members
        if not named:
            ids = ", ".join(chain.id for chain in members)
            notes.append(f"{name}: no chain {peptide_chain}, but {ids}, left out")
            continue
        peptide = min(named, key=len)
        receptor = [chain for chain in members if chain is not peptide]
        one = Complex(Path(name).name, peptide, receptor)
        reason = _unfit(one, pocket)
        if reason:
            notes.append(f"{name}: {reason}, left out")
        else:
            found.append(one)
    if not found:
        raise InputError(
            f"{path}: no complex of a peptide and a receptor ({'; '.join(notes[:3])}); give a folder of folders "
            "with two PDB or mmCIF files each, or of whole complexes with study.peptide_chain=ID"
        )
    if notes:
        why = notes[0] + ("; …" if len(notes) > 1 else "")
        said = f"{len(found)} of {len(groups)} complexes are kept ({why}; see meta.json)"
        print(f"{path}: {said}", file=sys.stderr, flush=True)
    return found, unread + notes + [note for note in left_out if "atoms missing" not in note]


def families(complexes: Sequence[Complex]) -> list[int]:
    """The family of each complex, 0, 1, …: joined by receptors of one cluster, or by peptides alike.

    A peptide that binds to unlike receptors is the same answer twice: such complexes share a split too.
    """
    receptors = np.array(cluster([one.sequence for one in complexes]))
    peptides = len(complexes) + np.array(cluster([one.peptide.sequence for one in complexes], _ALIKE))
    links = coo_array((np.ones(len(complexes)), (receptors, peptides)), shape=(2 * len(complexes),) * 2)
    joined = connected_components(links, directed=False)[1][receptors]
    return np.unique(joined, return_inverse=True)[1].tolist()


def bound(name: Complex, pocket: Pocket) -> Residues:
    """The peptide and then its pocket, as :func:`.tensors.residues` has them, about the centre of the pocket's CA.

    ``context`` marks the pocket; ``chain`` is 0 for the peptide; ``origin`` (N, 3) is that centre in the file [nm], the
    same for all residues, and ``author`` (N, 2) their numbers and insertion codes (0: blank) there: so that what is
    written lies on the receptor, and residues keep their names.
    """
    peptide = _residues([name.peptide])
    receptor = _residues(name.receptor)
    return _centred(peptide, receptor, torch.ones(len(receptor["aatype"]), dtype=torch.bool), pocket)


def pieces(chains: Sequence[Chain], pocket: Pocket, number: int, generator: torch.Generator) -> Iterator[Residues]:
    """At most ``number`` stretches of a receptor's surface as peptides, in their surroundings as pockets.

    Each has 5 … ``pocket.longest`` residues, unbroken and less buried than half of all. Two residues on either side are
    left out of its pocket: the ends of a peptide are free.
    """
    receptor = _residues(chains)
    ca, chain, index = receptor["atoms"][:, 1], receptor["chain"], receptor["residue_index"]
    buried = (torch.cdist(ca, ca) < _NEIGHBOURS).double().sum(1)
    found = 0
    for _ in range(_TRIES * number):
        start = int(torch.randint(len(ca), (), generator=generator))
        length = int(torch.randint(SHORTEST, pocket.longest + 1, (), generator=generator))
        chosen = torch.arange(start, min(start + length, len(ca)))
        joined = bool((index[chosen].diff() == 1).all() and (chain[chosen] == chain[start]).all())
        known = bool((receptor["aatype"][chosen] != UNKNOWN).all())
        beside = (chain != chain[start]) | (index < index[start] - _FLANK) | (index > index[chosen[-1]] + _FLANK)
        if len(chosen) < SHORTEST or not joined or not known or buried[chosen].mean() > buried.median():
            continue
        piece = _centred({key: value[chosen] for key, value in receptor.items()}, receptor, beside, pocket)
        if piece["context"].sum() >= FEWEST:
            yield piece
            found += 1
        if found == number:
            return


def _unfit(one: Complex, pocket: Pocket) -> str:
    """Why a complex is not taken, or nothing."""
    if not one.receptor:
        return "one chain only"
    if not SHORTEST <= len(one.peptide) <= pocket.longest:
        return f"a peptide of {len(one.peptide)} residues, not {SHORTEST} to {pocket.longest}"
    if (one.peptide.aatype == UNKNOWN).any():
        return "unknown residues in the peptide"
    if not one.peptide.bonded[:-1].all():
        return "a break in the peptide"
    near = int(bound(one, pocket)["context"].sum())
    return "" if near >= FEWEST else f"{near} residues of the receptor near the peptide, not {FEWEST}"


def _residues(chains: Sequence[Chain]) -> Residues:
    """What models read of them, their atoms, and how the file numbers them."""
    atoms, atom_mask, numbers = (
        torch.cat([getattr(chain, name) for chain in chains]) for name in ("atoms", "atom_mask", "residue_index")
    )
    codes = [ord(code or "\0") for chain in chains for code in chain.insertions or [""] * len(chain)]
    author = torch.stack([numbers, torch.tensor(codes)], -1)
    return {**residues(chains), "atoms": atoms, "atom_mask": atom_mask, "author": author}


def _centred(peptide: Residues, receptor: Residues, allowed: Tensor, pocket: Pocket) -> Residues:
    far = torch.cdist(receptor["atoms"].flatten(0, 1), peptide["atoms"][peptide["atom_mask"]]).amin(1)
    nearest = torch.where(receptor["atom_mask"] & allowed[:, None], far.unflatten(0, (-1, 14)), torch.inf).amin(1)
    chosen = nearest.argsort()[: pocket.most]
    chosen = chosen[nearest[chosen] < pocket.radius].sort().values
    length = len(peptide["aatype"])
    both = {key: torch.cat([value, receptor[key][chosen]]) for key, value in peptide.items()}
    both["chain"] = torch.cat([torch.zeros(length, dtype=torch.long), receptor["chain"][chosen] + 1])
    centre = receptor["atoms"][chosen, 1].mean(0)
    both["translation"] = (both["translation"] - centre).float()
    both["origin"] = centre.float().expand(len(both["aatype"]), 3)
    both["context"] = torch.arange(len(both["aatype"])) >= length
    return {key: value for key, value in both.items() if key not in ("atoms", "atom_mask")}
