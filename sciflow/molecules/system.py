"""A molecule and its force field: from a sequence or a PDB file to an OpenMM system with coordinates.

Nothing is downloaded: topology and parameters come from OpenMM's own force-field templates, first coordinates from
RDKit's distance geometry (which keeps the chirality), hydrogens from OpenMM's modeller.
"""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import openmm
import torch
from openmm import app, unit
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from torch import Tensor

from ..boltzmann import Energy, OpenMMEnergy, TorchForceField
from ..errors import InputError
from .stereochemistry import Stereochemistry

__all__ = ["FORCE_FIELD", "MolecularSystem", "fastest_platform", "from_pdb", "from_sequence", "read_sequence"]

FORCE_FIELD = ("amber99sbildn.xml", "amber99_obc.xml")

_ONE_LETTER = dict(ALA="A", ARG="R", ASN="N", ASP="D", CYS="C", GLN="Q", GLU="E", GLY="G", HIS="H", ILE="I")
_ONE_LETTER |= dict(LEU="L", LYS="K", MET="M", PHE="F", PRO="P", SER="S", THR="T", TRP="W", TYR="Y", VAL="V")
_EMBEDDINGS = 50
_ON_GPU = 2**16  # frames at a time
_CAPS = {"ACE": "at the start", "NME": "at the end"}


@dataclass
class MolecularSystem:
    """Topology, OpenMM system (no constraints, no cutoff) and minimised positions ``(N, 3)`` in nm."""

    topology: app.Topology
    system: openmm.System
    positions: np.ndarray

    @property
    def n_atoms(self) -> int:
        return self.system.getNumParticles()

    @cached_property
    def stereochemistry(self) -> Stereochemistry:
        """What dynamics must keep: handedness of the centres and trans peptide bonds, as at ``positions``."""
        return Stereochemistry.of(self.topology, torch.as_tensor(self.positions))

    @cached_property
    def platform(self) -> str:
        """OpenMM platform of all simulations: timed once, and carried along to every process."""
        return fastest_platform(self.system, self.positions)

    def energy(self, temperature: float) -> Energy:
        """Its energy in float64: in torch, or by OpenMM where torch does not know the force field."""
        try:
            return TorchForceField.from_openmm(self.system, temperature)
        except InputError:
            return OpenMMEnergy(self.system, temperature)

    def energies(self, x: Tensor, temperature: float) -> Tensor:
        """Energies ``(B,)`` in kT of frames ``(B, N, 3)`` in nm, float64; a GPU is used if there is one."""
        energy, x = self.energy(temperature), x.double()
        if not (isinstance(energy, TorchForceField) and torch.cuda.is_available()):
            return energy.energy(x)
        energy.cuda()
        return torch.cat([energy.energy(part.cuda()).cpu() for part in x.split(_ON_GPU)])

    def write_pdb(self, path: Path) -> None:
        """Topology and minimised coordinates as a PDB file."""
        with open(path, "w") as file:
            app.PDBFile.writeFile(self.topology, self.positions * unit.nanometer, file, keepIds=True)


def read_sequence(sequence: str) -> tuple[list[str], bool, bool]:
    """Amino acids of ``ACE-ALA-NME``, and whether there is a cap before and after them. Raises InputError."""
    codes = sequence.upper().split("-")
    head, tail = codes[0] == "ACE", codes[-1] == "NME"
    inner = codes[head : len(codes) - tail]
    for code in inner:
        if code in _CAPS:
            raise InputError(f"sequence={sequence}: the cap {code} belongs {_CAPS[code]}, e.g. ACE-ALA-NME")
        if code not in _ONE_LETTER:
            raise InputError(
                f"sequence={sequence}: unknown residue {code!r}; use caps ACE, NME and {' '.join(_ONE_LETTER)}"
            )
    if len(inner) == 1 and not (head and tail):
        raise InputError(f"sequence={sequence}: a single residue needs both caps, e.g. ACE-{inner[0]}-NME")
    if not inner:
        raise InputError(f"sequence={sequence}: no amino acid; write e.g. ACE-ALA-NME")
    return inner, head, tail


def from_sequence(sequence: str, forcefield: tuple[str, ...] = FORCE_FIELD, seed: int = 0) -> MolecularSystem:
    """Peptide from three-letter codes joined by dashes, with or without caps: ``ACE-ALA-NME``, ``GLY-TRP``.

    Raises:
        InputError: a code that is not an amino acid or a cap in its place.
    """
    inner, head, tail = read_sequence(sequence)
    peptide = _peptide([_ONE_LETTER[c] for c in inner], head, tail)
    Chem.SanitizeMol(peptide)
    full = Chem.AddHs(peptide)
    for attempt in range(_EMBEDDINGS):
        if rdDistGeom.EmbedMolecule(full, randomSeed=_EMBEDDINGS * seed + attempt + 1, useRandomCoords=True) != 0:
            continue
        heavy = Chem.Conformer(peptide.GetNumAtoms())
        for i in range(peptide.GetNumAtoms()):
            heavy.SetAtomPosition(i, full.GetConformer().GetAtomPosition(i))
        peptide.RemoveAllConformers()
        peptide.AddConformer(heavy)
        pdb = app.PDBFile(io.StringIO(Chem.MolToPDBBlock(peptide)))
        molecule = _build(pdb, f"sequence={sequence}", forcefield)
        if molecule.stereochemistry.trans.all():
            return molecule
    raise InputError(f"sequence={sequence}: no coordinates with trans peptide bonds found; give your own with pdb=FILE")


