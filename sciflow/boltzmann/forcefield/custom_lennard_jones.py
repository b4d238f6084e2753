"""What CHARMM's force fields write as custom forces: impropers, and Lennard-Jones by tables of types."""

import numpy as np
import openmm
from openmm import unit

from ...errors import InputError
from .bonded import Impropers, LennardJones14
from .pairs import NonBonded

__all__ = ["read_custom_bonds", "read_custom_pairs", "read_custom_torsions"]


def read_custom_torsions(force: openmm.CustomTorsionForce) -> list[Impropers]:
    """``k*(theta-theta0)^2``."""
    names = [force.getPerTorsionParameterName(i) for i in range(force.getNumPerTorsionParameters())]
    _require(force, "k*(theta-theta0)^2", names, ["k", "theta0"])
    rows = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
    return [Impropers([[*atoms, *parameters] for *atoms, parameters in rows])] if rows else []


def read_custom_bonds(force: openmm.CustomBondForce) -> list[LennardJones14]:
    """``4*epsilon*((sigma/r)^12-(sigma/r)^6)``."""
    names = [force.getPerBondParameterName(i) for i in range(force.getNumPerBondParameters())]
    _require(force, "4*epsilon*((sigma/r)^12-(sigma/r)^6)", names, ["sigma", "epsilon"])
    rows = [force.getBondParameters(i) for i in range(force.getNumBonds())]
    return [LennardJones14([[*atoms, *parameters] for *atoms, parameters in rows])] if rows else []


def read_custom_pairs(force: openmm.CustomNonbondedForce) -> NonBonded:
    """``acoef(type1,type2)/r^12-bcoef(type1,type2)/r^6`` with both coefficients in tables."""
    names = [force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())]
    _require(force, "acoef(type1,type2)/r^12-bcoef(type1,type2)/r^6", names, ["type"])
    if force.getNumInteractionGroups() or force.getUseSwitchingFunction():
        raise InputError("CustomNonbondedForce: TorchForceField knows no interaction groups or switching functions")
    tables = {force.getTabulatedFunctionName(i): force.getTabulatedFunction(i) for i in (0, 1)}
    if not all(isinstance(table, openmm.Discrete2DFunction) for table in tables.values()):
        raise InputError("CustomNonbondedForce: TorchForceField knows tables of the kind Discrete2DFunction only")
    n = force.getNumParticles()
    types = np.array([force.getParticleParameters(i)[0] for i in range(n)]).astype(int)
    a, b = (_table(tables[name])[np.ix_(types, types)] for name in ("acoef", "bcoef"))
    excluded = [force.getExclusionParticles(i) for i in range(force.getNumExclusions())]
    for matrix in (a, b):
        np.fill_diagonal(matrix, 0)
        for i, j in excluded:
            matrix[i, j] = matrix[j, i] = 0
    whole = force.getNonbondedMethod() == openmm.CustomNonbondedForce.NoCutoff
    cutoff = None if whole else force.getCutoffDistance().value_in_unit(unit.nanometer)
    return NonBonded(a, b, np.zeros((n, n)), np.zeros((n, n), bool), cutoff)


def _table(function: openmm.Discrete2DFunction) -> np.ndarray:
    columns, rows, values = function.getFunctionParameters()
    return np.array(values).reshape(rows, columns).T  # the first argument runs fastest


def _require(force: openmm.Force, expression: str, names: list[str], expected: list[str]) -> None:
    found = "".join(force.getEnergyFunction().split()).rstrip(";")
    if found != expression or names != expected or force.getNumGlobalParameters():
        raise InputError(
            f"{type(force).__name__}: {found}: TorchForceField knows {expression} of {', '.join(expected)}; "
            "use OpenMMEnergy for this system"
        )
