"""Motifs of known structures, and where a protein that is built around one holds it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from .frames import frames
from .structure import Chain, read_structure

__all__ = ["Motif", "MotifFile"]

_SEGMENT = re.compile(r"([A-Za-z]\w*?)(-?\d+)(?:-(-?\d+))?")
_BETWEEN = re.compile(r"(\d+)(?:-(\d+))?")


class Motif(NamedTuple):
    """Segments of M residues in all, in the order of the protein to be."""

    translation: Tensor  # (M, 3)
    rotation: Tensor  # (M, 4)
    aatype: Tensor  # (M,)
    between: list[tuple[int, int]]  # the fewest and the most residues before each of them; none within a segment

    def place(self, length: int, generator: torch.Generator) -> Tensor:
        """Places (M,) in a protein of that length: gaps, and where the first segment starts, drawn uniformly.

        Raises:
            InputError: the motif may take more residues than there are.
        """
        self.check(length)
        u = torch.rand(len(self.between) + 1, generator=generator, dtype=torch.float64).tolist()
        gaps = [low + int(v * (high - low + 1)) for (low, high), v in zip(self.between, u, strict=False)]
        places = torch.tensor(gaps).cumsum(0) + torch.arange(len(gaps))
        free = length - int(places[-1]) - 1
        return places + int(u[-1] * (free + 1))

    def check(self, length: int) -> None:
        """Refuse a protein that does not hold the motif at its longest. Raises InputError."""
        longest = len(self.between) + sum(most for _, most in self.between)
        if length < longest:
            raise InputError(
                f"study.lengths: {length} residues do not hold a motif that takes up to {longest}; make them longer"
            )


@dataclass
class MotifFile:
    """A motif of a structure that is known.

    Attributes:
        pdb: a PDB or mmCIF file; none: nothing is given.
        residues: by chain and number, such as ``A12-30``. Several segments are separated by ``/``, with how many
            residues lie between them, ``A12-30/8-15/B45-52``; left out, as many as in the chain.
        guidance: 0 holds the motif's frames as they are, for a model that has learnt the task ``motif``. Above, they
            are free, and pulled with this strength: of any model, and without a promise; the report measures it.
    """

    pdb: Path | None = None
    residues: str = ""
    guidance: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.guidance < float("inf"):
            raise InputError(f"study.motif.guidance={self.guidance} must be 0 or more")
        if bool(self.pdb) != bool(self.residues):
            raise InputError("study.motif: pdb and residues belong together; give both, or neither")

    def read(self) -> Motif | None:
        """The motif, if there is one. Raises InputError: no such residues, or nothing that says how far apart."""
        if self.pdb is None:
            return None
        chains = {chain.id: chain for chain in read_structure(self.pdb)[0]}
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        between: list[tuple[int, int]] = []
        gap: tuple[int, int] | None = (0, 0)
        end: tuple[str, int] | None = None
        for item in self.residues.split("/"):
            if (match := _BETWEEN.fullmatch(item)) and end:
                gap = int(match[1]), int(match[2] or match[1])
                continue
            name, first, last = self._segment(item)
            if gap is None:
                if end is None or end[0] != name or first <= end[1]:
                    raise InputError(
                        f"study.motif.residues={self.residues}: say how many residues lie before {item}, as in /8-15/"
                    )
                gap = (first - end[1] - 1,) * 2
            if gap[0] > gap[1]:
                raise InputError(f"study.motif.residues={self.residues}: {gap[0]}-{gap[1]} holds no number")
            parts.append(self._frames(chains, name, first, last))
            between += [gap] + [(0, 0)] * (len(parts[-1][0]) - 1)
            gap, end = None, (name, last)
        if gap is not None:
            raise InputError(f"study.motif.residues={self.residues}: ends with a number; end with a segment")
        translation, rotation, aatype = (torch.cat(part) for part in zip(*parts, strict=True))
        return Motif(translation, rotation, aatype, between)

    def _segment(self, item: str) -> tuple[str, int, int]:
        match = _SEGMENT.fullmatch(item)
        if not match or int(match[3] or match[2]) < int(match[2]):
            raise InputError(f"study.motif.residues={self.residues}: {item!r} is no segment; write A12-30")
        return match[1], int(match[2]), int(match[3] or match[2])

    def _frames(self, chains: dict[str, Chain], name: str, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
        if name not in chains:
            raise InputError(f"{self.pdb}: no chain {name}; it has {', '.join(chains)}")
        chain = chains[name]
        chosen = (chain.residue_index >= first) & (chain.residue_index <= last)
        if int(chosen.sum()) != last - first + 1:
            raise InputError(
                f"{self.pdb}: chain {name} has {int(chosen.sum())} of the residues {first} to {last}; "
                f"it goes from {int(chain.residue_index[0])} to {int(chain.residue_index[-1])}"
            )
        n, ca, c = chain.atoms[chosen, :3].float().unbind(1)
        return *frames(n, ca, c), chain.aatype[chosen]
