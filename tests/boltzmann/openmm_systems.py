"""Systems of every kind of force, of random atoms at distances that no molecule has, and frames of molecules."""

import math

import numpy as np
import openmm
import torch

from sciflow.boltzmann import TorchForceField
from sciflow.rng import normal, step_generator, uniform

N = 10


def hot_frames(field: TorchForceField, start: np.ndarray, n: int = 6) -> torch.Tensor:
    """Frames ``(n, N, 3)`` of overdamped motion at 600 K."""
    hot, generator = field.at(600.0), step_generator(0)
    x = torch.as_tensor(start).expand(n, -1, -1)
    for _ in range(150):
        x = (
            x
            + 2e-6 * hot.energy_and_force(x)[1]
            + math.sqrt(4e-6) * normal(*x.shape, generator=generator, dtype=x.dtype)
        )
    return x


def atoms(seed: int = 0, spread: float = 0.25) -> torch.Tensor:
    """``(8, N, 3)`` nm, no two of them closer than 0.02 nm."""
    generator = step_generator(seed)
    x = spread * normal(400, N, 3, generator=generator, dtype=torch.float64)
    apart = (torch.cdist(x, x) + torch.eye(N)).flatten(1).min(1).values > 0.02
    return x[apart][:8]


def system_of(*forces: openmm.Force) -> openmm.System:
    system = openmm.System()
    for i in range(N):
        system.addParticle(1.0 + i)
    for force in forces:
        system.addForce(force)
    return system


def numbers(*shape: int, seed: int = 1) -> np.ndarray:
    return uniform(*shape, generator=step_generator(seed), dtype=torch.float64).numpy()


def quadruples() -> list[list[int]]:
    return [np.random.default_rng(i).permutation(N)[:4].tolist() for i in range(12)]


def nonbonded(cutoff: float | None = None, dielectric: float = 78.3) -> openmm.NonbondedForce:
    force = openmm.NonbondedForce()
    for charge, sigma, epsilon in numbers(N, 3):
        force.addParticle(charge - 0.5, 0.01 + 0.1 * sigma, epsilon)
    force.addException(0, 1, 0, 0.1, 0)
    force.addException(2, 5, 0.3, 0.05, 0.4)
    force.addException(3, 4, -0.2, 0.1, 0)
    if cutoff is not None:
        force.setNonbondedMethod(openmm.NonbondedForce.CutoffNonPeriodic)
        force.setCutoffDistance(cutoff)
        force.setReactionFieldDielectric(dielectric)
    return force


def born(cutoff: float | None = None) -> openmm.GBSAOBCForce:
    force = openmm.GBSAOBCForce()
    for charge, radius, scale in numbers(N, 3):
        force.addParticle(charge - 0.5, 0.1 + 0.1 * radius, 0.7 + 0.2 * scale)
    if cutoff is not None:
        force.setNonbondedMethod(openmm.GBSAOBCForce.CutoffNonPeriodic)
        force.setCutoffDistance(cutoff)
    return force


def custom_born(kind: type, cutoff: float | None = None, **options) -> openmm.CustomGBForce:
    force = kind(cutoff=cutoff, **options)
    for charge, radius, scale in numbers(N, 3):
        force.addParticle([charge - 0.5, 0.1 + 0.1 * radius, 0.7 + 0.2 * scale])
    force.finalize()
    if cutoff is not None:
        force.setNonbondedMethod(openmm.CustomGBForce.CutoffNonPeriodic)
        force.setCutoffDistance(cutoff)
    return force


def bonds() -> openmm.HarmonicBondForce:
    force = openmm.HarmonicBondForce()
    for i in range(N - 1):
        force.addBond(i, i + 1, 0.1, 2e5)
    return force


def angles() -> openmm.HarmonicAngleForce:
    force = openmm.HarmonicAngleForce()
    for i in range(N - 2):
        force.addAngle(i, i + 1, i + 2, 1.9 + 0.1 * i, 400.0)
    return force


def periodic_torsions() -> openmm.PeriodicTorsionForce:
    force = openmm.PeriodicTorsionForce()
    for i, four in enumerate(quadruples()):
        for n in (1, 2, 3, 6)[: 1 + i % 4]:
            force.addTorsion(*four, n, 0.7 * i, 1.0 + n)
    return force


def ryckaert_bellemans() -> openmm.RBTorsionForce:
    force = openmm.RBTorsionForce()
    for four, c in zip(quadruples(), numbers(12, 6) - 0.5, strict=True):
        force.addTorsion(*four, *c)
    return force


def correction_maps() -> openmm.CMAPTorsionForce:
    force = openmm.CMAPTorsionForce()
    for k in range(2):
        force.addMap(12, list(20 * numbers(144, seed=k) - 10))
    fours = quadruples()
    for i in range(6):
        force.addTorsion(i % 2, *fours[2 * i], *fours[2 * i + 1])
    return force


def impropers() -> openmm.CustomTorsionForce:
    force = openmm.CustomTorsionForce("k*(theta-theta0)^2")
    force.addPerTorsionParameter("k")
    force.addPerTorsionParameter("theta0")
    for i, four in enumerate(quadruples()):
        force.addTorsion(*four, [10.0 + i, 0.3 * i - 2])
    return force


def lennard_jones_14() -> openmm.CustomBondForce:
    force = openmm.CustomBondForce("4*epsilon*((sigma/r)^12-(sigma/r)^6)")
    force.addPerBondParameter("sigma")
    force.addPerBondParameter("epsilon")
    for i, (sigma, epsilon) in enumerate(numbers(6, 2)):
        force.addBond(i, i + 3, [0.01 + 0.1 * sigma, epsilon])
    return force


def lennard_jones_by_types(cutoff: float | None = None) -> openmm.CustomNonbondedForce:
    force = openmm.CustomNonbondedForce("acoef(type1, type2)/r^12 - bcoef(type1, type2)/r^6")
    force.addPerParticleParameter("type")
    for k, name in enumerate(("acoef", "bcoef")):
        coefficients = numbers(3, 3, seed=k)
        values = (coefficients + coefficients.T) * 1e-4 ** (2 - k)
        force.addTabulatedFunction(name, openmm.Discrete2DFunction(3, 3, values.flatten().tolist()))
    for i in range(N):
        force.addParticle([i % 3])
    force.addExclusion(0, 4)
    if cutoff is not None:
        force.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffNonPeriodic)
        force.setCutoffDistance(cutoff)
    return force


def everything() -> openmm.System:
    return system_of(bonds(), angles(), periodic_torsions(), correction_maps(), nonbonded(), born())
