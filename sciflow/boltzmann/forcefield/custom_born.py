"""The OBC1 and OBC2 forms that OpenMM writes as a CustomGBForce, recognised by their expressions."""

import re

import numpy as np
import openmm
from openmm import unit

from ...errors import InputError
from .pairs import GeneralizedBorn

__all__ = ["read_custom_born"]

_PAIR, _SINGLE = openmm.CustomGBForce.ParticlePairNoExclusions, openmm.CustomGBForce.SingleParticle
_PARAMETERS = ["charge", "or", "sr"]
_INTEGRAL = (
    "select(step(r+sr2-or1),0.5*(1/L-1/U+0.25*(r-sr2^2/r)*(1/(U^2)-1/(L^2))+0.5*log(L/U)/r),0);"
    "U=r+sr2;L=max(or1,D);D=abs(r-sr2)"
)
_RADIUS = "1/(1/or-tanh({})/radius);psi=I*or;radius=or+offset"
_POLYNOMIALS = {
    _RADIUS.format("0.8*psi+2.909125*psi^3"): (0.8, 0.0, 2.909125),
    _RADIUS.format("psi-0.8*psi^2+4.85*psi^3"): (1.0, 0.8, 4.85),
}
_NUMBER = r"([0-9.]+(?:e[-+]?[0-9]+)?)"
_SURFACE = rf"{_NUMBER}\*\(radius\+0\.14\)\^2\*\(radius/B\)\^6;radius=or\+offset"
_SELF = rf"-0\.5\*{_NUMBER}\*\(1/soluteDielectric-SALT/solventDielectric\)\*charge\^2/B"
_CROSS = (
    rf"-{_NUMBER}\*\(1/soluteDielectric-SALT/solventDielectric\)\*charge1\*charge2SHAPE;"
    r"f=sqrt\(r\^2\+B1\*B2\*exp\(-r\^2/\(4\*B1\*B2\)\)\)"
)


def read_custom_born(force: openmm.CustomGBForce) -> GeneralizedBorn:
    """The term of an OBC1 or OBC2 force, with or without salt, cutoff and the ACE surface term.

    Raises:
        InputError: any other expression, exclusions, tables or global parameters.
    """
    names = [force.getPerParticleParameterName(i) for i in range(force.getNumPerParticleParameters())]
    if names != _PARAMETERS:
        raise _refused(f"parameters {', '.join(names)}")
    if force.getNumExclusions() or force.getNumTabulatedFunctions() or force.getNumGlobalParameters():
        raise _refused("exclusions, tables or global parameters")
    values = [force.getComputedValueParameters(i) for i in range(force.getNumComputedValues())]
    if [(name, kind) for name, _, kind in values] != [("I", _PAIR), ("B", _SINGLE)]:
        raise _refused(f"computed values {', '.join(name for name, _, _ in values)}")
    (integral, _), (radius, constants) = _split(values[0][1]), _split(values[1][1])
    if integral != _INTEGRAL:
        raise _refused(f"I={integral}")
    if radius not in _POLYNOMIALS:
        raise _refused(f"B={radius}")

    terms = [force.getEnergyTermParameters(i) for i in range(force.getNumEnergyTerms())]
    singles = [_split(text) for text, kind in terms if kind == _SINGLE]
    crosses = [_split(text) for text, kind in terms if kind == _PAIR]
    if len(crosses) != 1:
        raise _refused(f"{len(crosses)} energies of pairs")
    medium = crosses[0][1]
    kappa, cutoff = medium.get("kappa", 0.0), _cutoff(force)
    shape = r"/f" if cutoff is None else rf"\*\(1/f-{re.escape(str(1 / cutoff))}\)"
    coulomb = _number(_CROSS.replace("SHAPE", shape).replace("SALT", _salt(kappa, "f")), [crosses[0][0]])
    own = _number(_SELF.replace("SALT", _salt(kappa, "B")), [text for text, _ in singles])
    surface = _number(_SURFACE, [text for text, _ in singles])
    if coulomb is None or own != coulomb or len(singles) != 1 + (surface is not None):
        raise _refused("energy " + "; ".join(text for text, _ in terms))

    rows = [force.getParticleParameters(i) for i in range(force.getNumParticles())]
    charge, offset_radius, scaled = np.array(rows).T
    return GeneralizedBorn(
        charge * np.sqrt(coulomb),
        offset_radius + constants["offset"],
        offset_radius,
        scaled,
        polynomial=_POLYNOMIALS[radius],
        solute=medium["soluteDielectric"],
        solvent=medium["solventDielectric"],
        kappa=kappa,
        surface=surface or 0.0,
        cutoff=cutoff,
        engulfed=False,
    )


def _split(text: str) -> tuple[str, dict[str, float]]:
    """An expression without spaces, and the constants that follow it."""
    parts = "".join(text.split()).split(";")
    constants = {p.split("=")[0]: float(p.split("=")[1]) for p in parts if re.fullmatch(rf"[A-Za-z]+={_NUMBER}", p)}
    return ";".join(p for p in parts if p.split("=")[0] not in constants), constants


def _number(pattern: str, expressions: list[str]) -> float | None:
    """The one number in the first of the expressions that has the form of ``pattern``."""
    matches = [match for text in expressions if (match := re.fullmatch(pattern, text))]
    return float(matches[0][1]) if matches else None


def _salt(kappa: float, distance: str) -> str:
    return rf"exp\(-kappa\*{distance}\)" if kappa > 0 else "1"


def _cutoff(force: openmm.CustomGBForce) -> float | None:
    if force.getNonbondedMethod() == openmm.CustomGBForce.NoCutoff:
        return None
    if force.getNonbondedMethod() == openmm.CustomGBForce.CutoffNonPeriodic:
        return force.getCutoffDistance().value_in_unit(unit.nanometer)
    raise _refused("periodic cutoff")


def _refused(what: str) -> InputError:
    return InputError(
        f"CustomGBForce: {what}: TorchForceField knows the OBC1 and OBC2 forms of implicit/obc1.xml and obc2.xml; "
        "use one of them, or OpenMMEnergy"
    )
