"""From an openmm.System to the terms of a force field in torch."""

import math
from collections import defaultdict
from functools import cache
from typing import Any

import numpy as np
import openmm
from openmm import unit
from torch import nn

from ...errors import InputError
from .bonded import Angles, Bonded, Bonds, Maps, Term, Torsions
from .custom_born import read_custom_born
from .custom_lennard_jones import read_custom_bonds, read_custom_pairs, read_custom_torsions
from .pairs import GeneralizedBorn, NonBonded, Pairs, PairTerm

__all__ = ["read_terms"]

_DIELECTRIC_OFFSET = 0.009  # nm, between radii and offset radii of GBSAOBCForce
_OBC2 = (1.0, 0.8, 4.85)


def read_terms(system: openmm.System) -> list[nn.Module]:
    """Modules that take ``(3, N, B)`` nm to energy ``(B,)`` kJ/mol and gradient ``(3, N, B)``.

    Raises:
        InputError: a force, an expression or an option that is not known, by its name; constraints.
    """
    n = system.getNumParticles()
    if any(system.isVirtualSite(i) for i in range(n)):
        raise _refused("virtual sites")
    if system.getNumConstraints():
        raise InputError(
            f"TorchForceField: {system.getNumConstraints()} constraints hold what may then have no energy; make the "
            "system with constraints=None and rigidWater=False, or use OpenMMEnergy"
        )
    bonded: list[Term] = []
    pairs: list[PairTerm] = []
    series: dict[tuple[int, int, int, int], np.ndarray] = defaultdict(lambda: np.zeros((7, 2)))
    for force in system.getForces():
        if isinstance(force, openmm.CMMotionRemover):
            continue
        if force.usesPeriodicBoundaryConditions():
            raise _refused(f"{force.getName()} with periodic boundary conditions")
        match force:
            case openmm.HarmonicBondForce():
                bonds = [_plain(force.getBondParameters(i)) for i in range(force.getNumBonds())]
                bonded += [Bonds(bonds)] if bonds else []
            case openmm.HarmonicAngleForce():
                angles = [_plain(force.getAngleParameters(i)) for i in range(force.getNumAngles())]
                bonded += [Angles(angles)] if angles else []
            case openmm.PeriodicTorsionForce():
                _add_periodic(force, series)
            case openmm.RBTorsionForce():
                _add_ryckaert_bellemans(force, series)
            case openmm.CMAPTorsionForce():
                bonded += [_maps(force)] if force.getNumTorsions() else []
            case openmm.NonbondedForce():
                pairs.append(_nonbonded(force))
            case openmm.GBSAOBCForce():
                pairs.append(_born(force))
            case openmm.CustomGBForce():
                pairs.append(read_custom_born(force))
            case openmm.CustomTorsionForce():
                bonded += read_custom_torsions(force)
            case openmm.CustomBondForce():
                bonded += read_custom_bonds(force)
            case openmm.CustomNonbondedForce():
                pairs.append(read_custom_pairs(force))
            case _:
                raise _refused(type(force).__name__)
    if series:
        bonded.append(Torsions(series))
    modules: list[nn.Module] = [Bonded(bonded, n)] if bonded else []
    return [*modules, Pairs(pairs, n)] if pairs else modules


def _add_periodic(force: openmm.PeriodicTorsionForce, series: dict[tuple[int, int, int, int], np.ndarray]) -> None:
    """k(1 + cos(nφ − δ)) = k + k cos δ cos nφ + k sin δ sin nφ."""
    for i in range(force.getNumTorsions()):
        *atoms, n, phase, k = _plain(force.getTorsionParameters(i))
        table = series[tuple(atoms)]
        if n >= len(table):
            raise _refused(f"a torsion of periodicity {n}")
        table[0, 0] += k
        table[n] += k * math.cos(phase), k * math.sin(phase)


def _add_ryckaert_bellemans(force: openmm.RBTorsionForce, series: dict[tuple[int, int, int, int], np.ndarray]) -> None:
    """Σ cₙ cosⁿ(φ − π), with powers turned into multiples of the angle by Chebyshev's polynomials."""
    for i in range(force.getNumTorsions()):
        *atoms, c0, c1, c2, c3, c4, c5 = _plain(force.getTorsionParameters(i))
        powers = np.array([c0, -c1, c2, -c3, c4, -c5])
        series[tuple(atoms)][:6, 0] += np.polynomial.chebyshev.poly2cheb(powers)


