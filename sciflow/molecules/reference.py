"""Converged reference of a peptide's equilibrium, made by replica exchange and kept as small tables.

    sciflow reference study=ala2 --out reference --walkers 4

Independent walkers run in parallel and are kept in ``OUT/walkers``; a later call with more walkers adds to them.
"""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import torch

from ..errors import InputError
from ..interrupts import children_end_too
from ..training import Progress
from .equilibrium import Engine, Ladders, batched_dynamics, equilibrium
from .simulation import KB, Replicas, replica_exchange
from .system import MolecularSystem
from .torsions import backbone_residues, phi_psi

__all__ = ["BIN_EDGES", "Reference", "Tempering", "load_reference", "make_reference", "shipped_reference"]

BIN_EDGES = np.linspace(-180, 180, 73)  # degrees, for φ and for ψ
_QUANTILES = 500  # of the energy
_BLOCKS = 10  # of each walker, for the errors
_MANY = 20  # walkers: enough to take errors over them
_START = Ladders(walkers=256, hot_steps=5_000, stages=2, stage_steps=200)  # of the engine torch, at least


@dataclass
class Tempering:
    """How a reference is simulated: ``rounds`` of ``steps`` MD steps at ``replicas`` geometric temperatures."""

    rounds: int = 40_000
    steps: int = 100
    replicas: int = 7
    hottest: float = 1000.0
    seed: int = 0

    def temperatures(self, coldest: float) -> np.ndarray:
        return coldest * (self.hottest / coldest) ** np.linspace(0, 1, self.replicas)


@dataclass
class Reference:
    """Equilibrium of the R ``residues`` with φ and ψ: ``phi (72,)`` bin centres in degrees, the rest by residue.

    ``free_energy`` and ``error (R, 72)`` in kT; ``delta_f (R,)`` = −ln P(φ>0)/P(φ<0), NaN where a side was never seen;
    ``ramachandran (R, 72, 72)`` the density per degree² over :data:`BIN_EDGES`; ``energy (500,)`` quantiles of the
    potential energy in kT at the middles of 500 equal shares.
    """

    residues: list[str]
    phi: np.ndarray
    free_energy: np.ndarray
    error: np.ndarray
    delta_f: np.ndarray
    delta_f_error: np.ndarray
    ramachandran: np.ndarray
    energy: np.ndarray
    about: dict[str, Any]


def load_reference(folder: Path) -> Reference:
    """Read the tables that :func:`make_reference` wrote."""
    folder = Path(folder)
    if not (folder / "reference.json").is_file():
        raise InputError(f"reference={folder}: no reference.json; make one with `sciflow reference … --out {folder}`")
    about = json.loads((folder / "reference.json").read_text())
    residues: list[str] = about["residues"]
    shape = (len(residues), len(BIN_EDGES) - 1)
    profiles = np.loadtxt(folder / "phi.csv", delimiter=",", skiprows=1)
    phi, free_energy, error = (profiles[:, 1 + k].reshape(shape) for k in range(3))
    rows = np.loadtxt(folder / "ramachandran.csv", delimiter=",", skiprows=1, ndmin=2)
    ramachandran = np.zeros((*shape, shape[1]))
    ramachandran[rows[:, 0].astype(int), *(np.digitize(rows[:, k], BIN_EDGES) - 1 for k in (1, 2))] = rows[:, 3]
    energy = np.loadtxt(folder / "energy.csv", delimiter=",", skiprows=1)[:, 1]
    delta_f, delta_f_error = (np.array(about[key], float) for key in ("delta_f", "delta_f_error"))  # None is NaN
    return Reference(residues, phi[0], free_energy, error, delta_f, delta_f_error, ramachandran, energy, about)


def shipped_reference(molecule: str, forcefield: list[str], temperature: float) -> Reference | None:
    """The reference that comes with the package for ``sequence=…``, force field and temperature, if there is one."""
    for path in Path(__file__).parent.glob("references/*/reference.json"):
        about = json.loads(path.read_text())
        if (about["molecule"], about["forcefield"], about["temperature_K"]) == (molecule, forcefield, temperature):
            return load_reference(path.parent)
    return None


def make_reference(
    molecule: MolecularSystem,
    out: Path,
    temperature: float,
    tempering: Tempering,
    walkers: int,
    about: dict[str, Any],
    command: str,
    engine: Engine = "openmm",
) -> Reference:
    """Run what is missing of ``walkers`` replica-exchange runs and write the tables to ``out``.

    ``about`` says what was simulated, and walkers of anything else in ``out`` are refused; ``command`` is recorded.
    Errors are standard errors over the walkers if there are many, else over ten blocks of every walker, and then they
    see correlations up to a tenth of a walker. The engine ``torch`` runs all that are missing in one batch, from
    annealed starts.
    """
    store = Path(out) / "walkers"
    store.mkdir(parents=True, exist_ok=True)
    about |= {"temperature_K": temperature} | ({"engine": engine} if engine == "torch" else {})
    _same_settings(store / "settings.json", about | {"tempering": vars(tempering)})
    temperatures = tempering.temperatures(temperature)
    missing = [w for w in range(walkers) if not (store / f"{w}.npz").exists()]
    if engine == "torch" and missing:
        _walk_together(molecule, temperature, tempering, missing, store)
    else:
        jobs = [(molecule, temperatures, tempering, store / f"{w}.npz") for w in missing]
        workers = min(max(1, len(missing)), len(os.sched_getaffinity(0)))
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool, children_end_too():
            list(pool.map(_walk, jobs))
    runs = [Replicas(**np.load(store / f"{w}.npz")) for w in range(walkers)]
    about |= {
        "command": command,
        "platform": molecule.platform if engine == "openmm" else "torch",
        "walkers": walkers,
        "temperatures_K": [round(float(t), 1) for t in temperatures],
        "md_steps": walkers * tempering.rounds * tempering.steps * tempering.replicas,
        "acceptance": np.mean([run.acceptance for run in runs], axis=0, dtype=float).round(3).tolist(),
    }
    _write_tables(molecule, runs, KB * temperature, about, Path(out))
    return load_reference(out)


