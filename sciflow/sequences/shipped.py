"""Families of the data set ``rna_families``, which studies of a family learn where ``data.path`` gives no other."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

__all__ = ["ShippedFamily"]

_FAMILIES = ("tRNA", "5S_rRNA")


@dataclass
class ShippedFamily:
    """What studies of a family begin with.

    Attributes:
        family: ``tRNA`` or ``5S_rRNA``.
    """

    family: str = "tRNA"

    def __post_init__(self) -> None:
        if self.family not in _FAMILIES:
            raise InputError(f"study.family={self.family!r}: use one of {', '.join(_FAMILIES)}, or data.path=FILE")

    def shipped(self, raw: Path | None) -> Path:
        """Its file, among raw data."""
        return (raw or Path("data/raw")) / "rna_families" / f"{self.family}.sto"
