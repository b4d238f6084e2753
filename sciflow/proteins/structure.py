"""Chains of amino acids, and how they are read from files."""

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from .formats import Atom, Notes, read_cif, read_pdb
from .residues import ATOMS, PARENTS, THREE, UNKNOWN, sequence

__all__ = ["SUFFIXES", "Chain", "parse_structure", "read_structure"]

SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif")
_BOND = 0.2  # nm; C and N that are farther apart are not bonded
_WATERS = {"HOH", "WAT", "DOD", "TIP", "TIP3", "SOL"}


@dataclass(frozen=True, eq=False)
class Chain:
    """One chain, its residues in the order of the file; lengths in nm, float64."""

    name: str  # of the file, without its suffix
    id: str
    aatype: Tensor  # (N,) long
    atoms: Tensor  # (N, 14, 3)
    atom_mask: Tensor  # (N, 14) bool
    residue_index: Tensor  # (N,) long, as the authors number them
    insertions: tuple[str, ...] = field(default=())  # (N,) insertion codes; none: blank throughout

    def __len__(self) -> int:
        return len(self.aatype)

    @property
    def sequence(self) -> str:
        """One-letter names."""
        return sequence(self.aatype)

    @property
    def bonded(self) -> Tensor:
        """(N,) residues with a peptide bond to the next one, by the distance of C and N."""
        distance = (self.atoms[1:, 0] - self.atoms[:-1, 2]).norm(dim=-1)
        return torch.cat([distance < _BOND, torch.zeros(1, dtype=torch.bool)])

    @property
    def positions(self) -> Tensor:
        """(N,) numbers that count on over bonds and leave a gap at every break, at least as the authors number it."""
        jump = (self.residue_index[1:] - self.residue_index[:-1]).clamp_min(2)
        step = torch.where(self.bonded[:-1], 1, jump)
        return torch.cat([self.residue_index[:1], self.residue_index[:1] + step.cumsum(0)])


