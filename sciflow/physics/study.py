"""Boltzmann generators of analytic energies: reference drawn here, a flow, and its weights towards the exact law."""

import importlib
import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import mdtraj
import numpy as np
import torch
from torch import Tensor

from ..boltzmann import logweights, targets
from ..boltzmann.targets import ExactTarget, Particles, Target, TemperedHMC, virial
from ..errors import InputError, require_above
from ..rng import Generator, step_generator
from ..study import Evaluation, require_prepared
from ..training import Model, Progress, SafetensorsDataset, Samples, load_tensors, save_tensors
from ..training.tables import write_table
from .ensembles import Ensembles
from .figures import captions, figures
from .metrics import metrics

__all__ = ["Architecture", "Comparison", "EnergyStudy"]

_TRIAL = 16  # points that a model is built on before there are data
_SHARES = {"test": 0.2, "val": 0.1}  # of the chains, or of independent draws


class Architecture(Protocol):
    """What turns a target and its training data ``(F, *event_shape)`` into an untrained model."""

    def build(self, target: Target, frames: Tensor, seed: int) -> Model: ...

    def baseline(self, target: Target, frames: Tensor, n: int, generator: Generator) -> Tensor:
        """``n`` draws of something that needs no network, for floors."""


@dataclass
class Comparison:
    """What is printed beside the metrics: numbers in print, by the metric's name."""

    published: dict[str, float] = field(default_factory=dict)


