"""The training data of a peptide: short runs from hot seeds (OpenMM), or from an equilibrium (torch)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, require_above
from ..training import Progress
from . import simulation
from .equilibrium import Ladders, batched_dynamics, chosen_engine, equilibrium, hot_frames, runs_from
from .system import MolecularSystem

__all__ = ["Simulation", "TrainingRuns", "part_of", "training_runs"]

_FEWEST = 3  # runs: one for each split
_PARTS = 12  # of the runs: one is for tests, one for validation, the others for training


@dataclass
class Simulation:
    """Molecular dynamics that makes the training data: ``runs`` short runs.

    They start from hot frames, so that the populations of basins are those of ``hot_temperature`` and no basin is
    rare; or, with the engine ``torch``, from parallel tempering (``ladders``) below that temperature, and populations
    are right up to its statistical error. ``engine=auto``: see :func:`.equilibrium.chosen_engine`.
    """

    engine: str = "auto"  # openmm or torch; auto is torch on a GPU or where OpenMM is slow, else openmm
    hot_temperature: float = 1000.0  # kelvin
    hot_spacing: int = 5_000  # steps (fs) between two seeds; engine openmm
    runs: int = 120
    equilibration: int = 4_000  # steps thrown away at the start of each run
    steps: int = 32_000  # per run
    stride: int = 25  # steps between two frames
    starts: str = "auto"  # hot or tempering; auto is tempering with the engine torch, else hot
    ladders: Ladders = field(default_factory=Ladders)  # engine torch; with hot starts its hot_steps alone

    def __post_init__(self) -> None:
        require_above(0, "simulation.", self, "hot_temperature", "hot_spacing", "steps", "stride")
        require_above(2, "simulation.", self, "runs")
        require_above(-1, "simulation.", self, "equilibration")
        if self.stride > self.steps:
            raise InputError(f"simulation.stride={self.stride} must not exceed simulation.steps={self.steps}")
        if self.engine not in ("auto", "openmm", "torch"):
            raise InputError(f"simulation.engine={self.engine}: unknown engine; use auto, openmm or torch")
        if self.starts not in ("auto", "hot", "tempering"):
            raise InputError(f"simulation.starts={self.starts}: unknown starts; use auto, hot or tempering")


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
    if chosen_engine(sim.engine, molecule.system, "simulation.engine") == "openmm":
        if sim.starts == "tempering":
            raise InputError("simulation.starts=tempering: the engine openmm has hot starts; use engine=torch")
        return _by_openmm(molecule, temperature, sim, seed)
    if sim.starts == "hot":
        return _from_hot_frames(molecule, temperature, sim, seed)
    return _from_tempering(molecule, temperature, sim, seed)


def part_of(runs: int) -> Tensor:
    """The part ``(runs,)`` that each run belongs to: 0 is for tests, 1 for validation, the others for training."""
    return torch.arange(runs) % min(_PARTS, runs)


def _by_openmm(molecule: MolecularSystem, temperature: float, sim: Simulation, seed: int) -> TrainingRuns:
    with Progress("hot run", sim.runs) as bar:
        seeds = simulation.hot_seeds(molecule, sim.hot_temperature, sim.runs, sim.hot_spacing, seed, bar.advance)
    seeds = seeds[molecule.stereochemistry.kept(torch.as_tensor(seeds)).numpy()]
    _enough(len(seeds), sim)
    with Progress("short runs", len(seeds)) as bar:
        runs = simulation.short_runs(
            molecule, seeds, temperature, sim.steps, sim.stride, sim.equilibration, seed, bar.advance
        )
    about = {"engine": "openmm", "platform": molecule.platform}
    return TrainingRuns(torch.from_numpy(runs), about | _about_hot(len(seeds), temperature, sim))


def _from_hot_frames(molecule: MolecularSystem, temperature: float, sim: Simulation, seed: int) -> TrainingRuns:
    dynamics, hot_steps = batched_dynamics(molecule, temperature), sim.ladders.hot_steps
    with Progress("hot runs", 1) as bar:
        seeds = hot_frames(molecule, dynamics, temperature, sim.hot_temperature, sim.runs, hot_steps, seed)
        bar.advance()
    _enough(len(seeds), sim)
    with Progress("runs", sim.steps // sim.stride) as bar:
        frames = runs_from(seeds, dynamics, sim.steps, sim.stride, sim.equilibration, seed, bar.advance)
    md_steps = sim.runs * hot_steps + len(seeds) * (sim.equilibration + sim.steps)
    about = {"engine": "torch", "starts": "hot", "md_steps": md_steps}
    return TrainingRuns(frames, about | _about_hot(len(seeds), temperature, sim))


def _enough(kept: int, sim: Simulation) -> None:
    if kept < _FEWEST:
        raise InputError(
            f"simulation.hot_temperature={sim.hot_temperature}: only {kept} of {sim.runs} hot frames kept "
            f"the stereochemistry, and {_FEWEST} are needed; lower it, or raise simulation.runs"
        )


def _about_hot(kept: int, temperature: float, sim: Simulation) -> dict[str, Any]:
    return {
        "seeds": {"hot frames": sim.runs, "kept": kept},
        "bias": f"basin populations are those of seeds at {sim.hot_temperature:g} K, not of {temperature:g} K",
    }


def _from_tempering(molecule: MolecularSystem, temperature: float, sim: Simulation, seed: int) -> TrainingRuns:
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
        "starts": "tempering",
        "md_steps": sim.ladders.md_steps + sim.runs * (sim.equilibration + sim.steps),
        "exchange acceptance": [round(float(a), 3) for a in ensemble.acceptance],
        "annealing": {"smallest effective share of a stage": round(min(ensemble.shares), 3)},
        "bias": f"none but the statistical error of {sim.ladders.ladders} ladders of parallel tempering",
    }
    return TrainingRuns(frames, about)
