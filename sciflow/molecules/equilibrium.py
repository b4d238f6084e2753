"""Equilibrium ensembles of a molecule in torch: a hot run, population annealing, parallel tempering.

The same Langevin dynamics as in :mod:`.simulation` (1 fs, no constraints), in float32, all replicas in one batch:
dozens on a CPU, thousands on a GPU.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast

import numpy as np
import openmm
import torch
from torch import Tensor

from ..boltzmann import LangevinMiddle, ParallelTempering, TorchForceField, Walkers, population_annealing
from ..errors import InputError, require_above
from ..rng import step_generator
from .system import MolecularSystem

__all__ = [
    "Engine",
    "Equilibrium",
    "Ladders",
    "batched_dynamics",
    "chosen_engine",
    "equilibrium",
    "hot_frames",
    "runs_from",
]

Engine = Literal["openmm", "torch"]
Tick = Callable[[], object]
_FRICTION = 5.0  # 1/ps, as in .simulation
_HOT_FRICTION = 2.0
_PRODUCTION = 1  # stream of the production runs beside that of the equilibrium


@dataclass
class Ladders:
    """How an equilibrium is reached. A GPU has room for 16384 walkers, 36000 hot steps, 2048 ladders, 720 rounds."""

    walkers: int = 256  # of the hot run and of the annealing
    hot_steps: int = 5_000
    stages: int = 2  # of the annealing, from one rung to the next
    stage_steps: int = 200
    ladders: int = 32
    rungs: int = 8  # geometric temperatures
    rounds: int = 100
    swap: int = 100  # steps between two exchanges

    def __post_init__(self) -> None:
        require_above(0, "ladders.", self, "walkers", "stages", "ladders", "rounds", "swap")
        require_above(-1, "ladders.", self, "hot_steps", "stage_steps")
        require_above(1, "ladders.", self, "rungs")
        if self.ladders > self.walkers:
            raise InputError(f"ladders.ladders={self.ladders} must not exceed ladders.walkers={self.walkers}")

    @property
    def ticks(self) -> int:
        """Calls of ``tick`` in :func:`equilibrium`."""
        return 1 + self.stages * (self.rungs - 1) + self.rounds

    @property
    def md_steps(self) -> int:
        """Evaluations of the force in :func:`equilibrium`."""
        cooling = self.stages * (self.rungs - 1) * self.stage_steps
        return self.walkers * (self.hot_steps + cooling) + self.ladders * self.rungs * self.rounds * self.swap

    def temperatures(self, coldest: float, hottest: float) -> np.ndarray:
        """The rungs ``(rungs,)`` in kelvin, rising."""
        return cast(np.ndarray, np.geomspace(coldest, hottest, self.rungs))


@dataclass
class Equilibrium:
    """The coldest rung: frames ``(ladders, rounds, N, 3)`` nm and energies ``(ladders, rounds)`` in kT, on the CPU.

    ``acceptance (rungs − 1,)`` of the exchanges and ``shares``, the effective share of the weights of every stage of
    the annealing, say whether rungs and stages were close enough.
    """

    frames: Tensor
    energies: Tensor
    acceptance: Tensor
    shares: list[float]


def chosen_engine(engine: str, system: openmm.System, setting: str) -> Engine:
    """``openmm`` or ``torch`` for one of these names or ``auto``.

    ``auto`` is torch on a GPU, and for a CustomGBForce, which OpenMM interprets (some thirty times slower than torch on
    one core); OpenMM for everything else, and for systems that torch does not know.
    """
    if engine == "torch" or engine == "openmm":
        return cast(Engine, engine)
    if engine != "auto":
        raise InputError(f"{setting}={engine}: unknown engine; use auto, openmm or torch")
    custom = any(isinstance(force, openmm.CustomGBForce) for force in system.getForces())
    if not (torch.cuda.is_available() or custom):
        return "openmm"
    try:
        TorchForceField.from_openmm(system)
    except InputError:
        return "openmm"
    return "torch"


def batched_dynamics(molecule: MolecularSystem, temperature: float) -> LangevinMiddle:
    """Dynamics whose unit of temperature is ``temperature`` (kelvin): on the GPU, compiled, if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    field = TorchForceField.from_openmm(molecule.system, temperature, torch.float32).to(device)
    if device == "cuda":
        field.compile()
    return LangevinMiddle(field, field.reduced_masses, friction=_FRICTION)


