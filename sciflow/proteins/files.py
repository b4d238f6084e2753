"""Structures written as files that other programs open: PDB, mmCIF, FASTA."""

import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from string import ascii_letters, digits
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .residues import ATOMS, THREE
from .structure import Chain

__all__ = ["write_fasta", "write_structure", "write_trajectory"]

_ENTITY = re.compile(r"(?<=\n)((?:ATOM|HETATM)(?:\s+\S+){5}\s+(\S+)) \?")  # up to chain and label_entity_id


def write_structure(chains: Sequence[Chain], path: Path, title: str = "") -> None:
    """Chains as PDB (``.pdb``) or mmCIF (``.cif``), with their ids, residue numbers, insertion codes and elements.

    A data block of mmCIF is named by its file, and each chain is an entity.

    Raises:
        InputError: another suffix.
    """
    from openmm.app import PDBFile, PDBxFile

    if path.suffix not in (".pdb", ".cif"):
        raise InputError(f"{path}: structures are written as .pdb or .cif; name it so")
    writer: Any = PDBFile if path.suffix == ".pdb" else PDBxFile
    text = StringIO()
    topology = _topology(chains)
    writer.writeFile(topology, _positions(chains), text, keepIds=True)
    if path.suffix == ".pdb":
        path.write_text((f"TITLE     {title[:70]}\n" if title else "") + text.getvalue())
        return
    content = text.getvalue().replace("  0.0  0.0  ?", "  1.0  0.0  ?")  # an occupancy of 0 is read as absent
    numbers = {place.id: number for number, place in enumerate(topology.chains(), 1)}
    content = _ENTITY.sub(lambda found: f"{found[1]} {numbers[found[2]]}", content)
    head = [f"data_{'_'.join(path.stem.split())}", *([f'_struct.title "{title}"'] if title else [])]
    head += ["loop_", "_entity.id", "_entity.type", *(f"{number} polymer" for number in numbers.values())]
    path.write_text(content.replace("data_cell", "\n".join(head), 1))


def write_trajectory(models: Sequence[Sequence[Chain]], path: Path) -> None:
    """States of the same atoms, one after the other, as the models of a PDB file."""
    from openmm.app import PDBFile

    topology = _topology(models[0])
    with path.open("w") as file:
        PDBFile.writeHeader(topology, file)
        for number, chains in enumerate(models, 1):
            same = [torch.equal(a.atom_mask, b.atom_mask) for a, b in zip(chains, models[0], strict=True)]
            if not all(same):
                raise ValueError(f"model {number} has other atoms than the first: give all models the same types")
            PDBFile.writeModel(topology, _positions(chains), file, modelIndex=number, keepIds=True)
        PDBFile.writeFooter(topology, file)


def write_fasta(chains: Sequence[Chain], path: Path, titles: Sequence[str] = ()) -> None:
    """Sequences by one-letter names, X for unknown ones, under ``name_id`` and their titles."""
    named = zip(chains, titles or [""] * len(chains), strict=True)
    path.write_text("".join(f"{f'>{c.name}_{c.id} {title}'.rstrip()}\n{c.sequence}\n" for c, title in named))


def _topology(chains: Sequence[Chain]) -> Any:
    from openmm.app import Element, Topology

    topology = Topology()
    ids = [chain.id for chain in chains]
    if len(set(ids)) < len(ids) or not all(len(id) == 1 for id in ids):  # PDB has one column
        ids = [(ascii_letters + digits)[i % 62] for i in range(len(ids))]
    for chain, id in zip(chains, ids, strict=True):
        place = topology.addChain(id)
        insertions = chain.insertions or ("",) * len(chain)
        rows = zip(
            chain.aatype.tolist(), chain.residue_index.tolist(), insertions, chain.atom_mask.tolist(), strict=True
        )
        for aatype, number, insertion, there in rows:
            residue = topology.addResidue(THREE[aatype], place, str(number), insertion)
            for name, present in zip(ATOMS[aatype], there, strict=False):
                if present:
                    topology.addAtom(name, Element.getBySymbol(name[0]), residue)
    return topology


def _positions(chains: Sequence[Chain]) -> Any:
    from openmm.unit import nanometer

    kept: list[Tensor] = [chain.atoms[chain.atom_mask] for chain in chains]
    return torch.cat(kept).numpy() * nanometer
