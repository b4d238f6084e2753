"""Consensus structures of nucleotides: which columns pair, and which letters can."""

from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

import torch
from torch import Tensor

from ..errors import InputError
from .alphabet import Alphabet

__all__ = ["consensus_pairs", "pair_table", "restricted"]

_OPEN = {opening: closing for opening, closing in zip("<([{" + ascii_uppercase, ">)]}" + ascii_lowercase, strict=True)}
_CLOSE = {closing: opening for opening, closing in _OPEN.items()}
_BONDS = ("AU", "UA", "GC", "CG", "GU", "UG")  # Watson–Crick, and wobble


def consensus_pairs(structure: str) -> list[tuple[int, int]]:
    """Columns (i, j), i < j, that pair, by i: ``<>``, ``()``, ``[]`` and ``{}`` nest; ``Aa`` … ``Zz`` may cross them.

    All other characters are unpaired columns, as in Stockholm files (Rfam's WUSS notation) and in dot-bracket strings.

    Raises:
        InputError: a bracket without its partner.
    """
    opened: dict[str, list[int]] = {}
    pairs = []
    for j, character in enumerate(structure):
        if character in _OPEN:
            opened.setdefault(character, []).append(j)
        elif character in _CLOSE:
            if not opened.get(_CLOSE[character]):
                raise InputError(f"SS_cons, column {j + 1}: {character!r} closes no {_CLOSE[character]!r}; mend it")
            pairs.append((opened[_CLOSE[character]].pop(), j))
    if left := [(places[-1], opening) for opening, places in opened.items() if places]:
        place, opening = min(left)
        raise InputError(f"SS_cons, column {place + 1}: {opening!r} is not closed; mend it")
    return sorted(pairs)


def restricted(structure: str, columns: Sequence[int]) -> str:
    """The structure of some of the columns: a pair of which one column is gone is none."""
    kept = set(columns)
    paired = {i for pair in consensus_pairs(structure) if kept.issuperset(pair) for i in pair}
    return "".join(structure[i] if i in paired or structure[i] not in (_OPEN | _CLOSE) else "." for i in columns)


def pair_table(letters: str) -> Tensor:
    """(K, K), true for two letters that pair: G with C, A with U (or T), and G with U (or T)."""
    rna = Alphabet(letters.replace("T", "U"))
    table = torch.zeros(len(rna), len(rna), dtype=torch.bool)
    a, b = rna.encode(["".join(side) for side in zip(*_BONDS, strict=True)])
    table[a, b] = True
    return table
