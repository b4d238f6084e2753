"""Sequences from FASTA, A2M, A3M, Stockholm and CSV files, aligned or not, and into FASTA and Stockholm."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..alphabets import AMINO_ACIDS, DNA, RNA
from ..errors import InputError
from ..training.tables import find_columns, read_rows
from .structure import consensus_pairs

__all__ = ["Family", "read_families", "read_family", "write_fasta", "write_stockholm"]

_AMBIGUOUS = {"nucleotides": "RYSWKMBDHVN", "amino acids": "XBZJUO*"}
_GAPS = re.compile(r"[-._~]")
_FORMATS = "give FASTA, A2M, A3M, Stockholm or CSV"


@dataclass(frozen=True)
class Family:
    """Distinct sequences (n) and, where the file is an alignment, their rows of it, all of one length, with ``-``.

    Attributes:
        letters: those of DNA, of RNA or of proteins.
        dropped: counts of what was left out, by reason.
        structure: the consensus structure of a Stockholm file of nucleotides (its line SS_cons), a letter a column.
        labels: of a CSV file with a column ``label``, one a sequence.
    """

    path: Path
    names: list[str]
    sequences: list[str]
    aligned: list[str] | None
    dropped: Counter[str]
    letters: str
    structure: str | None = None
    labels: list[str] | None = None

    @property
    def name(self) -> str:
        """That of the file."""
        return self.path.stem


@dataclass
class _Rows:
    """Rows by name, as they are written, and what stands beside them."""

    rows: dict[str, str] = field(default_factory=dict)
    structure: str | None = None
    labels: dict[str, str] | None = None

    def new(self, name: str, row: str = "") -> str:
        """Begin a row; where its name is taken, it gets its number. Returns the name."""
        name = name if name not in self.rows else f"{name}_{len(self.rows)}"
        self.rows[name] = row
        return name


def read_families(path: Path) -> list[Family]:
    """The family of a file, or those of a folder, one a file: see :func:`read_family`."""
    files = sorted(f for f in path.iterdir() if f.is_file() and f.name[0] != ".") if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: an empty folder; put FASTA, A2M, A3M or Stockholm files there, one a family")
    return [read_family(file) for file in files]


def read_family(path: Path) -> Family:
    """The sequences of a file: FASTA, A2M, A3M, Stockholm, or a table (CSV, TSV) with a column ``sequence``.

    Nucleotides are told from amino acids by their letters. Left out, and counted, are sequences with letters that stand
    for several (N, R, X, B, …), and those that were there before (by themselves where they had another label). A
    file with gaps, or of sequences of one length, is an alignment; in ``.a2m`` and ``.a3m`` files small letters are
    insertions.

    Raises:
        InputError: no sequences, rows of unequal lengths, letters of neither alphabet.
    """
    file = _read(path)
    rows = file.rows
    if path.suffix in (".a2m", ".a3m"):
        rows = dict(zip(rows, _columns(path, list(rows.values())), strict=True))
    rows = {name: _GAPS.sub("-", row).upper() for name, row in rows.items()}
    lengths = Counter(map(len, rows.values()))
    if len(lengths) > 1 and any("-" in row for row in rows.values()):
        odd = next(name for name, row in rows.items() if len(row) != lengths.most_common(1)[0][0])
        raise InputError(
            f"{path}: {odd} has {len(rows[odd])} columns, most others {lengths.most_common(1)[0][0]}: an alignment has "
            "rows of one length; mend it, or take out the gaps and use study=sequence_family"
        )
    found = set("".join(rows.values())) - {"-"}
    proper = {letter for letter in found if letter.isalpha()}
    kind = "nucleotides" if proper <= set(DNA + RNA + _AMBIGUOUS["nucleotides"]) else "amino acids"
    letters = AMINO_ACIDS if kind == "amino acids" else RNA if "U" in found else DNA
    if unknown := found - set(letters + _AMBIGUOUS[kind] + ("T" if letters == RNA else "")):
        name = next(name for name, row in rows.items() if unknown & set(row))
        raise InputError(f"{path}: {name} has the letter {min(unknown)!r}, which is none of {kind}; mend or remove it")
    dropped, kept = Counter[str](), dict[str, tuple[str, str]]()
    labels = file.labels or {}
    for name, row in rows.items():
        row = row.replace("T", "U") if letters == RNA else row
        sequence = row.replace("-", "")
        if not sequence or not set(sequence) <= set(letters):
            dropped["with ambiguous letters, or empty"] += 1
        elif sequence in kept and labels.get(name) != labels.get(kept[sequence][0]):
            dropped["the same as another, of another label"] += 1
        elif sequence in kept:
            dropped["the same as another"] += 1
        else:
            kept[sequence] = name, row
    if not kept:
        raise InputError(f"{path}: all {len(rows)} sequences have ambiguous letters, or none; give others")
    names, kept_rows = (list(part) for part in zip(*kept.values(), strict=True))
    structure = file.structure if kind == "nucleotides" else None  # that of proteins is no structure of pairs
    if structure is not None and len(structure) != len(kept_rows[0]):
        raise InputError(f"{path}: SS_cons has {len(structure)} columns, the rows {len(kept_rows[0])}; mend it")
    try:
        consensus_pairs(structure or "")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    aligned = kept_rows if len(lengths) == 1 else None
    told = None if file.labels is None else [labels[name] for name in names]
    return Family(path, names, list(kept), aligned, dropped, letters, structure, told)


def _read(path: Path) -> _Rows:
    if path.suffix in (".csv", ".tsv"):
        found = _table(path)
    else:
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; {_FORMATS}") from error
        except IsADirectoryError as error:
            raise InputError(f"{path}: a folder; give a file") from error
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not a text file; {_FORMATS}") from error
        stockholm = bool(lines) and lines[0].startswith("# STOCKHOLM")
        found = _stockholm(path, lines) if stockholm else _fasta(path, lines)
    if not any(found.rows.values()):
        raise InputError(f"{path}: holds no sequences; {_FORMATS}")
    return found


def _table(path: Path) -> _Rows:
    header, table = read_rows(path)
    (sequence,) = find_columns(path, header, [["sequence"]])
    place = {column.lower(): k for k, column in enumerate(header)}
    found = _Rows(labels={} if "label" in place else None)
    for number, row in enumerate(table, 1):
        name = found.new(row[place["name"]] if "name" in place else str(number), row[sequence].strip())
        if found.labels is not None:
            found.labels[name] = row[place["label"]]
    return found


def _stockholm(path: Path, lines: list[str]) -> _Rows:
    """A long alignment comes in blocks; its pieces are joined by name."""
    found, ended = _Rows(), False
    for line in lines:
        if ended and line.startswith("# STOCKHOLM"):
            raise InputError(f"{path}: holds several alignments; give each a file of its own")
        ended |= line.startswith("//")
        if line.startswith("#=GC SS_cons"):
            found.structure = (found.structure or "") + "".join(line.split()[2:])
        elif line.strip() and line[0] not in "#/":
            name, *piece = line.split()
            found.rows[name] = found.rows.get(name, "") + "".join(piece)
    return found


def _fasta(path: Path, lines: list[str]) -> _Rows:
    found, name = _Rows(), ""
    for line in lines:
        if line.startswith(">"):
            name = found.new((line[1:].split() or ["unnamed"])[0])
        elif line.strip() and line[0] not in "#;":
            if not name:
                raise InputError(f"{path}: neither FASTA (no '>' before {line[:20]!r}) nor Stockholm; convert it")
            found.rows[name] += "".join(line.split())
    return found


def _columns(path: Path, rows: list[str]) -> list[str]:
    """Rows in which insertions have columns of their own: between two match columns as many as the longest needs."""
    parts = [re.findall(r"([a-z]*)([A-Z-]|$)", row.replace(".", "")) for row in rows]
    if len(set(map(len, parts))) > 1:
        raise InputError(f"{path}: rows have unequal numbers of capitals and '-'; is it {path.suffix[1:].upper()}?")
    widths = [max(len(row[k][0]) for row in parts) for k in range(len(parts[0]))]
    return ["".join(inserted.ljust(width, "-") + match for (inserted, match), width in zip(row, widths, strict=True))
            for row in parts]  # fmt: skip


def write_fasta(names: Sequence[str], sequences: Sequence[str], path: Path) -> None:
    """A line of name (and what may follow it), a line of sequence."""
    path.write_text("".join(f">{name}\n{row}\n" for name, row in zip(names, sequences, strict=True)))


def write_stockholm(names: Sequence[str], rows: Sequence[str], structure: str | None, path: Path) -> None:
    """An alignment in one block, with the consensus structure of its columns where there is one."""
    lines = [*zip(names, rows, strict=True), *([("#=GC SS_cons", structure)] if structure else [])]
    width = max(len(name) for name, _ in lines) + 2
    path.write_text("# STOCKHOLM 1.0\n\n" + "".join(f"{name:{width}}{row}\n" for name, row in lines) + "//\n")
