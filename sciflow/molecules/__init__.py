"""Molecules: from a sequence or a PDB file to a Boltzmann generator of its conformations."""

from .architectures import EquivariantFlow, SplineFlow
from .peptide import PeptideStudy
from .reference import Reference, load_reference, make_reference
from .system import MolecularSystem, from_pdb, from_sequence
from .tarflow import TarFlow
from .training_runs import Simulation
from .zmatrix import zmatrix

__all__ = [
    "EquivariantFlow",
    "MolecularSystem",
    "PeptideStudy",
    "Reference",
    "Simulation",
    "SplineFlow",
    "TarFlow",
    "from_pdb",
    "from_sequence",
    "load_reference",
    "make_reference",
    "zmatrix",
]
