"""Homologous sequences from FASTA, A2M, A3M and Stockholm files, aligned or not, and how far they are apart."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..alphabets import AMINO_ACIDS
from ..errors import InputError

__all__ = ["NOTHING", "SYMBOLS", "Family", "alphabet", "edit_distances", "encode", "letters", "read_families"]

#: Amino acids, and the U of RNA: proteins, DNA and RNA share their numbers.
SYMBOLS = AMINO_ACIDS + "U"
#: The number of a gap in an alignment, and of every place after the end of a sequence.
NOTHING = len(SYMBOLS)

_NUCLEOTIDES = "ACGTU"
_AMBIGUOUS = {"nucleotides": "RYSWKMBDHVN", "amino acids": "XBZJUO*"}
_GAPS = re.compile(r"[-._~]")
_BLOCK = 4096  # pairs that are compared at once


@dataclass(frozen=True)
class Family:
    """Distinct sequences (n) and, where the file is an alignment, their rows of it, all of one length, with ``-``.

    ``dropped`` counts what was left out, by reason.
    """

    name: str
    names: list[str]
    sequences: list[str]
    aligned: list[str] | None
    dropped: Counter[str]


def read_families(path: Path) -> list[Family]:
    """The family of a file, or those of a folder, one a file.

    Nucleotides are told from amino acids by their letters. Left out, and counted, are sequences with letters that stand
    for several (N, R, X, B, …), and those that were there before. A file with gaps, or of sequences of one length, is
    an alignment; in ``.a2m`` and ``.a3m`` files small letters are insertions.

    Raises:
        InputError: no sequences, rows of unequal lengths, letters of neither alphabet.
    """
    files = sorted(f for f in path.iterdir() if f.is_file() and f.name[0] != ".") if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: an empty folder; put FASTA, A2M, A3M or Stockholm files there, one a family")
    return [_family(file) for file in files]


def _family(path: Path) -> Family:
    rows = _rows(path)
    if path.suffix in (".a2m", ".a3m"):
        rows = dict(zip(rows, _columns(path, list(rows.values())), strict=True))
    rows = {name: _GAPS.sub("-", row).upper() for name, row in rows.items()}
    lengths = Counter(map(len, rows.values()))
    if len(lengths) > 1 and any("-" in row for row in rows.values()):
        odd = next(name for name, row in rows.items() if len(row) != lengths.most_common(1)[0][0])
        raise InputError(
            f"{path}: {odd} has {len(rows[odd])} columns, most others {lengths.most_common(1)[0][0]}: an alignment has "
            "rows of one length; mend it, or take out the gaps"
        )
    found = set("".join(rows.values())) - {"-"}
    kind = "nucleotides" if found <= set(_NUCLEOTIDES + _AMBIGUOUS["nucleotides"]) else "amino acids"
    proper = set(_NUCLEOTIDES if kind == "nucleotides" else AMINO_ACIDS)
    if unknown := found - proper - set(_AMBIGUOUS[kind]):
        name = next(name for name, row in rows.items() if unknown & set(row))
        raise InputError(f"{path}: {name} has the letter {min(unknown)!r}, which is none of {kind}; mend or remove it")
    rna, dropped, kept = kind == "nucleotides" and "U" in found, Counter[str](), dict[str, tuple[str, str]]()
    for name, row in rows.items():
        row = row.replace("T", "U") if rna else row
        sequence = row.replace("-", "")
        if not sequence or not set(sequence) <= proper:
            dropped["with ambiguous letters, or empty"] += 1
        elif sequence in kept:
            dropped["the same as another"] += 1
        else:
            kept[sequence] = name, row
    if not kept:
        raise InputError(f"{path}: all {len(rows)} sequences have ambiguous letters, or none; give others")
    names, kept_rows = (list(part) for part in zip(*kept.values(), strict=True))
    return Family(path.stem, names, list(kept), kept_rows if len(lengths) == 1 else None, dropped)


def _rows(path: Path) -> dict[str, str]:
    """Rows by name, as they are written."""
    try:
        lines = path.read_text().splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file; give FASTA, A2M, A3M or Stockholm") from error
    rows: dict[str, str] = {}
    if lines and lines[0].startswith("# STOCKHOLM"):
        for line in lines:
            if line.strip() and line[0] not in "#/":
                name, *piece = line.split()  # a long alignment comes in blocks
                rows[name] = rows.get(name, "") + "".join(piece)
    else:
        name = ""
        for line in lines:
            if line.startswith(">"):
                name = (line[1:].split() or ["unnamed"])[0]
                name = name if name not in rows else f"{name}_{len(rows)}"
                rows[name] = ""
            elif line.strip() and line[0] not in "#;":
                if not name:
                    raise InputError(f"{path}: neither FASTA (no '>' before {line[:20]!r}) nor Stockholm; convert it")
                rows[name] += "".join(line.split())
    if not any(rows.values()):
        raise InputError(f"{path}: holds no sequences; give FASTA, A2M, A3M or Stockholm")
    return rows


def _columns(path: Path, rows: list[str]) -> list[str]:
    """Rows in which insertions have columns of their own: between two match columns as many as the longest needs."""
    parts = [re.findall(r"([a-z]*)([A-Z-]|$)", row.replace(".", "")) for row in rows]
    if len(set(map(len, parts))) > 1:
        raise InputError(f"{path}: rows have unequal numbers of capitals and '-'; is it {path.suffix[1:].upper()}?")
    widths = [max(len(row[k][0]) for row in parts) for k in range(len(parts[0]))]
    return ["".join(inserted.ljust(width, "-") + match for (inserted, match), width in zip(row, widths, strict=True))
            for row in parts]  # fmt: skip


def encode(rows: list[str], width: int) -> Tensor:
    """Letters as numbers (n, width); gaps and what is beyond the end are ``NOTHING``."""
    number = {letter: k for k, letter in enumerate(SYMBOLS)}
    return torch.tensor([[number.get(letter, NOTHING) for letter in row.ljust(width, "-")] for row in rows])


def alphabet(x: Tensor) -> Tensor:
    """Which symbols (letters,) encoded sequences are written in: four nucleotides, or all amino acids."""
    found = set(letters(x.flatten()[None])[0])
    proper = AMINO_ACIDS if found - set(_NUCLEOTIDES) else "ACGU" if "U" in found else "ACGT"
    return torch.tensor([letter in proper for letter in SYMBOLS])


def letters(x: Tensor) -> list[str]:
    """Numbers (n, L) as letters, without what is none."""
    return ["".join(SYMBOLS[k] for k in row if k < NOTHING) for row in x.tolist()]


def edit_distances(a: Tensor, b: Tensor) -> np.ndarray:
    """Least numbers of substitutions, insertions and deletions (n,) between pairs of encoded sequences (n, L), (n, M).

    Levenshtein's recursion, all pairs of a block at once.
    """
    found = np.empty(len(a), dtype=np.int16)
    for start in range(0, len(a), _BLOCK):
        x, y = (np.ascontiguousarray(s[start : start + _BLOCK].numpy().T.astype(np.int8)) for s in (a, b))
        ends_x, ends_y = ((s < NOTHING).sum(0) for s in (x, y))
        row = np.repeat(np.arange(len(y) + 1, dtype=np.int16)[:, None], x.shape[1], 1)
        pairs = np.arange(x.shape[1])
        distance = row[ends_y, pairs]
        for i, letter in enumerate(x[: ends_x.max()], 1):
            new = np.empty_like(row)
            new[0] = i
            np.minimum(row[1:] + 1, row[:-1] + (y != letter), out=new[1:])
            for j in range(1, len(new)):
                np.minimum(new[j], new[j - 1] + 1, out=new[j])
            row = new
            distance = np.where(ends_x == i, row[ends_y, pairs], distance)
        found[start : start + _BLOCK] = distance
    return found
