"""Motifs of DNA from files of frequency matrices: TRANSFAC, JASPAR and minimal MEME."""

import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor

from ..alphabets import DNA
from ..errors import InputError

__all__ = ["Motif", "find_motif", "read_motifs"]

_NUMBER = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?"
_MEME_SITES = 20  # sites of a MEME matrix that does not say


@dataclass(frozen=True)
class Motif:
    """How often each letter stands at each place of a motif: ``counts (w, 4)`` in the order A, C, G, T."""

    accession: str
    name: str
    counts: Tensor

    def probabilities(self, pseudocount: float) -> Tensor:
        """``(w, 4)``, each place normalised by itself, as totals differ; the pseudocount is shared by the letters."""
        shared = self.counts + pseudocount / len(DNA)
        return shared / shared.sum(-1, keepdim=True)


def read_motifs(path: Path) -> list[Motif]:
    """The motifs of a file, whose format is told from its text.

    Raises:
        InputError: none of these formats, a matrix without four numbers a place, negative ones, places without counts.
    """
    try:
        text = path.read_text()
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder; give a file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file; give motifs as TRANSFAC, JASPAR or MEME") from error
    formats = {r"^letter-probability matrix": _meme, r"^>": _jaspar, r"^P[O0]\s": _transfac}
    for sign, read in formats.items():
        if re.search(sign, text, re.MULTILINE):
            return [_motif(path, *found) for found in read(text)]
    raise InputError(
        f"{path}: no matrices of TRANSFAC (lines PO), JASPAR (lines >) or MEME (letter-probability matrix)"
    )


def find_motif(motifs: list[Motif], name: str, path: Path) -> Motif:
    """By accession or name, whatever its case. Raises InputError: none, or several of that name."""
    found = [m for m in motifs if name.upper() in (m.accession.upper(), m.name.upper())]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{path}: {len(found)} motifs {name}; say which: {', '.join(m.accession for m in found)}")
    some = ", ".join([m.accession for m in motifs[:5]] + ["…"] * bool(motifs[5:]))
    raise InputError(f"{path}: no motif {name}; it has {some}; say study.data.classes=[…]")


_Found = tuple[str, str, list[list[float]]]


def _transfac(text: str) -> list[_Found]:
    found = []
    for block in re.split(r"^//.*$", text, flags=re.MULTILINE):
        rows = re.findall(r"^\d+[ \t]+(.*)$", block, re.MULTILINE)
        fields: dict[str, str] = dict(re.findall(r"^(AC|ID)[ \t]+(\S+)", block, re.MULTILINE))
        if rows:
            name = fields.get("ID", fields.get("AC", "unnamed"))
            found.append((fields.get("AC", name), name, [_numbers(row) for row in rows]))
    return found


def _jaspar(text: str) -> list[_Found]:
    found = []
    for block in re.split(r"^>", text, flags=re.MULTILINE)[1:]:
        head, *lines = block.splitlines()
        words = head.split() or ["unnamed"]
        letters = [_numbers(re.sub(r"^\s*[ACGTacgt]\b|[\[\]]", " ", line)) for line in lines if line.strip()]
        rows = [list(place) for place in zip(*letters, strict=False)]
        uneven = len({len(row) for row in letters}) > 1
        found.append((words[0], words[-1], [[]] if uneven or not rows else rows))
    return found


def _meme(text: str) -> list[_Found]:
    found = []
    for block in re.split(r"^MOTIF\s+", text, flags=re.MULTILINE)[1:]:
        head, _, rest = block.partition("\n")
        words = head.split()[:2] or ["unnamed"]
        says, _, table = rest.partition("letter-probability matrix")[2].partition("\n")
        sites = re.search(rf"nsites=\s*({_NUMBER})", says)
        rows = [_numbers(line) for line in takewhile(re.compile(r"\s*[\d.]").match, table.splitlines())]
        counts = float(sites[1]) if sites else _MEME_SITES
        found.append((words[0], words[-1], [[counts * p for p in row] for row in rows] or [[]]))
    return found


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(_NUMBER, text)]


def _motif(path: Path, accession: str, name: str, rows: list[list[float]]) -> Motif:
    for place, row in enumerate(rows, 1):
        if len(row) != len(DNA) or min(row) < 0 or sum(row) <= 0:
            raise InputError(f"{path}: place {place} of motif {accession} needs four counts for A, C, G, T; mend it")
    return Motif(accession, name, torch.tensor(rows, dtype=torch.float64))