def read_structure(path: Path) -> tuple[list[Chain], list[str]]:
    """Chains of amino acids in the first model of a PDB or mmCIF file, packed as ``.gz`` or not, and what was left out.

    Of alternate locations the fullest is kept, residue by residue. Modified residues count as their parents, what is
    not one of the twenty L-amino acids as X. Waters, ligands and residues without N, CA and C are left out.

    Raises:
        InputError: no such file, not a structure, no amino acids in it.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return parse_structure(content, path.name)


def parse_structure(content: bytes, file: str) -> tuple[list[Chain], list[str]]:
    """The same of the content of a file of that name, which names the chains and says which format it is in."""
    name, plain = file, content
    if name.endswith(".gz"):
        name = name.removesuffix(".gz")
        try:
            plain = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise InputError(f"{file}: not a gzip file ({error})") from error
    stem, dot, suffix = name.rpartition(".")
    if dot + suffix.lower() not in SUFFIXES:
        raise InputError(f"{file}: neither PDB nor mmCIF by its name; name it one of *{', *'.join(SUFFIXES)}")
    lines = plain.decode("utf-8", "replace").splitlines()
    notes = Notes(file)
    read = read_cif if "cif" in suffix.lower() else read_pdb
    chains = _chains(read(lines, file, notes), stem, notes)
    if not chains:
        raise InputError(f"{file}: no amino acids with N, CA and C in it; give a structure of a protein")
    return chains, notes.lines()


class _Residue(NamedTuple):
    where: str
    aatype: int
    number: int
    insertion: str
    atoms: list[tuple[float, float, float]]  # 14, Å
    mask: list[bool]  # 14
    hetero: bool  # among the ligands by its place in the file


def _chains(atoms: Iterable[Atom], name: str, notes: Notes) -> list[Chain]:
    chains: dict[str, list[_Residue]] = {}
    seen: dict[str, dict[tuple[int, str], int]] = defaultdict(dict)  # residues of an id, with the part they stand in
    copies = Counter[str]()
    for (part, chain, number, insertion), group in groupby(atoms, key=lambda atom: atom[:4]):
        residue = _residue(list(group), notes)
        if residue is None:
            continue
        if (number, insertion) in seen[chain]:
            if seen[chain][number, insertion] == part:
                notes.add("of the same number as another, left out", residue.where)
                continue
            copies[chain] += 1  # numbers begin anew behind TER: another chain of the same id
            seen[chain] = {}
        seen[chain][number, insertion] = part
        chains.setdefault(f"{chain}{copies[chain] + 1}" if copies[chain] else chain, []).append(residue)
    found = [_chain(name, id, residues, notes) for id, residues in chains.items()]
    return [chain for chain in found if len(chain)]


def _residue(atoms: list[Atom], notes: Notes) -> _Residue | None:
    """Its atoms among those of the twenty; None where there is no backbone."""
    fullest: dict[str, float] = defaultdict(float)
    for atom in atoms:
        fullest[atom.altloc] += atom.occupancy
    fullest.pop("", None)
    if fullest:
        best = min(fullest, key=lambda altloc: (-fullest[altloc], altloc))
        atoms = [atom for atom in atoms if atom.altloc in ("", best)]
    one = next((atom for atom in atoms if atom.altloc), atoms[0])  # where residues alternate, its name is the one kept
    where = f"{one.chain} {one.residue}{one.number}{one.insertion}"
    position = {atom.name: atom.position for atom in reversed(atoms) if atom.residue == one.residue}
    if one.residue in _WATERS:
        return None
    if not {"N", "CA", "C"} <= position.keys():
        if one.residue in THREE or one.residue in PARENTS:
            notes.add("without N, CA or C, left out", where)
        else:
            notes.add("ligands left out", one.residue)
        return None
    parent = PARENTS.get(one.residue, one.residue)
    aatype = THREE.index(parent) if parent in THREE else UNKNOWN
    if len(fullest) > 1:
        notes.add("in alternate locations, the fullest kept", where)
    if parent != one.residue and aatype != UNKNOWN:
        notes.add("modified, taken for their parents", f"{one.residue} as {parent}")
    for usual, other in (("O", "OT1"), ("O", "O1"), ("SD", "SE"), ("SG", "SE"), ("CD1", "CD")):
        if other in position:  # of other programs, or selenium for sulphur
            position.setdefault(usual, position[other])
    names = ATOMS[aatype]
    mask = [i < len(names) and names[i] in position for i in range(14)]
    if sum(mask) < len(names):
        notes.add("with atoms missing", where)
    placed = [position[names[i]] if there else (0.0, 0.0, 0.0) for i, there in enumerate(mask)]
    return _Residue(where, aatype, one.number, one.insertion, placed, mask, one.hetero)


def _chain(name: str, id: str, residues: list[_Residue], notes: Notes) -> Chain:
    """Of residues with a backbone, without free amino acids (ligands, bonded to nothing)."""
    atoms = torch.tensor([residue.atoms for residue in residues], dtype=torch.float64) / 10
    mask = torch.tensor([residue.mask for residue in residues])
    aatype = torch.tensor([residue.aatype for residue in residues])
    n, ca, c, cb = (atoms[:, k] for k in (0, 1, 2, 4))
    normal = torch.linalg.cross(n - ca, c - ca)
    flat = ~(normal.norm(dim=-1) > 0.001)  # nm²; it is 0.021 in a good one, and NaN is none
    bonded = (n[1:] - c[:-1]).norm(dim=-1) < _BOND
    alone = torch.ones(len(atoms), dtype=torch.bool)
    alone[:-1] &= ~bonded
    alone[1:] &= ~bonded
    mirrored = (aatype != UNKNOWN) & mask[:, 4] & (((cb - ca) * normal).sum(-1) < 0)
    aatype[mirrored] = UNKNOWN
    mask[mirrored, 4:] = False
    atoms[mirrored, 4:] = 0
    kept = []
    for i, (residue, line, free, mirror) in enumerate(
        zip(residues, flat.tolist(), alone.tolist(), mirrored.tolist(), strict=True)
    ):
        if line:
            notes.add("N, CA and C on a line, left out", residue.where)
        elif residue.hetero and free:
            notes.add("free amino acids left out", residue.where)
        else:
            kept.append(i)
            if mirror:
                notes.add("D-amino acids, taken for X", residue.where)
            elif residue.aatype == UNKNOWN:
                notes.add("not one of the twenty, taken for X", residue.where)
    numbers = torch.tensor([residues[i].number for i in kept], dtype=torch.long)
    return Chain(name, id, aatype[kept], atoms[kept], mask[kept], numbers, tuple(residues[i].insertion for i in kept))
