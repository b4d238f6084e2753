"""Atoms as the lines of PDB and mmCIF files have them, and notes of what is not taken."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..errors import InputError

__all__ = ["Atom", "Notes", "read_cif", "read_pdb"]


class Atom(NamedTuple):
    part: int  # chains that were ended so far
    chain: str
    number: int
    insertion: str
    residue: str
    name: str
    altloc: str
    occupancy: float
    hetero: bool  # HETATM, and not of a polymer that goes on
    position: tuple[float, float, float]  # Å


class Notes:
    """What was left out of a file or altered, by reason."""

    def __init__(self, file: str) -> None:
        self.file, self.reasons = file, defaultdict[str, list[str]](list)

    def add(self, reason: str, what: str) -> None:
        self.reasons[reason].append(what)

    def lines(self) -> list[str]:
        def few(items: list[str]) -> str:
            names = [item if n == 1 else f"{n} {item}" for item, n in Counter(items).items()]
            return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

        return [f"{self.file}: {reason}: {few(items)}" for reason, items in self.reasons.items()]


def read_pdb(lines: Sequence[str], file: str, notes: Notes) -> Iterator[Atom]:
    """Fixed columns, up to occupancy; what stands behind it is not read, for many programs write their own there.

    Modified residues of a chain stand before its TER, and ligands of the same name behind it.
    """
    part, ends = 0, dict[str, int]()
    for count, (before, line) in enumerate(pairwise(lines), 2):
        if line.startswith("TER"):
            ends.setdefault(before[21:22].strip(), count)
    for count, line in enumerate(lines, 1):
        record = line[:6]
        if record == "ENDMDL":
            if any(later.startswith("MODEL") for later in lines[count:]):
                notes.add("only the first model is read", "others left out")
            return
        if record.startswith("TER"):
            part += 1
        if record not in ("ATOM  ", "HETATM"):
            continue
        try:
            yield Atom(
                part,
                line[21].strip(),
                int(line[22:26]),
                line[26].strip(),
                line[17:20].strip(),
                line[12:16].strip(),
                line[16].strip(),
                float(line[54:60].strip() or 1),
                record == "HETATM" and count > ends.get(line[21].strip(), 0),
                (float(line[30:38]), float(line[38:46]), float(line[46:54])),
            )
        except (ValueError, IndexError) as error:
            where = f"{file}, line {count}: {line.strip()[:60]!r}"
            raise InputError(f"{where} has no number, x, y and z in their columns; is the file complete?") from error


_VALUE = re.compile(r"""'(.*?)'(?=\s|$)|"(.*?)"(?=\s|$)|(\S+)""")


def read_cif(lines: Sequence[str], file: str, notes: Notes) -> Iterator[Atom]:
    """The loop ``_atom_site``, with the authors' names and numbers where the file has them (Hall et al. 1991)."""
    loops = (i for i, line in enumerate(lines, 1) if line.strip() == "loop_")
    start = next((i for i in loops if i < len(lines) and lines[i].startswith("_atom_site.")), len(lines))
    columns: dict[str, int] = {}
    while start < len(lines) and lines[start].startswith("_atom_site."):
        columns[lines[start].split()[0].removeprefix("_atom_site.").lower()] = len(columns)
        start += 1

    def place(*names: str) -> int:
        for name in names:
            if name in columns:
                return columns[name]
        raise InputError(f"{file}: no column _atom_site.{names[-1]}; give an mmCIF file with atoms")

    xyz = [place(f"cartn_{axis}") for axis in "xyz"]
    chain, number = place("auth_asym_id", "label_asym_id"), place("auth_seq_id", "label_seq_id")
    residue, name = place("label_comp_id", "auth_comp_id"), place("label_atom_id", "auth_atom_id")
    model, insertion, altloc = (
        columns.get(key, -1) for key in ("pdbx_pdb_model_num", "pdbx_pdb_ins_code", "label_alt_id")
    )
    occupancy, group, polymer = (columns.get(key, -1) for key in ("occupancy", "group_pdb", "label_seq_id"))
    first: str | None = None
    row: list[str] = []
    for count, line in enumerate(lines[start:], start + 1):
        if not row and (line.startswith(("#", "_", "data_")) or line.strip() == "loop_"):
            return
        quoted = "'" in line or '"' in line
        row += ["".join(match) for match in _VALUE.findall(line)] if quoted else line.split()
        if len(row) < len(columns):  # a row may go on in the next line
            continue
        values = [*("" if value in (".", "?") else value for value in row), ""]  # −1, a missing column, is blank
        row = []
        first = first if first is not None else values[model]
        if values[model] != first:
            notes.add("only the first model is read", "others left out")
            return
        if not values[number]:  # waters and ligands of some programs
            continue
        try:
            yield Atom(
                0,
                values[chain],
                int(values[number]),
                values[insertion],
                values[residue],
                values[name],
                values[altloc],
                float(values[occupancy] or 1),
                values[group] == "HETATM" and not values[polymer],
                (float(values[xyz[0]]), float(values[xyz[1]]), float(values[xyz[2]])),
            )
        except (ValueError, IndexError) as error:
            where = f"{file}, line {count}: {line.strip()[:60]!r}"
            raise InputError(f"{where} is no row of _atom_site ({error}); is the file complete?") from error
    if row:
        raise InputError(f"{file}: ends within a row of _atom_site; is the file complete?")
