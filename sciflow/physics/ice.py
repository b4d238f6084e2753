"""Ice from one temperature to another: free energies by a learned perturbation beside those of a ladder."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..boltzmann.free_energy import mbar
from ..boltzmann.kernels import resized
from ..boltzmann.potentials import LogDensity
from ..boltzmann.targets import Ice, RigidHMC, symmetries
from ..errors import InputError, require_above
from ..rng import sample_generators, step_generator
from ..study import Evaluation, require_prepared
from ..training import FlowModel, Model, Progress, SafetensorsDataset, Samples, load_tensors, save_tensors
from .chains import mbar_covariance
from .ice_figures import captions, figures
from .ice_files import write_crystals
from .ice_flow import CrystalFlow, Ensemble
from .ice_metrics import Crystals, metrics

__all__ = ["IceStudy", "Ladder"]

_ACCEPTED = 0.7
_OF_DATA = ("order", "cells", "switch", "hot", "cold")  # settings of the crystal

# Köhler et al. 2023 (arXiv:2301.11355), by molecules and cold temperature, from 250 K in the antiferroelectric order:
# free energies per molecule by MBAR, from the files that came with the paper, and the raw effective sample size. Their
# energies are PME's to 1e-4, which is worth 0.007 kT a molecule at 100 K.
_PUBLISHED = {
    (16, 100.0): {"delta_f_per_molecule": -669.7109 / 16, "ess": 0.2375},
    (16, 50.0): {"delta_f_per_molecule": -1828.0234 / 16},
    (128, 100.0): {"delta_f_per_molecule": -5316.4809 / 128},
    (128, 50.0): {"delta_f_per_molecule": -14528.2733 / 128},
}


class Frames(NamedTuple):
    """Pinned crystals of every rung, ``(rungs, chains, draws, N, 7)``, hottest first, and what was accepted of each."""

    x: Tensor
    accepted: Tensor


@dataclass
class Ladder:
    """Hamiltonian Monte Carlo at a ladder of temperatures, each with its own chains, all in one batch.

    Attributes:
        rungs: temperatures, geometric from the hot one to the cold one.
        chains: of each temperature, from the perfect crystal.
        burn_in: moves before the first draw; step sizes are tuned in the first half of them.
        draws, thinning: draws a chain, and moves between two of them.
        leapfrogs: of a move.
    """

    rungs: int = 5
    chains: int = 40
    burn_in: int = 60
    draws: int = 20
    thinning: int = 4
    leapfrogs: int = 8

    def __post_init__(self) -> None:
        require_above(1, "reference.", self, "rungs", "burn_in")
        require_above(4, "reference.", self, "chains")
        require_above(0, "reference.", self, "draws", "thinning", "leapfrogs")

    @property
    def moves(self) -> int:
        """Of each chain, in all."""
        return self.burn_in + self.draws * self.thinning

    def temperatures(self, hot: float, cold: float) -> list[float]:
        """In kelvin, hottest first."""
        return [hot * (cold / hot) ** (k / (self.rungs - 1)) for k in range(self.rungs)]

    def run(self, ice: Ice, hot: float, cold: float, seed: int, device: str, bar: Progress) -> Frames:
        """Draw; in float32, whose rounding of these energies is a hundredth of a kT at most."""
        rungs = torch.tensor(self.temperatures(hot, cold), device=device)
        kelvin = rungs.repeat_interleave(self.chains)
        energy = LogDensity(lambda x: -ice.potential(x) / kelvin)
        generator = step_generator(seed, device=device)
        x, here, kept, accepted = ice.sites.float().to(device).repeat(len(kelvin), 1, 1), None, [], []
        kernel = RigidHMC(size=0.0045 * (kelvin / 250).sqrt(), leapfrogs=self.leapfrogs)
        for n in range(self.moves):
            move = kernel.step(x, energy, generator, here)
            x, here = move.x, move.here
            if n < self.burn_in // 2:  # moves that depend on earlier ones draw from no law: measure after them
                each = move.accepted.view(self.rungs, -1).mean(1).repeat_interleave(self.chains)
                kernel = resized(kernel, (each - _ACCEPTED) * (n + 1) ** -0.6)
            if n >= self.burn_in:
                accepted.append(move.accepted)
                if (n - self.burn_in) % self.thinning == self.thinning - 1:
                    kept.append(ice.pinned(x))
            bar.advance()
        frames = torch.stack(kept, 1).unflatten(0, (self.rungs, self.chains))
        return Frames(frames, torch.stack(accepted).mean(0).view(self.rungs, -1).mean(1))


@dataclass
class IceStudy:
    """Map the ensemble of a crystal at one temperature to that at another, and weigh it by the exact energy.

    Attributes:
        order, cells, switch: of the crystal, see ``sciflow.boltzmann.targets.Ice``.
        hot, cold: temperatures in kelvin.
        reference: how the ensembles are drawn; whole chains go to training (60 %), validation (10 %) and, for samples
            of the flow, to frames that it has not seen (30 %). The symmetries of the crystal multiply both.
    """

    order: str = "antiferroelectric"
    cells: tuple[int, int, int] = (2, 1, 1)
    switch: float = 0.9
    hot: float = 250.0
    cold: float = 100.0
    reference: Ladder = field(default_factory=Ladder)
    architecture: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_above(0, "study.", self, "cold")
        if len(self.cells) != 3:
            raise InputError(f"study.cells={list(self.cells)}: give 3 numbers, the repeats along a, b and c")
        if self.hot <= self.cold:
            raise InputError(f"study.hot={self.hot} must be above study.cold={self.cold}")
        _ = self.ice(self.cold)  # an order that is none is refused with the configuration

    def ice(self, temperature: float) -> Ice:
        """The crystal at a temperature in kelvin."""
        n, m, k = self.cells
        return Ice(self.order, (n, m, k), switch=self.switch, temperature=temperature)

    def prepare(self, raw: Path | None, out: Path) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        crystal = self.ice(self.hot)
        with Progress("reference", self.reference.moves) as bar:
            frames = self.reference.run(crystal, self.hot, self.cold, self.seed, device, bar)
        temperatures = self.reference.temperatures(self.hot, self.cold)
        hot, cold = frames.x[0].cpu(), frames.x[-1].cpu()
        last, first = max(1, round(0.3 * len(hot))), max(1, round(0.1 * len(hot)))
        parts = {"unseen": hot[:last], "val": hot[last : last + first], "train": hot[last + first :], "test": cold}
        chains = {}
        for name, part in parts.items():
            flat, chain = part.flatten(0, 1), torch.arange(len(part)).repeat_interleave(part.shape[1])
            if name in ("train", "unseen"):  # frames that no chain has been to, as likely as those that it has
                flat = torch.cat([motion(crystal, flat.double()).float() for motion in symmetries(crystal)])
                chain = chain.repeat(len(symmetries(crystal)))
            order = torch.randperm(len(flat), generator=step_generator(self.seed, 1))
            save_tensors({"x": flat[order]}, out / f"{name}.safetensors")
            chains[name] = chain[order]
        save_tensors({name: chains[name] for name in ("unseen", "test")}, out / "chains.safetensors")
        delta_f, error = ladder_free_energy(crystal, frames.x, temperatures)
        about = {
            "crystal": str(crystal),
            "units": "nm, unit quaternions w x y z",
            "train, val, unseen": f"{self.hot:g} K",
            "test": f"{self.cold:g} K",
            "temperatures": temperatures,
            "accepted": frames.accepted.tolist(),
            "delta_f": delta_f,
            "delta_f_error": error,
        }
        (out / "meta.json").write_text(json.dumps(about, indent=1))

    def dataset(self, data: Path, split: str) -> SafetensorsDataset:
        return SafetensorsDataset(data / f"{split}.safetensors")

    def model(self, data: Path) -> Model:
        """Its base are frames that it is not trained on: samples and weights are those of unseen ones."""
        if not isinstance(self.architecture, CrystalFlow):
            raise InputError("model: none chosen that moves crystals; say model=crystal_flow")
        require_prepared(self, data, *_OF_DATA)
        frames = load_tensors(data / "unseen.safetensors")["x"]
        model: Model = self.architecture.build(self.ice(self.hot), self.ice(self.cold), frames, self.seed)
        return model

    def write(self, samples: Samples, out: Path) -> None:
        write_crystals(self.ice(self.cold), samples, out, self.seed)

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        require_prepared(self, data, *_OF_DATA)
        crystals = self._crystals(samples, data)
        found = metrics(crystals)
        for name, value in self._published().items():
            found[name].published = value
        return Evaluation(found, figures(crystals), captions(crystals))

    def _published(self) -> dict[str, float]:
        if (self.order, self.switch, self.hot) != ("antiferroelectric", 0.9, 250.0):
            return {}
        return _PUBLISHED.get((self.ice(self.cold).molecules, self.cold), {})

    def _crystals(self, samples: Samples, data: Path) -> Crystals:
        meta = json.loads((data / "meta.json").read_text())
        unseen, test = (load_tensors(data / f"{name}.safetensors")["x"].double() for name in ("unseen", "test"))
        with torch.no_grad():
            untrained = self.model(data)
            assert isinstance(untrained, FlowModel)
            assert isinstance(untrained.flow.base, Ensemble)
            x, ladj = untrained.flow.transform.inv.call_and_ladj(unseen.float())
        hot, cold = self.ice(self.hot), self.ice(self.cold)
        contracted = hot.energy(unseen) - cold.energy(x.double()) + ladj.double()
        start = untrained.flow.base.chosen(len(samples.x), generator=sample_generators(self.seed, 0, len(samples.x)))
        chains = load_tensors(data / "chains.safetensors")
        return Crystals.of(
            cold,
            samples,
            unseen,
            test,
            chains["unseen"][start],
            chains["test"],
            contracted,
            meta["delta_f"],
            meta["delta_f_error"],
            self.seed,
        )


def ladder_free_energy(crystal: Ice, x: Tensor, temperatures: list[float]) -> tuple[float, float]:
    """F_cold/kT_cold − F_hot/kT_hot and its error, by MBAR over frames ``(rungs, chains, draws, N, 7)``.

    Draws of a chain are correlated: the error counts chains.
    """
    rungs, chains, draws = x.shape[:3]
    potential = torch.cat([crystal.potential(part.double()) for part in x.flatten(0, 2).split(512)]).cpu()
    energies = torch.stack([potential / kelvin for kelvin in temperatures])
    own = energies.view(rungs, rungs, -1).diagonal().mean(0)
    energies = energies - own[:, None]  # else the solver would start hundreds of kT from its solution
    delta_f, _ = mbar(energies, [chains * draws] * rungs)
    chain = torch.arange(rungs * chains).repeat_interleave(draws)
    covariance = mbar_covariance(energies, delta_f, chain // chains, chain)
    return float(delta_f[-1] + own[-1] - own[0]), float(covariance[-1, -1].sqrt())