def _maps(force: openmm.CMAPTorsionForce) -> Maps:
    sizes_and_values = [force.getMapParameters(i) for i in range(force.getNumMaps())]
    maps = [
        np.array(_plain(values)).reshape(size, size).T  # the first angle runs fastest
        for size, values in sizes_and_values
    ]
    if len({m.shape for m in maps}) > 1:
        raise _refused("CMAPTorsionForce with maps of different sizes")
    torsions = [force.getTorsionParameters(i) for i in range(force.getNumTorsions())]
    return Maps([tuple(atoms) for _, *atoms in torsions], [maps[which] for which, *_ in torsions])


def _nonbonded(force: openmm.NonbondedForce) -> NonBonded:
    cutoff = _cutoff(force)
    if cutoff is not None and force.getUseSwitchingFunction():
        raise _refused("NonbondedForce with a switching function")
    if force.getNumParticleParameterOffsets() or force.getNumExceptionParameterOffsets():
        raise _refused("NonbondedForce with parameter offsets")
    n = force.getNumParticles()
    charge, sigma, epsilon = np.array([_plain(force.getParticleParameters(i)) for i in range(n)]).T
    q = np.outer(charge, charge)
    sigma6 = (0.5 * (sigma[:, None] + sigma)) ** 6
    b = 4 * np.sqrt(np.outer(epsilon, epsilon)) * sigma6
    a = b * sigma6
    everywhere = np.zeros((n, n), bool)
    for k in range(force.getNumExceptions()):
        i, j, charges, length, depth = _plain(force.getExceptionParameters(k))
        q[i, j] = q[j, i] = charges
        b[i, j] = b[j, i] = 4 * depth * length**6
        a[i, j] = a[j, i] = 4 * depth * length**12
        everywhere[i, j] = everywhere[j, i] = True
    for matrix in (a, b, q):
        np.fill_diagonal(matrix, 0)
    return NonBonded(a, b, coulomb_constant() * q, everywhere, cutoff, force.getReactionFieldDielectric())


def _born(force: openmm.GBSAOBCForce) -> GeneralizedBorn:
    rows = [_plain(force.getParticleParameters(i)) for i in range(force.getNumParticles())]
    charge, radius, scale = np.array(rows).T
    offset_radius = radius - _DIELECTRIC_OFFSET
    surface = force.getSurfaceAreaEnergy().value_in_unit(unit.kilojoule_per_mole / unit.nanometer**2)
    return GeneralizedBorn(
        charge * math.sqrt(coulomb_constant()),
        radius,
        offset_radius,
        scale * offset_radius,
        polynomial=_OBC2,
        solute=force.getSoluteDielectric(),
        solvent=force.getSolventDielectric(),
        kappa=0.0,
        surface=4 * math.pi * surface,
        cutoff=_cutoff(force),
        engulfed=True,
    )


@cache
def coulomb_constant() -> float:
    """1/4πε₀ in kJ nm/(mol e²) as this version of OpenMM has it: two unit charges 1 nm apart."""
    system, force = openmm.System(), openmm.NonbondedForce()
    for _ in range(2):
        system.addParticle(1.0)
        force.addParticle(1.0, 1.0, 0.0)
    system.addForce(force)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(np.array([[0.0, 0, 0], [1, 0, 0]]))
    return context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)


def _cutoff(force: Any) -> float | None:
    """Cutoff in nm, None if there is none; periodic methods are refused before."""
    if force.getNonbondedMethod() == force.NoCutoff:
        return None
    return force.getCutoffDistance().value_in_unit(unit.nanometer)


def _plain(values: list) -> list:
    """Numbers in OpenMM's own units: nm, kJ/mol, e, rad."""
    return [v.value_in_unit_system(unit.md_unit_system) if unit.is_quantity(v) else v for v in values]


def _refused(what: str) -> InputError:
    return InputError(f"TorchForceField does not know {what}; use OpenMMEnergy for this system")
