"""Torsion angles of nucleic acids and proteins, on a torus."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import FlatTorus, wrap
from ..training import Samples
from ..training.tables import find_columns, numbers, read_rows
from .study import Drawing, ManifoldStudy, Points, Splits, raw_file
from .torsion_figures import marginals, planes, ramachandran

__all__ = ["Angles", "ProteinTorsions", "RNATorsions"]

RNA = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "chi")
PROTEIN = ("phi", "psi", "chi1", "chi2", "chi3", "chi4")
# Side-chain torsions that are free; His and Trp χ3 are planar, those of Pro belong to its ring (Hintze et al. 2016).
FREE = {"lys": 6, "gln": 5, "his": 4, "trp": 4, "cys": 3, "cispro": 2}


@dataclass
class Angles:
    """A table of the user's: CSV or TSV with a header, a column an angle in degrees."""

    path: Path | None = None
    columns: list[str] = field(default_factory=list)  # their names; by default all
    group: str | None = None  # column that names the structure of a row, for split.by_group

    def read(self) -> tuple[list[str], Points]:
        """Names of the angles, and the angles in radians."""
        assert self.path is not None
        header, rows = read_rows(self.path)
        groups = None
        if self.group is not None:
            (place,) = find_columns(self.path, header, [[self.group]])
            groups = [row[place] for row in rows]
        names = self.columns or [name for name in header if name != self.group]
        places = find_columns(self.path, header, [[name] for name in names])
        angles = numbers(self.path, header, rows, places)
        if len(angles) > 10 and np.abs(angles).max() <= np.pi:
            raise InputError(f"{self.path}: every angle lies between −π and π; give degrees, not radians")
        return names, Points(radians(angles), groups)


@dataclass
class RNATorsions(ManifoldStudy):
    """Seven torsions of the nucleotides of RNA structures: backbone α β γ δ ε ζ and glycosidic χ.

    Source: Murray et al. 2003 (data); Huang et al. 2022, arXiv:2208.07949 (benchmark).
    """

    data: Angles = field(default_factory=Angles)

    @property
    def names(self) -> Sequence[str]:
        return RNA if self.data.path is None else self.data.read()[0]

    @property
    def sources(self) -> tuple[str, ...]:
        return ("rna_torsions",) if self.data.path is None else ()

    @property
    def manifold(self) -> FlatTorus:
        return FlatTorus(len(self.names))

    def read(self, raw: Path | None) -> Points:
        if self.data.path is not None:
            return self.data.read()[1]
        path = raw_file(raw, "rna_torsions", "rna.tsv")
        rows = [line.split("\t") for line in path.read_text().splitlines()]  # PDB id, base, angles; no header
        header = ["structure", "base", *RNA]
        return Points(radians(numbers(path, header, rows, range(2, 9), first_line=1)), [row[0] for row in rows])

    def columns(self, x: Tensor) -> dict[str, np.ndarray]:
        return degrees(x, self.names)

    def draw(self, samples: Samples, splits: Splits) -> dict[str, Drawing]:
        return {"planes": planes(samples, splits, self.names), "marginals": marginals(samples, splits, self.names)}

    def published(self) -> float | None:
        return -5.20 if self.data.path is None else None  # ± 0.067, Chen & Lipman 2023, other splits


@dataclass
class ProteinTorsions(ManifoldStudy):
    """φ, ψ and the free χ of one residue type in high-quality protein structures (Top8000).

    Source: Hintze et al. 2016, Proteins 84, 1177.
    """

    residue: str = "lys"
    data: Angles = field(default_factory=Angles)

    def __post_init__(self) -> None:
        if self.residue not in FREE:
            raise InputError(f"study.residue={self.residue!r}: use one of {', '.join(FREE)}, or data.path=FILE")

    @property
    def names(self) -> Sequence[str]:
        return PROTEIN[: FREE[self.residue]] if self.data.path is None else self.data.read()[0]

    @property
    def sources(self) -> tuple[str, ...]:
        return ("top8000_torsions",) if self.data.path is None else ()

    @property
    def manifold(self) -> FlatTorus:
        return FlatTorus(len(self.names))

    def read(self, raw: Path | None) -> Points:
        if self.data.path is not None:
            return self.data.read()[1]
        path = raw_file(raw, "top8000_torsions", f"rota8000-{self.residue}.csv")
        rows = [line.split(",") for line in path.read_text().splitlines()]  # label, φ, ψ, χ1 … χ4, …; no header
        width = len(self.names)
        whole = [row for row in rows if "NULL" not in row[1 : 1 + width]]
        header = ["residue", *PROTEIN]
        chains = [" ".join(row[0].split()[:2]) for row in whole]
        return Points(radians(numbers(path, header, whole, range(1, 1 + width), first_line=1)), chains)

    def columns(self, x: Tensor) -> dict[str, np.ndarray]:
        return degrees(x, self.names)

    def draw(self, samples: Samples, splits: Splits) -> dict[str, Drawing]:
        drawings = {"planes": planes(samples, splits, self.names), "marginals": marginals(samples, splits, self.names)}
        if tuple(self.names[:2]) == ("phi", "psi"):
            drawings["ramachandran"] = ramachandran(samples, splits)
        return drawings


def radians(angles: np.ndarray) -> Tensor:
    """Degrees in any range to radians in (−π, π], float32."""
    return wrap(torch.from_numpy(np.radians(angles))).float()


def degrees(x: Tensor, names: Sequence[str]) -> dict[str, np.ndarray]:
    """A column in degrees for each angle of ``x (N, d)``."""
    return dict(zip(names, np.degrees(x.double().numpy()).T, strict=True))