def _walk(job: tuple[MolecularSystem, np.ndarray, Tempering, Path]) -> None:
    molecule, temperatures, tempering, path = job
    with Progress(f"walker {path.stem}", tempering.rounds) as bar:
        seed = tempering.seed + int(path.stem)
        replicas = replica_exchange(molecule, temperatures, tempering.rounds, tempering.steps, seed, bar.advance)
    _save(replicas, path)


def _walk_together(
    molecule: MolecularSystem, temperature: float, tempering: Tempering, walkers: list[int], store: Path
) -> None:
    ladders = replace(
        _START,
        walkers=max(_START.walkers, 2 * len(walkers)),
        ladders=len(walkers),
        rungs=tempering.replicas,
        rounds=tempering.rounds,
        swap=tempering.steps,
    )
    with Progress(f"{len(walkers)} walkers", ladders.ticks) as bar:
        seed = tempering.seed + walkers[0]
        dynamics = batched_dynamics(molecule, temperature)
        ensemble = equilibrium(molecule, dynamics, temperature, tempering.hottest, ladders, seed, bar.advance)
    first = tempering.rounds // 10
    for w, frames, energies in zip(walkers, ensemble.frames, ensemble.energies, strict=True):
        energies = KB * temperature * energies[first:].double()
        _save(Replicas(frames[first:].numpy(), energies.numpy(), ensemble.acceptance.numpy()), store / f"{w}.npz")


def _save(replicas: Replicas, path: Path) -> None:
    part = path.with_suffix(".part.npz")
    np.savez(part, **vars(replicas))
    part.rename(path)


def _write_tables(molecule: MolecularSystem, runs: list[Replicas], kt: float, about: dict[str, Any], out: Path) -> None:
    topology = mdtraj.Topology.from_openmm(molecule.topology)
    kept = [molecule.stereochemistry.kept(torch.from_numpy(run.frames)).numpy() for run in runs]
    residues = backbone_residues(topology)
    frames = [np.degrees(phi_psi(run.frames[k], topology)) for run, k in zip(runs, kept, strict=True)]
    blocks = [block for run in frames for block in np.array_split(run, 1 if len(runs) >= _MANY else _BLOCKS)]
    angles = np.concatenate(blocks)
    energies = np.concatenate([run.energies[k] for run, k in zip(runs, kept, strict=True)]) / kt

    centres = (BIN_EDGES[1:] + BIN_EDGES[:-1]) / 2
    p, error = _mean_and_error(
        np.stack([[np.histogram(phi, BIN_EDGES)[0] / len(b) for phi in b[..., 0].T] for b in blocks])
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        free_energy = np.where(p > 0, -np.log(p / p.max(-1, keepdims=True)), np.nan)
        profile_error = np.where(p > 0, error / p, np.nan)
    index = np.repeat(np.arange(len(residues)), len(centres))
    profiles = (np.tile(centres, len(residues)), free_energy.ravel(), profile_error.ravel())
    _table(out / "phi.csv", "residue,phi_deg,free_energy_kT,error_kT", index, *profiles)
    bins = [BIN_EDGES, BIN_EDGES]
    density = np.stack([np.histogram2d(phi, psi, bins, density=True)[0] for phi, psi in angles.transpose(1, 2, 0)])
    r, i, j = np.nonzero(density)
    header = "residue,phi_deg,psi_deg,density_per_deg2"
    _table(out / "ramachandran.csv", header, r, centres[i], centres[j], density[r, i, j])
    levels = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    _table(out / "energy.csv", "share_below,energy_kT", levels, np.quantile(energies, levels))

    above, above_error = _mean_and_error(np.stack([(b[..., 0] > 0).mean(0) for b in blocks]))
    with np.errstate(divide="ignore", invalid="ignore"):
        delta_f, delta_f_error = np.log((1 - above) / above), above_error / (above * (1 - above))
    about |= {
        "residues": residues,
        "frames": len(angles),
        "frames_outside_stereochemistry": int(sum((~k).sum() for k in kept)),
        "p_phi_positive": above.tolist(),
        "p_phi_positive_error": above_error.tolist(),
        "delta_f": [float(v) if np.isfinite(v) else None for v in delta_f],
        "delta_f_error": [float(v) if np.isfinite(v) else None for v in delta_f_error],
    }
    (out / "reference.json").write_text(json.dumps(about, indent=1, allow_nan=False) + "\n")


def _mean_and_error(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return blocks.mean(0), blocks.std(0, ddof=1) / np.sqrt(len(blocks))


def _same_settings(path: Path, settings: dict[str, Any]) -> None:
    if path.exists() and json.loads(path.read_text()) != settings:
        raise InputError(f"{path}: these walkers were made with other settings; choose another --out, or delete them")
    path.write_text(json.dumps(settings, indent=1))


def _table(path: Path, header: str, *columns: np.ndarray) -> None:
    np.savetxt(path, np.column_stack(columns), fmt="%.6g", delimiter=",", header=header, comments="")
