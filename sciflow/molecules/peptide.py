"""Boltzmann generators of peptides: a flow trained on biased dynamics and reweighted to the exact equilibrium."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import mdtraj
import numpy as np
import openmm
import torch
from openmm import app
from torch import Tensor

from ..boltzmann import Energy, TorchForceField, WeightedSamples, logweights
from ..errors import InputError, require_above
from ..study import Evaluation, prepared_with, require_prepared
from ..training import Model, SafetensorsDataset, Samples, save_tensors
from .ensembles import Ensembles
from .equilibrium import chosen_engine
from .labelled_energy import LabelledEnergy
from .peptide_figures import captions, figures
from .peptide_metrics import metrics
from .reference import Reference, Tempering, load_reference, make_reference, shipped_reference
from .system import FORCE_FIELD, MolecularSystem, from_pdb, from_sequence, read_sequence
from .torsions import backbone_residues, phi_psi
from .training_runs import Simulation, part_of, training_runs
from .zmatrix import zmatrix

__all__ = ["Architecture", "Comparison", "PeptideStudy"]

WRITTEN = 100_000  # samples that are written for other programs


class Architecture(Protocol):
    """What turns a molecule and its training frames ``(F, N, 3)`` into an untrained model.

    ``energy()`` is its target, for a model that is trained by it.
    """

    def build(self, topology: app.Topology, frames: Tensor, energy: Callable[[], Energy], seed: int) -> Model: ...


@dataclass
class Comparison:
    """What the samples are shown beside."""

    reference: Path | None = None  # folder made by `sciflow reference`; by default the shipped one that fits


@dataclass
class PeptideStudy:
    """A peptide in implicit solvent: ``sequence=ACE-ALA-NME``, or ``pdb=my.pdb``.

    The target is the Boltzmann distribution of the molecule with its labelled stereochemistry and trans peptide bonds;
    what leaves it has weight zero and is counted.
    """

    sequence: str | None = None
    pdb: Path | None = None
    forcefield: list[str] = field(default_factory=lambda: list(FORCE_FIELD))
    temperature: float = 300.0  # kelvin
    simulation: Simulation = field(default_factory=Simulation)
    evaluation: Comparison = field(default_factory=Comparison)
    architecture: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_above(0, "", self, "temperature")
        require_above(-1, "", self, "seed")
        if self.sequence is not None:
            read_sequence(self.sequence)

    def prepare(self, raw: Path | None, out: Path) -> None:
        """Simulate and split by runs: train, val and test frames ``x (F, N, 3)`` in nm, topology.pdb, system.xml."""
        molecule = self.molecule
        zmatrix(molecule.topology)  # what later stages would refuse is refused before the simulation
        phi_psi(molecule.positions[None], mdtraj.Topology.from_openmm(molecule.topology))
        runs = training_runs(molecule, self.temperature, self.simulation, self.seed)
        frames = runs.frames
        part = part_of(len(frames))
        parts = {"test": frames[part == 0], "val": frames[part == 1], "train": frames[part > 1]}
        counts, dropped = {}, 0
        for split, runs_of_it in parts.items():
            x = runs_of_it.flatten(0, 1)
            kept = molecule.stereochemistry.kept(x)
            dropped += int((~kept).sum())
            counts[split] = int(kept.sum())
            save_tensors({"x": x[kept] - x[kept].mean(1, keepdim=True)}, out / f"{split}.safetensors")
        molecule.write_pdb(out / "topology.pdb")
        (out / "system.xml").write_text(openmm.XmlSerializer.serialize(molecule.system))
        meta = {
            "units": {"x": "nm"},
            "frames": counts,
            "split": "by simulation run",
            "dropped": {"stereochemistry or cis peptide bond": dropped},
            "energy": type(molecule.energy(self.temperature)).__name__,
        }
        meta |= runs.about
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def dataset(self, data: Path, split: str) -> SafetensorsDataset:
        return SafetensorsDataset(data / f"{split}.safetensors")

    def model(self, data: Path) -> Model:
        if self.architecture is None:
            raise InputError("model: none chosen; say model=spline_flow or model=equivariant_flow")
        molecule = self._prepared(data)

        def energy() -> LabelledEnergy:
            force_field = TorchForceField.from_openmm(molecule.system, self.temperature, torch.float32)
            return LabelledEnergy(force_field, molecule.stereochemistry)

        return self.architecture.build(molecule.topology, self.dataset(data, "train").tensors["x"], energy, self.seed)

    def write(self, samples: Samples, out: Path) -> None:
        """topology.pdb, samples.xtc (as drawn), equilibrium.xtc (resampled by weight), weights.csv (a row a sample).

        Of more than ``WRITTEN`` samples samples.xtc and weights.csv have the first ones.
        """
        molecule = self.molecule
        topology = mdtraj.Topology.from_openmm(molecule.topology)
        energy = self.energy(samples, molecule)
        weighted = self.weigh(samples, energy, molecule)
        molecule.write_pdb(out / "topology.pdb")
        _trajectory(weighted.x[:WRITTEN], topology).save_xtc(str(out / "samples.xtc"))
        generator = torch.Generator().manual_seed(self.seed)
        resampled = logweights.effective(weighted.logw, generator)
        _trajectory(weighted.x[resampled], topology).save_xtc(str(out / "equilibrium.xtc"))
        angles = np.degrees(phi_psi(weighted.x[:WRITTEN].numpy(), topology))
        numbers = (column[:WRITTEN] for column in (energy, weighted.logq, weighted.logw))
        rows = np.column_stack([*numbers, angles.reshape(len(angles), -1)])
        columns = [f"{angle}_{residue}_deg" for residue in backbone_residues(topology) for angle in ("phi", "psi")]
        header = ",".join(["energy_kT", "logq", "logw", *columns])
        np.savetxt(out / "weights.csv", rows, fmt="%.6f", delimiter=",", header=header, comments="")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        molecule = self._prepared(data)
        frames = torch.cat([self.dataset(data, split).tensors["x"] for split in ("train", "val", "test")])
        trajectory = mdtraj.Topology.from_openmm(molecule.topology)
        energy = self.energy(samples, molecule)
        weighted = self.weigh(samples, energy, molecule)
        thin = frames[:: max(1, len(frames) // 5000)]
        ensembles = Ensembles(
            residues=backbone_residues(trajectory),
            data=phi_psi(frames.numpy(), trajectory),
            samples=phi_psi(weighted.x.numpy(), trajectory),
            energy=energy.numpy(),
            data_energy=molecule.energies(thin, self.temperature).numpy(),
            weighted=weighted,
            biased=_biased(data),
            test_logw=self._test_logw(samples, molecule, data),
            reference=self._reference(),
            topology=trajectory,
        )
        return Evaluation(metrics(ensembles, self.seed), figures(ensembles, self.seed), captions(ensembles))

    def make_reference(self, out: Path, walkers: int, rounds: int, engine: str = "openmm") -> str:
        """Simulate the equilibrium by replica exchange and write its tables to ``out``; returns what was found."""
        chosen = chosen_engine(engine, self.molecule.system, "--engine")
        about = {"molecule": self._name, "forcefield": list(self.forcefield)}
        settings = [self._name, f"forcefield=[{','.join(self.forcefield)}]", f"temperature={self.temperature:g}"]
        flags = ["--walkers", str(walkers), "--rounds", str(rounds), "--engine", chosen, "--out", str(out)]
        command = shlex.join(["sciflow", "reference", "study=peptide", *settings, f"seed={self.seed}", *flags])
        tempering = Tempering(rounds=rounds, seed=self.seed)
        reference = make_reference(self.molecule, out, self.temperature, tempering, walkers, about, command, chosen)
        rows = zip(reference.residues, reference.delta_f, reference.delta_f_error, strict=True)
        found = [
            f"ΔF(φ>0) of {residue} = {value:.3f} ± {error:.3f} kT"
            if np.isfinite(value)
            else f"{residue}: φ>0 or φ<0 was never seen, take more --rounds"
            for residue, value, error in rows
        ]
        return "; ".join([*found, f"tables in {out}"])

    @property
    def _name(self) -> str:
        return f"sequence={self.sequence}" if self.pdb is None else f"pdb={self.pdb}"

    @cached_property
    def molecule(self) -> MolecularSystem:
        """The molecule that the configuration names."""
        if self.pdb is not None:
            return from_pdb(self.pdb, tuple(self.forcefield))
        if self.sequence is None:
            raise InputError("sequence: neither sequence nor pdb is given; say sequence=ACE-ALA-NME or pdb=FILE")
        return from_sequence(self.sequence, tuple(self.forcefield))

    def _prepared(self, data: Path) -> MolecularSystem:
        """The molecule that the data are of. Raises InputError where the settings name another one or its other law."""
        topology = app.PDBFile(str(data / "topology.pdb")).topology
        made = prepared_with(data)
        named = replace(self, **{name: made[name] for name in ("sequence", "pdb") if name in made})
        if named._name != self._name and _atoms(self.molecule.topology) != _atoms(topology):
            raise InputError(f"study.{self._name}: {data} is of {named._name}; say the same, or prepare other data")
        require_prepared(self, data, "forcefield", "temperature")
        system = openmm.XmlSerializer.deserialize((data / "system.xml").read_text())
        positions = mdtraj.load_pdb(str(data / "topology.pdb")).xyz[0]
        return MolecularSystem(topology, system, np.asarray(positions, np.float64))

    def energy(self, samples: Samples, molecule: MolecularSystem) -> Tensor:
        """Potential energy ``(B,)`` of samples ``x (B, N, 3)`` in kT, float64."""
        assert isinstance(samples.x, Tensor)
        return molecule.energies(samples.x, self.temperature)

    def weigh(self, samples: Samples, energy: Tensor, molecule: MolecularSystem) -> WeightedSamples:
        """Importance weights towards the Boltzmann distribution of ``molecule``, given the samples' energies."""
        if samples.logq is None:
            raise InputError("sampler.track_logq=false: reweighting needs log-densities; set it to true")
        assert isinstance(samples.x, Tensor)
        x, logq = samples.x.double(), samples.logq.double()
        inside = molecule.stereochemistry.kept(x) & energy.isfinite()
        if not inside.any():
            raise InputError(
                f"none of the {len(x)} samples has the molecule's stereochemistry and a finite energy: "
                "train longer (trainer.steps) or draw more samples (sampler.n)"
            )
        return WeightedSamples(x, logq, torch.where(inside, -energy - logq, -torch.inf))

    def _test_logw(self, samples: Samples, molecule: MolecularSystem, data: Path) -> Tensor | None:
        """Log-weights of the held-out frames; None without their likelihood, or where the frames are biased."""
        if samples.test_logp is None or _biased(data):
            return None
        x = self.dataset(data, "test").tensors["x"]
        return -molecule.energies(x, self.temperature) - samples.test_logp.double()

    def _reference(self) -> Reference | None:
        if self.evaluation.reference is not None:
            return load_reference(self.evaluation.reference)
        return shipped_reference(self._name, self.forcefield, self.temperature)


def _trajectory(x: Tensor, topology: mdtraj.Topology) -> mdtraj.Trajectory:
    return mdtraj.Trajectory(x.float().numpy(), topology)


def _biased(data: Path) -> bool:
    """Whether the training runs started from hot frames, and not from an equilibrium."""
    return json.loads((data / "meta.json").read_text()).get("starts") != "tempering"


def _atoms(topology: app.Topology) -> list[tuple[str, str]]:
    return [(atom.residue.name, atom.name) for atom in topology.atoms()]