@dataclass
class EnergyStudy:
    """Learn to draw from exp(−energy/temperature) in reduced units.

    Attributes:
        target: a class of ``sciflow.boltzmann.targets``, or ``package.module.Class`` of your own.
        settings: its fields: ``study.settings.n=13``.
        frames: independent draws, of targets that can be drawn from; from all others ``reference`` draws by parallel
            tempering. Either way 70 % are for training, 10 % for validation, 20 % held out; chains stay whole.
    """

    target: str = "DoubleWell"
    settings: dict[str, Any] = field(default_factory=dict)
    frames: int = 20_000
    reference: TemperedHMC = field(default_factory=TemperedHMC)
    evaluation: Comparison = field(default_factory=Comparison)
    architecture: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_above(9, "study.", self, "frames")
        require_above(-1, "study.", self, "seed")
        require_above(2, "study.reference.", self.reference, "chains")  # for training, for validation, held out
        _ = self.energy  # what is no target is refused with the configuration

    @property
    def energy(self) -> Target:
        """The target that the configuration names. Raises InputError."""
        module, _, name = self.target.rpartition(".")
        try:
            found = getattr(importlib.import_module(module or targets.__name__), name)
        except (ImportError, AttributeError) as error:
            known = ", ".join(n for n in targets.__all__ if _is_target(getattr(targets, n)))
            raise InputError(f"study.target={self.target}: not found; use one of {known}, or module.Class") from error
        if not _is_target(found):
            raise InputError(f"study.target={self.target}: not a Target that can be drawn")
        try:
            target: Target = found(**self.settings)
        except TypeError as error:
            raise InputError(f"study.settings={self.settings}: {error}") from error
        for setting in fields(target):
            value = getattr(target, setting.name)
            if isinstance(setting.default, int | float) and not isinstance(value, int | float):
                raise InputError(f"study.settings.{setting.name}={value!r}: give a number")
        return target

    def prepare(self, raw: Path | None, out: Path) -> None:
        target = self.energy
        if self.architecture is not None:  # what training would refuse is refused before the reference is drawn
            self._chosen.build(target, target.start(_TRIAL, step_generator(self.seed)), self.seed)
        about: dict[str, Any] = {}
        if isinstance(target, ExactTarget):
            x = target.sample(self.frames, step_generator(self.seed))[:, None]
            about["draws"] = "independent"
        else:
            with Progress("reference", self.reference.sweeps) as bar:
                chains = self.reference.run(target, self.seed, _device(), bar.advance)
            x = chains.x.cpu()
            about["draws"] = "parallel tempering, split by chains"
            about["accepted"], about["swapped"] = chains.accepted.tolist(), chains.swapped.tolist()
        flat = x.flatten(0, 1)
        identity = virial(target, flat, target.dof, torch.arange(len(x)).repeat_interleave(x.shape[1]))
        about["virial, 1 for every Boltzmann law"] = {"value": identity.value, "error": identity.error}
        counts = self._split(x, out)
        meta = {"target": str(target), "units": "reduced", "frames": counts, **about}
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def _split(self, x: Tensor, out: Path) -> dict[str, int]:
        """Whole chains ``x (chains, draws, …)`` to each part, the first draws of all its chains first."""
        n, counts, start = len(x), {}, 0
        for name in ("test", "val", "train"):
            size = _share(name, n) if name in _SHARES else n - start
            part = x[start : start + size].transpose(0, 1).flatten(0, 1)
            save_tensors({"x": part.float()}, out / f"{name}.safetensors")
            counts[name], start = len(part), start + size
        return counts

    def dataset(self, data: Path, split: str) -> SafetensorsDataset:
        return SafetensorsDataset(data / f"{split}.safetensors")

    def model(self, data: Path) -> Model:
        chosen = self._chosen
        require_prepared(self, data, "target", "settings")
        return chosen.build(self.energy, _frames(data, "train"), self.seed)

    @property
    def _chosen(self) -> Architecture:
        if not hasattr(self.architecture, "baseline"):
            raise InputError("model: none chosen for an energy; say model=vector_flow or model=particle_flow")
        chosen: Architecture = self.architecture
        return chosen

    def write(self, samples: Samples, out: Path) -> None:
        """Samples as drawn and, where weights are known, resampled by them; weights.csv has a row a sample.

        Clusters: topology.pdb (one argon a particle, one unit of length a nanometre), samples.xtc, equilibrium.xtc.
        Vectors: samples.csv, equilibrium.csv.
        """
        target = self.energy
        assert isinstance(samples.x, Tensor)
        x = samples.x.double()
        energy = target.energy(x)
        save = _save_clusters if isinstance(target, Particles) else _save_vectors
        save(x, out, "samples")
        if samples.logq is None:
            write_table({"energy": energy.numpy()}, out / "weights.csv")
            return
        logw = -energy - samples.logq.double()
        write_table({"energy": energy.numpy(), "logq": samples.logq.numpy(), "logw": logw.numpy()}, out / "weights.csv")
        if logw.isfinite().any():
            save(x[logweights.effective(logw, step_generator(self.seed))], out, "equilibrium")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        require_prepared(self, data, "target", "settings")
        target, train = self.energy, _frames(data, "train")
        baseline = None
        if self.architecture is not None:
            baseline = self.architecture.baseline(target, train, len(samples.x), step_generator(self.seed, 4))
        chains = None if isinstance(target, ExactTarget) else _share("test", self.reference.chains)
        ensembles = Ensembles.of(target, samples, train, _frames(data, "test"), self.seed, baseline, chains)
        found = metrics(ensembles)
        for name, value in self.evaluation.published.items():
            if name in found:
                found[name].published = value
        drawn = figures(ensembles)
        said = captions(ensembles)
        return Evaluation(found, drawn, {name: said[name] for name in drawn})


def _is_target(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Target) and not getattr(found, "__abstractmethods__", None)


def _share(name: str, n: int) -> int:
    """How many of ``n`` chains or draws a part gets."""
    return max(1, round(_SHARES[name] * n))


def _frames(data: Path, split: str) -> Tensor:
    x = load_tensors(data / f"{split}.safetensors")["x"]
    assert isinstance(x, Tensor)
    return x


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _save_vectors(x: Tensor, out: Path, name: str) -> None:
    flat = x.flatten(1).numpy()
    write_table({f"x{k + 1}": flat[:, k] for k in range(flat.shape[1])}, out / f"{name}.csv")


def _save_clusters(x: Tensor, out: Path, name: str) -> None:
    n, d = x.shape[1:]
    topology = mdtraj.Topology()
    chain = topology.add_chain()
    for _ in range(n):
        topology.add_atom("AR", mdtraj.element.argon, topology.add_residue("AR", chain))
    xyz = np.zeros((len(x), n, 3), np.float32)
    xyz[..., :d] = x.numpy()
    trajectory = mdtraj.Trajectory(xyz, topology)
    trajectory.save_xtc(str(out / f"{name}.xtc"))
    trajectory[0].save_pdb(str(out / "topology.pdb"))