def equilibrium(
    molecule: MolecularSystem,
    dynamics: LangevinMiddle,
    temperature: float,
    hottest: float,
    ladders: Ladders,
    seed: int,
    tick: Tick = lambda: None,
) -> Equilibrium:
    """Parallel tempering from walkers that were annealed from a hot run; what lost its stereochemistry has no weight.

    Args:
        dynamics: of :func:`batched_dynamics` at ``temperature``.

    Raises:
        InputError: too few hot walkers kept the stereochemistry.
    """
    generator = step_generator(seed, device=_device(dynamics))
    kelvin = ladders.temperatures(temperature, hottest)
    falling = np.geomspace(hottest / temperature, 1.0, ladders.stages * (ladders.rungs - 1) + 1)

    def alive(x: Tensor) -> Tensor:
        return molecule.stereochemistry.kept(x.cpu()).to(x.device)

    walkers = _hot(molecule, dynamics, hottest / temperature, ladders.walkers, ladders.hot_steps, generator)
    tick()
    kept = alive(walkers.x) & walkers.energy.isfinite()
    left = int(kept.sum())
    if left < ladders.ladders:
        raise InputError(
            f"hot_temperature={hottest:g}: only {left} of {ladders.walkers} walkers kept the stereochemistry, "
            f"and {ladders.ladders} ladders need one each; lower it, or raise ladders.walkers"
        )
    cooled, shares = population_annealing(
        dynamics, walkers, falling.tolist(), ladders.stage_steps, generator, alive, tick
    )
    rungs = [_some(rung, alive(rung.x), ladders.ladders) for rung in reversed(cooled[:: ladders.stages])]
    frames: list[Tensor] = []
    energies: list[Tensor] = []

    def record(coldest: Walkers) -> None:
        frames.append(coldest.x.cpu())
        energies.append(coldest.energy.cpu())
        tick()

    tempering = ParallelTempering(dynamics, torch.as_tensor(kelvin / temperature), ladders.swap)
    tempered = tempering.run(Walkers(*map(torch.cat, zip(*rungs, strict=True))), ladders.rounds, generator, record)
    return Equilibrium(torch.stack(frames, 1), torch.stack(energies, 1), tempered.accepted.cpu(), shares)


def hot_frames(
    molecule: MolecularSystem,
    dynamics: LangevinMiddle,
    temperature: float,
    hottest: float,
    walkers: int,
    steps: int,
    seed: int,
) -> Tensor:
    """Last frames ``(n, N, 3)`` of independent hot runs, those of the ``walkers`` that kept the stereochemistry."""
    generator = step_generator(seed, device=_device(dynamics))
    hot = _hot(molecule, dynamics, hottest / temperature, walkers, steps, generator)
    x = hot.x[hot.energy.isfinite()].cpu()
    return x[molecule.stereochemistry.kept(x)]


def _hot(
    molecule: MolecularSystem, dynamics: LangevinMiddle, t: float, n: int, steps: int, generator: torch.Generator
) -> Walkers:
    x = torch.as_tensor(molecule.positions, dtype=torch.float32, device=_device(dynamics)).expand(n, -1, -1)
    dynamics = replace(dynamics, friction=_HOT_FRICTION)
    return dynamics.run(dynamics.start(x, t, generator), steps, t, generator)


def runs_from(
    starts: Tensor,
    dynamics: LangevinMiddle,
    steps: int,
    stride: int,
    equilibration: int,
    seed: int,
    tick: Tick = lambda: None,
) -> Tensor:
    """Runs from each of ``starts (R, N, 3)``: frames ``(R, steps // stride, N, 3)`` in nm, on the CPU."""
    device = _device(dynamics)
    generator = step_generator(seed, _PRODUCTION, device=device)
    walkers = dynamics.start(starts.to(device, torch.float32), 1.0, generator)
    walkers = dynamics.run(walkers, equilibration, 1.0, generator)
    frames = []
    for _ in range(steps // stride):
        walkers = dynamics.run(walkers, stride, 1.0, generator)
        frames.append(walkers.x.cpu())
        tick()
    return torch.stack(frames, 1)


def _some(walkers: Walkers, kept: Tensor, n: int) -> Walkers:
    """``n`` of the walkers that were kept, evenly spread over their ancestors."""
    index = torch.nonzero(kept & walkers.energy.isfinite()).flatten()
    return walkers.select(index[torch.arange(n, device=index.device) * len(index) // n])


def _device(dynamics: LangevinMiddle) -> torch.device:
    return cast(Tensor, dynamics.masses).device