def from_pdb(path: Path, forcefield: tuple[str, ...] = FORCE_FIELD) -> MolecularSystem:
    """Molecule from a PDB file; missing hydrogens are added.

    Raises:
        InputError: no such file, no atoms, or a residue that the force field does not know.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"pdb={path}: no such file; give the path of a PDB file")
    try:
        pdb = app.PDBFile(str(path))
    except Exception as error:
        raise InputError(
            f"pdb={path}: not a readable PDB file ({_first_line(error)}); check its ATOM records"
        ) from error
    if pdb.topology.getNumAtoms() == 0:
        raise InputError(f"pdb={path}: no ATOM records; give a PDB file with one molecule")
    return _build(pdb, f"pdb={path}", forcefield)


def fastest_platform(system: openmm.System, positions: np.ndarray, steps: int = 200) -> str:
    """Name of the OpenMM platform that integrates this system fastest here, found by timing a few steps on each.

    For some twenty atoms with GBSA the plain ``Reference`` platform beats the threaded ones several times over.
    """
    import time

    timings = {}
    for i in range(openmm.Platform.getNumPlatforms()):
        platform = openmm.Platform.getPlatform(i)
        try:
            context = openmm.Context(system, openmm.VerletIntegrator(0.0005), platform)
            context.setPositions(positions)
            context.getIntegrator().step(20)
            start = time.perf_counter()
            context.getIntegrator().step(steps)
            context.getState(getEnergy=True)
            timings[platform.getName()] = time.perf_counter() - start
        except openmm.OpenMMException:
            continue
    return min(timings, key=lambda name: timings[name])


def _build(pdb: app.PDBFile, source: str, forcefield: tuple[str, ...]) -> MolecularSystem:
    try:
        field = app.ForceField(*forcefield)
    except (ValueError, FileNotFoundError) as error:
        raise InputError(
            f"forcefield={list(forcefield)}: {_first_line(error)}; name OpenMM force-field files"
        ) from error
    unknown = sorted({r.name for r in field.getUnmatchedResidues(pdb.topology)} - _known_residues(field))
    if unknown:
        raise InputError(
            f"{source}: residue {', '.join(unknown)} is not in the force field {forcefield[0]}; "
            "remove it, rename it or name a force field that has it (forcefield=[…])"
        )
    modeller = app.Modeller(pdb.topology, pdb.positions)
    try:
        with _seeded(0):
            modeller.addHydrogens(field, platform=openmm.Platform.getPlatformByName("Reference"))
        system = field.createSystem(
            modeller.topology, nonbondedMethod=app.NoCutoff, constraints=None, rigidWater=False, removeCMMotion=False
        )
    except (ValueError, KeyError) as error:
        raise InputError(f"{source}: {_first_line(error)}; complete the missing atoms or rename the residue") from error
    positions = np.asarray(modeller.positions.value_in_unit(unit.nanometer))
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0)
    positions = context.getState(getPositions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    return MolecularSystem(modeller.topology, system, np.asarray(positions))


def _known_residues(field: app.ForceField) -> set[str]:
    names = set(field._templates)
    return names | {"HIS"} | {n[1:] for n in names if len(n) == 4 and n[0] in "NC"}


def _peptide(letters: list[str], head: bool, tail: bool) -> Chem.Mol:
    """Heavy atoms of the peptide with PDB names; the caps are grafted onto RDKit's residues."""
    mol = Chem.RWMol(Chem.MolFromSequence("".join(letters)))
    isoleucine = {" CG1": " CG2", " CG2": " CG1"}  # RDKit names the two the other way round than the PDB
    for atom in mol.GetAtoms():
        info = atom.GetPDBResidueInfo()
        info.SetResidueNumber(info.GetResidueNumber() + head)
        if info.GetResidueName() == "ILE":
            info.SetName(isoleucine.get(info.GetName(), info.GetName()))
    named = {
        (a.GetPDBResidueInfo().GetResidueNumber(), a.GetPDBResidueInfo().GetName().strip()): a for a in mol.GetAtoms()
    }
    last = len(letters) + head
    if tail:
        oxygen = named[last, "OXT"]
        oxygen.SetAtomicNum(7)
        oxygen.SetMonomerInfo(_residue_info("N", "NME", last + 1))
        _graft(mol, oxygen.GetIdx(), 6, "C", "NME", last + 1)
    if head:
        carbon = _graft(mol, named[1 + head, "N"].GetIdx(), 6, "C", "ACE", 1)
        _graft(mol, carbon, 8, "O", "ACE", 1, Chem.BondType.DOUBLE)
        _graft(mol, carbon, 6, "CH3", "ACE", 1)
    order = sorted(range(mol.GetNumAtoms()), key=lambda i: mol.GetAtomWithIdx(i).GetPDBResidueInfo().GetResidueNumber())
    return Chem.RenumberAtoms(mol.GetMol(), order)


def _graft(
    mol: Chem.RWMol,
    to: int,
    element: int,
    name: str,
    residue: str,
    number: int,
    bond: Chem.BondType = Chem.BondType.SINGLE,
) -> int:
    index = mol.AddAtom(Chem.Atom(element))
    mol.GetAtomWithIdx(index).SetMonomerInfo(_residue_info(name, residue, number))
    mol.AddBond(to, index, bond)
    return index


def _residue_info(name: str, residue: str, number: int) -> Chem.AtomPDBResidueInfo:
    info = Chem.AtomPDBResidueInfo(f" {name:<3}", residueName=residue, residueNumber=number, chainId="A")
    info.SetIsHeteroAtom(False)
    return info


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """OpenMM's modeller draws from Python's global stream: give it a fixed one and put the old one back."""
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
