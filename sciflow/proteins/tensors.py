"""Chains as padded tensors that models read, and back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad
from torch.nn.utils.rnn import pad_sequence

from ..training import SafetensorsDataset
from .frames import frames, torsions
from .residues import AMINO_ACIDS, UNKNOWN
from .structure import Chain

__all__ = ["ProteinDataset", "as_chains", "padded", "residues", "stacked", "tensors"]

_STATE = ("translation", "rotation", "torsions", "sequence")


def tensors(chains: Sequence[Chain], length: int | None = None) -> dict[str, Any]:
    """Proteins of one chain each, as :func:`stacked` has them."""
    return stacked([residues([chain]) for chain in chains], length)


def residues(chains: Sequence[Chain]) -> dict[str, Tensor]:
    """What a model reads of the residues of a protein, chain after chain, each (N, …), lengths in nm, float32.

    ``translation``, ``rotation``, ``torsions``, ``torsion_mask`` as :mod:`.frames` defines them; ``sequence`` (N, 20),
    one at the type, all alike for X; ``aatype``; ``residue_index``, with a gap at every break; ``chain``, 0, 1, …
    """
    parts = []
    for number, chain in enumerate(chains):
        translation, rotation = frames(*chain.atoms[:, :3].unbind(1))
        angles, known = torsions(chain.atoms, chain.atom_mask, chain.aatype, chain.bonded)
        types = one_hot(chain.aatype, 21)[:, :20].float()
        parts.append(
            {
                "translation": translation.float(),
                "rotation": rotation.float(),
                "torsions": angles.float(),
                "sequence": torch.where((chain.aatype == UNKNOWN)[:, None], 1 / len(AMINO_ACIDS), types),
                "torsion_mask": known,
                "aatype": chain.aatype,
                "residue_index": chain.positions,
                "chain": torch.full_like(chain.aatype, number),
            }
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def stacked(proteins: Sequence[Mapping[str, Tensor]], length: int | None = None) -> dict[str, Any]:
    """Residues of several proteins as (n, length, …), with ``mask``, and the state in ``x``; see :func:`padded`.

    ``length`` is that of the longest by default. Beyond a protein its conditions are 0, or False.
    """
    longest = max(len(protein["aatype"]) for protein in proteins)
    if length is not None and length < longest:
        raise ValueError(f"length {length}: there is a protein of {longest} residues")
    rows = [{**protein, "mask": torch.ones(len(protein["aatype"]), dtype=torch.bool)} for protein in proteins]
    blank = {name: value.new_zeros(length or longest, *value.shape[1:]) for name, value in rows[0].items()}
    together = {name: pad_sequence([*(row[name] for row in rows), blank[name]], True)[:-1] for name in blank}
    x = {name: together.pop(name) for name in _STATE}
    return {"x": padded(x, together["mask"]), **together}


def padded(x: Mapping[str, Tensor], mask: Tensor) -> dict[str, Tensor]:
    """The state with the same points at all places beyond the protein: identity, 0, and uniform probabilities."""
    rest = {"rotation": [1.0, 0.0, 0.0, 0.0], "sequence": [1 / len(AMINO_ACIDS)]}
    return {
        name: torch.where(mask[..., None], value, value.new_tensor(rest.get(name, [0.0]))) for name, value in x.items()
    }


def as_chains(atoms: Tensor, atom_mask: Tensor, aatype: Tensor, of: Mapping[str, Tensor], name: str) -> list[Chain]:
    """The chains of one protein, to be written: A, B, … for the numbers in ``of["chain"]`` (N,).

    ``atoms`` (N, 14, 3) in nm and ``atom_mask`` as of :func:`.frames.all_atoms`; of ``of`` also ``mask`` is read, and
    ``author`` (N, 2), numbers and insertion codes, or else ``residue_index``. Backbones without types are best written
    as glycine: programs draw no X.
    """
    mask, numbers = of["mask"].cpu(), of["chain"].cpu()
    atoms, atom_mask, aatype = (t.cpu() for t in (atoms.double(), atom_mask, aatype))
    author = of["author"] if "author" in of else pad(of["residue_index"][:, None], (0, 1))
    index, codes = author.cpu().unbind(-1)
    found = []
    for number in numbers[mask].unique().tolist():
        own = mask & (numbers == number)
        names = tuple(chr(code).strip("\0") for code in codes[own].tolist())
        parts = (aatype[own], atoms[own], atom_mask[own], index[own], names)
        found.append(Chain(name, ascii_uppercase[number % 26], *parts))
    return found


class ProteinDataset(SafetensorsDataset):
    """Proteins of a safetensors file, each batch as long as its longest; ``lengths`` (n,) is for batches by length."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.lengths: Tensor = self.tensors["mask"].sum(1)

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Any]:
        full, longest = self.tensors["mask"].shape[1], int(self.lengths[list(indices)].max())

        def trim(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: trim(leaf) for name, leaf in value.items()}
            return value[:, :longest] if value.ndim > 1 and value.shape[1] == full else value

        return {name: trim(value) for name, value in super().__getitems__(indices).items()}
