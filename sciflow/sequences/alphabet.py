"""Letters by their numbers: of one study, and one numbering for families of any kind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..alphabets import AMINO_ACIDS, DNA, RNA

__all__ = ["FAMILIES", "GAP", "NOTHING", "SYMBOLS", "Alphabet", "alphabet", "encode", "letters"]

#: The letter of a gap.
GAP = "-"


@dataclass(frozen=True)
class Alphabet:
    """Letters with the numbers 0…K−1, in the order of ``letters``; the gap of an alignment is one of them."""

    letters: str

    def __len__(self) -> int:
        return len(self.letters)

    @property
    def gap(self) -> int:
        """The number of the gap; K, which no letter has, where there is none."""
        return self.letters.find(GAP) % (len(self) + 1)

    def encode(self, rows: Sequence[str]) -> Tensor:
        """Numbers (n, L), long, of n rows of one length. Raises ValueError: unequal lengths, unknown letters."""
        table = np.full(256, -1)
        table[np.frombuffer(self.letters.encode(), np.uint8)] = np.arange(len(self))
        numbers = table[np.frombuffer("".join(rows).encode("latin-1"), np.uint8)]
        if (numbers < 0).any() or len(set(map(len, rows))) > 1:
            raise ValueError(f"{len(rows)} rows are not of one length, or not in the letters {self.letters}")
        return torch.from_numpy(numbers.reshape(len(rows), len(rows[0]) if rows else 0))

    def decode(self, tokens: Tensor) -> list[str]:
        """Rows of letters of numbers (n, L)."""
        table = np.frombuffer(self.letters.encode(), np.uint8)
        return [row.tobytes().decode() for row in table[tokens.cpu().numpy()]]


#: Amino acids, and the U of RNA: proteins, DNA and RNA share their numbers where families of all kinds are read.
SYMBOLS = AMINO_ACIDS + "U"
#: Their number of a gap in an alignment, and of every place after the end of a sequence.
NOTHING = len(SYMBOLS)
FAMILIES = Alphabet(SYMBOLS + GAP)


def encode(rows: Sequence[str], width: int) -> Tensor:
    """Numbers (n, width) in ``FAMILIES``; gaps and what is beyond the end are ``NOTHING``."""
    return FAMILIES.encode([row.ljust(width, GAP) for row in rows])


def letters(x: Tensor) -> list[str]:
    """Numbers (n, L) in ``FAMILIES`` as letters, without gaps."""
    return [row.replace(GAP, "") for row in FAMILIES.decode(x)]


def alphabet(x: Tensor) -> Tensor:
    """Which symbols (letters,) encoded sequences are written in: four nucleotides, or all amino acids."""
    found = set(letters(x.flatten()[None])[0])
    proper = AMINO_ACIDS if found - set(DNA + RNA) else RNA if "U" in found else DNA
    return torch.tensor([letter in proper for letter in SYMBOLS])
