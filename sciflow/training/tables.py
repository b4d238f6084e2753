"""Columns of numbers from the tables that people have: CSV or TSV, with or without a header, other columns beside."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError

__all__ = ["find_columns", "numbers", "read_rows", "read_table", "write_table"]


def read_table(path: Path) -> Tensor:
    """A table of numbers alone, ``(rows, columns)``, float32. Raises InputError, naming line and column."""
    header, rows = read_rows(path)
    return torch.from_numpy(numbers(path, header, rows, range(len(header)))).float()


def read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table; the separator is the comma, or the tab in ``*.tsv``.

    Raises:
        InputError: no such file, not text, no rows, a row that is longer or shorter than the header.
    """
    separator = "\t" if path.suffix == ".tsv" else ","
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter=separator) if row]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder; give a file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table in UTF-8 text ({error}); save it as CSV") from error
    if len(rows) < 2:
        raise InputError(f"{path}: {len(rows)} line(s); give a header and rows")
    header = [name.strip() for name in rows[0]]
    if all(map(_is_number, header)):
        raise InputError(f"{path}, line 1: {', '.join(header)}: numbers; begin with a line that names the columns")
    if len(header) == 1 and ";" in header[0]:
        raise InputError(f"{path}: columns are separated by ';'; separate them by commas, and write 1.5, not 1,5")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: {len(row)} values under a header of {len(header)}; mend that line")
    return header, rows[1:]


def find_columns(path: Path, header: Sequence[str], wanted: Sequence[Sequence[str]]) -> list[int]:
    """Index of the column for each list of ``wanted`` names, whatever their case. Raises InputError."""
    known = [name.lower() for name in header]
    found = []
    for names in wanted:
        index = next((known.index(name.lower()) for name in names if name.lower() in known), None)
        if index is None:
            every = f"give {', '.join(each[0] for each in wanted)}; " if len(wanted) > 1 else ""
            has = f"its columns are {', '.join(header)}; rename one"
            raise InputError(f"{path}: no column {' or '.join(names)}; {every}{has}")
        found.append(index)
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def numbers(
    path: Path, header: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[int], first_line: int = 2
) -> np.ndarray:
    """Those columns as ``(rows, columns)``, float64. Raises InputError, naming line and column."""
    values = np.empty((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            try:
                values[i, j] = float(row[column])
            except ValueError:
                values[i, j] = math.nan
            if not math.isfinite(values[i, j]):
                raise InputError(
                    f"{path}, line {i + first_line}, column {header[column]}: {row[column]!r} is not a finite number; "
                    "mend or remove that line"
                )
    return values


def write_table(columns: dict[str, np.ndarray], path: Path) -> None:
    """A CSV file with a header."""
    table = np.column_stack(list(columns.values()))
    np.savetxt(path, table, fmt="%.6g", delimiter=",", header=",".join(columns), comments="")
