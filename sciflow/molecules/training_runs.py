"""The training data of a peptide: short runs from hot seeds (OpenMM), or from an equilibrium (torch)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, require_above
from ..training import Progress
from . import simulation
from .equilibrium import Ladders, batched_dynamics, chosen_engine, equilibrium, runs_from
from .system import MolecularSystem

__all__ = ["Simulation", "TrainingRuns", "part_of", "training_runs"]

_FEWEST = 3  # runs: one for each split
_PARTS = 12  # of the runs: one is for tests, one for validation, the others for training


@dataclass
class Simulation:
    """Molecular dynamics that makes the training data: ``runs`` short runs.

    With the engine ``openmm`` they start from frames of one hot run, so that the populations of basins are those of its
    temperature. With ``torch`` they start from parallel tempering (``ladders``) below the same temperature, and
    populations are right up to its statistical error. ``auto``: see :func:`.equilibrium.chosen_engine`.
    """

    engine: str = "auto"  # openmm or torch; auto is torch on a GPU or where OpenMM is slow, else openmm
    hot_temperature: float = 1000.0  # kelvin
    hot_spacing: int = 5_000  # steps (fs) between two seeds; engine openmm
    runs: int = 120
    equilibration: int = 4_000  # steps thrown away at the start of each run
    steps: int = 32_000  # per run
    stride: int = 25  # steps between two frames
    ladders: Ladders = field(default_factory=Ladders)  # engine torch

    def __post_init__(self) -> None:
        require_above(0, "simulation.", self, "hot_temperature", "hot_spacing", "steps", "stride")
        require_above(2, "simulation.", self, "runs")
        require_above(-1, "simulation.", self, "equilibration")
        if self.stride > self.steps:
            raise InputError(f"simulation.stride={self.stride} must not exceed simulation.steps={self.steps}")
        if self.engine not in ("auto", "openmm", "torch"):
            raise InputError(f"simulation.engine={self.engine}: unknown engine; use auto, openmm or torch")


@dataclass
class TrainingRuns:
    """Frames ``(runs, F, N, 3)`` in nm of independent runs, and how they were made."""

    frames: Tensor
    about: dict[str, Any]


def training_runs(molecule: MolecularSystem, temperature: float, sim: Simulation, seed: int) -> TrainingRuns:
    """Simulate, with progress on the terminal.

    Raises:
        InputError: the stereochemistry was lost too often, or an engine that does not know the force field.
    """
    if chosen_engine(sim.engine, molecule.system, "simulation.engine") == "torch":
        return _by_torch(molecule, temperature, sim, seed)
    return _by_openmm(molecule, temperature, sim, seed)


def part_of(runs: int) -> Tensor:
    """The part ``(runs,)`` that each run belongs to: 0 is for tests, 1 for validation, the others for training."""
    return torch.arange(runs) % min(_PARTS, runs)


def _by_openmm(molecule: MolecularSystem, temperature: float, sim: Simulation, seed: int) -> TrainingRuns:
    with Progress("hot run", sim.runs) as bar:
        seeds = simulation.hot_seeds(molecule, sim.hot_temperature, sim.runs, sim.hot_spacing, seed, bar.advance)
    seeds = seeds[molecule.stereochemistry.kept(torch.as_tensor(seeds)).numpy()]
    if len(seeds) < _FEWEST:
        raise InputError(
            f"simulation.hot_temperature={sim.hot_temperature}: only {len(seeds)} of {sim.runs} hot frames kept "
            f"the stereochemistry, and {_FEWEST} are needed; lower it, or raise simulation.runs"
        )
    with Progress("short runs", len(seeds)) as bar:
        runs = simulation.short_runs(
            molecule, seeds, temperature, sim.steps, sim.stride, sim.equilibration, seed, bar.advance
        )
    about = {
        "engine": "openmm",
        "platform": molecule.platform,
        "seeds": {"hot frames": sim.runs, "kept": len(seeds)},
        "bias": f"basin populations are those of seeds at {sim.hot_temperature:g} K, not of {temperature:g} K",
    }
    return TrainingRuns(torch.from_numpy(runs), about)


def _by_torch(molecule: MolecularSystem, temperature: float, sim: Simulation, seed: int) -> TrainingRuns:
    dynamics = batched_dynamics(molecule, temperature)
    with Progress("tempering", sim.ladders.ticks) as bar:
        ensemble = equilibrium(molecule, dynamics, temperature, sim.hot_temperature, sim.ladders, seed, bar.advance)
    cold = ensemble.frames[:, sim.ladders.rounds // 4 :].flatten(0, 1)
    cold = cold[molecule.stereochemistry.kept(cold)]
    place = part_of(sim.runs).argsort(stable=True).argsort()  # runs of one part come from neighbouring ladders
    starts = cold[place * len(cold) // sim.runs]
    with Progress("runs", sim.steps // sim.stride) as bar:
        frames = runs_from(starts, dynamics, sim.steps, sim.stride, sim.equilibration, seed, bar.advance)
    about = {
        "engine": "torch",
        "md_steps": sim.ladders.md_steps + sim.runs * (sim.equilibration + sim.steps),
        "exchange acceptance": [round(float(a), 3) for a in ensemble.acceptance],
        "annealing": {"smallest effective share of a stage": round(min(ensemble.shares), 3)},
        "bias": f"none but the statistical error of {sim.ladders.ladders} ladders of parallel tempering",
    }
    return TrainingRuns(frames, about)
