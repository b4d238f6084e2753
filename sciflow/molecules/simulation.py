"""Molecular dynamics with OpenMM: short runs from hot seeds, and replica exchange for converged references.

All runs are Langevin dynamics (middle scheme) at 1 fs without constraints, so that every atom has a density.
"""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import openmm
from openmm import unit

from ..interrupts import children_end_too
from .system import MolecularSystem

__all__ = ["KB", "Replicas", "hot_seeds", "replica_exchange", "short_runs"]

KB = (unit.MOLAR_GAS_CONSTANT_R).value_in_unit(unit.kilojoule_per_mole / unit.kelvin)  # kJ/(mol K)
Tick = Callable[[], object]  # called once for every unit of work done
_TIMESTEP = 0.001  # ps
_HOT_STREAM = 2**30  # added to a seed: not a seed of the short runs, and never 0, which OpenMM reads as "any"
_FRICTION = 5.0  # 1/ps: fast sampling, no kinetics is read off these runs


def hot_seeds(
    molecule: MolecularSystem, temperature: float, n: int, spacing: int, seed: int, tick: Tick = lambda: None
) -> np.ndarray:
    """``(n, N, 3)`` nm: frames of one hot run, ``spacing`` steps apart."""
    seed += _HOT_STREAM
    context = _context(molecule, temperature, seed)
    context.setPositions(molecule.positions)
    context.setVelocitiesToTemperature(temperature, seed)
    context.getIntegrator().step(spacing)
    frames = []
    for _ in range(n):
        context.getIntegrator().step(spacing)
        frames.append(_positions(context))
        tick()
    return np.stack(frames)


def short_runs(
    molecule: MolecularSystem,
    seeds: np.ndarray,
    temperature: float,
    steps: int,
    stride: int,
    equilibration: int,
    seed: int,
    tick: Tick = lambda: None,
) -> np.ndarray:
    """Independent short runs, one from each of ``seeds (R, N, 3)``: frames ``(R, steps // stride, N, 3)`` in nm.

    The runs are spread over the processors; each has its own random seed, so their number does not matter.
    The populations of long-lived basins stay those of the hot seeds: **biased** at the lower temperature.
    """
    jobs = [(molecule, s, temperature, steps, stride, equilibration, seed + 1 + i) for i, s in enumerate(seeds)]
    workers = max(1, len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool, children_end_too():
        runs = []
        for run in pool.map(_short_run, jobs):
            runs.append(run)
            tick()
    return np.stack(runs)


def _short_run(job: tuple[MolecularSystem, np.ndarray, float, int, int, int, int]) -> np.ndarray:
    molecule, start, temperature, steps, stride, equilibration, seed = job
    context = _context(molecule, temperature, seed)
    context.setPositions(start)
    openmm.LocalEnergyMinimizer.minimize(context, 10.0, 20)
    context.setVelocitiesToTemperature(temperature, seed)
    context.getIntegrator().step(equilibration)
    frames = []
    for _ in range(steps // stride):
        context.getIntegrator().step(stride)
        frames.append(_positions(context))
    return np.stack(frames).astype(np.float32)


@dataclass
class Replicas:
    """What replica exchange saw at the lowest temperature: frames ``(F, N, 3)`` nm, energies ``(F,)`` kJ/mol."""

    frames: np.ndarray
    energies: np.ndarray
    acceptance: np.ndarray  # (K-1,) between neighbouring temperatures


def replica_exchange(
    molecule: MolecularSystem,
    temperatures: np.ndarray,
    exchanges: int,
    steps: int,
    seed: int,
    tick: Tick = lambda: None,
) -> Replicas:
    """Parallel tempering: ``exchanges`` rounds of ``steps`` MD steps at each of the ``temperatures`` (kelvin, rising).

    Neighbours swap with probability min(1, exp[(β_i − β_j)(E_i − E_j)]) (Sugita & Okamoto, Chem. Phys. Lett. 1999);
    every round records one frame of the lowest temperature. The first tenth is thrown away.
    """
    rng = np.random.default_rng(seed)
    contexts = [_context(molecule, t, seed * 1000 + i + 1) for i, t in enumerate(temperatures)]
    for context, t in zip(contexts, temperatures, strict=True):
        context.setPositions(molecule.positions)
        context.setVelocitiesToTemperature(t, int(rng.integers(2**31 - 1)))
    beta = 1 / (KB * np.asarray(temperatures))
    frames, energies = [], []
    tried, accepted = np.zeros(len(beta) - 1), np.zeros(len(beta) - 1)
    for k in range(exchanges):
        tick()
        for context in contexts:
            context.getIntegrator().step(steps)
        energy = np.array([_energy(c) for c in contexts])
        for i in range(k % 2, len(beta) - 1, 2):
            tried[i] += 1
            if np.log(rng.random()) < (beta[i] - beta[i + 1]) * (energy[i] - energy[i + 1]):
                accepted[i] += 1
                _swap(contexts[i], contexts[i + 1], temperatures[i], temperatures[i + 1])
                energy[i], energy[i + 1] = energy[i + 1], energy[i]
        if k >= exchanges // 10:
            frames.append(_positions(contexts[0]))
            energies.append(energy[0])
    return Replicas(np.stack(frames).astype(np.float32), np.array(energies), accepted / np.maximum(tried, 1))


def _swap(cold: openmm.Context, hot: openmm.Context, t_cold: float, t_hot: float) -> None:
    states = [c.getState(getPositions=True, getVelocities=True) for c in (cold, hot)]
    for context, state, scale in ((cold, states[1], t_cold / t_hot), (hot, states[0], t_hot / t_cold)):
        context.setPositions(state.getPositions(asNumpy=True))
        context.setVelocities(state.getVelocities(asNumpy=True) * np.sqrt(scale))


def _context(molecule: MolecularSystem, temperature: float, seed: int) -> openmm.Context:
    integrator = openmm.LangevinMiddleIntegrator(temperature, _FRICTION, _TIMESTEP)
    integrator.setRandomNumberSeed(seed)
    return openmm.Context(molecule.system, integrator, openmm.Platform.getPlatformByName(molecule.platform))


def _positions(context: openmm.Context) -> np.ndarray:
    state = context.getState(getPositions=True)
    return np.asarray(state.getPositions(asNumpy=True).value_in_unit(unit.nanometer))


def _energy(context: openmm.Context) -> float:
    return context.getState(getEnergy=True).getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
