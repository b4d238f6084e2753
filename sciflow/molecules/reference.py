"""Converged reference of a peptide's equilibrium, made by replica exchange and kept as small tables.

    python -m sciflow.molecules.reference sequence=ACE-ALA-NME --out reference --walkers 4

Independent walkers run in parallel and are kept in ``OUT/walkers``; a later call with more walkers adds to them.
"""

import argparse
import json
import os
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import mdtraj
import numpy as np
import torch

from ..errors import InputError
from ..training import Progress
from .simulation import KB, replica_exchange
from .system import FORCE_FIELD, MolecularSystem, fastest_platform, from_pdb, from_sequence

__all__ = ["Reference", "load_reference", "make_reference", "phi_psi", "shipped_reference"]

_BINS = 72


@dataclass
class Reference:
    """Equilibrium of the first φ, ψ pair: ``phi`` bin centres (degrees), free energy and error in kT, and ΔF.

    ``delta_f`` = −ln P(φ>0)/P(φ<0); ``ramachandran (72, 72)`` is the density over (φ, ψ) bins of 5°, and
    ``energy (2, K)`` the histogram of the potential energy in kT (centres, density).
    """

    phi: np.ndarray
    free_energy: np.ndarray
    error: np.ndarray
    delta_f: float
    delta_f_error: float
    ramachandran: np.ndarray
    energy: np.ndarray
    about: dict[str, object]


def load_reference(folder: Path) -> Reference:
    """Read the tables that :func:`make_reference` wrote."""
    folder = Path(folder)
    if not (folder / "reference.json").is_file():
        raise InputError(f"reference={folder}: no reference.json; make one with python -m sciflow.molecules.reference")
    about = json.loads((folder / "reference.json").read_text())
    phi, free_energy, error = np.loadtxt(folder / "phi.csv", delimiter=",", skiprows=1, unpack=True)
    ramachandran = np.zeros((_BINS, _BINS))
    rows = np.loadtxt(folder / "ramachandran.csv", delimiter=",", skiprows=1)
    edges = np.linspace(-180, 180, _BINS + 1)
    ramachandran[np.digitize(rows[:, 0], edges) - 1, np.digitize(rows[:, 1], edges) - 1] = rows[:, 2]
    energy = np.loadtxt(folder / "energy.csv", delimiter=",", skiprows=1, unpack=True)
    return Reference(phi, free_energy, error, about["delta_f"], about["delta_f_error"], ramachandran, energy, about)


def shipped_reference(sequence: str | None, forcefield: list[str], temperature: float) -> Reference | None:
    """The reference that comes with the package for this molecule, force field and temperature, if there is one."""
    for about in Path(__file__).parent.glob("references/*/reference.json"):
        made = json.loads(about.read_text())
        if (made["molecule"], made["forcefield"], made["temperature_K"]) == (
            f"sequence={sequence}",
            forcefield,
            temperature,
        ):
            return load_reference(about.parent)
    return None


def make_reference(
    molecule: MolecularSystem,
    out: Path,
    *,
    temperatures: np.ndarray,
    walkers: int,
    rounds: int,
    steps: int = 100,
    seed: int = 0,
    about: dict[str, object],
) -> Reference:
    """Run what is missing of ``walkers`` replica-exchange runs and write the tables to ``out``.

    Errors are standard errors over ten blocks of every walker, so they see correlations up to a tenth of a walker.
    """
    out = Path(out)
    store = out / "walkers"
    store.mkdir(parents=True, exist_ok=True)
    missing = [w for w in range(walkers) if not (store / f"{w}.npz").exists()]
    jobs = [(molecule, temperatures, rounds, steps, seed + w, store / f"{w}.npz") for w in missing]
    workers = min(max(1, len(missing)), len(os.sched_getaffinity(0)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        list(pool.map(_walk, jobs))
    runs = [np.load(store / f"{w}.npz") for w in range(walkers)]
    kept = [molecule.stereochemistry.kept(torch.from_numpy(run["frames"])).numpy() for run in runs]
    topology = mdtraj.Topology.from_openmm(molecule.topology)
    angles_of = [phi_psi(run["frames"][k], topology) for run, k in zip(runs, kept, strict=True)]
    blocks = [b for run in angles_of for b in np.array_split(np.degrees(run), 10)]
    angles = np.concatenate(blocks)
    energies = np.concatenate([run["energies"][k] for run, k in zip(runs, kept, strict=True)])
    edges = np.linspace(-180, 180, _BINS + 1)
    phi = (edges[1:] + edges[:-1]) / 2
    counts = np.stack([np.histogram(b[:, 0], edges)[0] / len(b) for b in blocks])
    free_energy, error = _minus_log(counts)
    positive = np.array([(b[:, 0] > 0).mean() for b in blocks])
    p, p_error = positive.mean(), positive.std(ddof=1) / np.sqrt(len(positive))
    about |= {
        "delta_f": float(np.log((1 - p) / p)) if p > 0 else float("inf"),
        "delta_f_error": float(p_error / (p * (1 - p))) if p > 0 else float("inf"),
        "p_phi_positive": float(p),
        "p_phi_positive_error": float(p_error),
        "walkers": walkers,
        "frames": len(angles),
        "temperatures_K": [round(float(t), 1) for t in temperatures],
        "md_steps": int(walkers * rounds * steps * len(temperatures)),
        "acceptance": np.mean([run["acceptance"] for run in runs], axis=0).round(3).tolist(),
        "frames_outside_stereochemistry": int(sum((~k).sum() for k in kept)),
    }
    rama = np.histogram2d(angles[:, 0], angles[:, 1], (edges, edges), density=True)[0]
    i, j = np.nonzero(rama)
    _table(
        out / "phi.csv",
        "phi_deg,free_energy_kT,error_kT",
        np.column_stack([phi, free_energy - np.nanmin(free_energy), error]),
    )
    _table(out / "ramachandran.csv", "phi_deg,psi_deg,density_per_deg2", np.column_stack([phi[i], phi[j], rama[i, j]]))
    density, energy_edges = np.histogram(energies / (KB * temperatures[0]), 80, density=True)
    _table(
        out / "energy.csv", "energy_kT,density", np.column_stack([(energy_edges[1:] + energy_edges[:-1]) / 2, density])
    )
    (out / "reference.json").write_text(json.dumps(about, indent=1) + "\n")
    return load_reference(out)


def phi_psi(x: np.ndarray, topology: mdtraj.Topology) -> np.ndarray:
    """φ and ψ ``(B, 2)`` in radians of the first residue that has both, for frames ``x (B, N, 3)``."""
    trajectory = mdtraj.Trajectory(np.asarray(x, np.float32), topology)
    phi, psi = mdtraj.compute_phi(trajectory), mdtraj.compute_psi(trajectory)
    shared = [(i, j) for i, a in enumerate(phi[0]) for j, b in enumerate(psi[0]) if (a[1:] == b[:3]).all()]
    if not shared:
        raise InputError("the molecule has no residue with both φ and ψ; cap it, e.g. sequence=ACE-ALA-NME")
    i, j = shared[0]
    return np.stack([phi[1][:, i], psi[1][:, j]], 1)


def _walk(job: tuple[MolecularSystem, np.ndarray, int, int, int, Path]) -> None:
    molecule, temperatures, rounds, steps, seed, path = job

    with Progress(f"walker {path.stem}", rounds) as bar:
        replicas = replica_exchange(molecule, temperatures, rounds, steps, seed, bar.advance)
    temporary = path.with_suffix(".part.npz")
    np.savez(temporary, **vars(replicas))
    temporary.rename(path)


def _minus_log(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, error = counts.mean(0), counts.std(0, ddof=1) / np.sqrt(len(counts))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(mean > 0, -np.log(mean), np.nan), np.where(mean > 0, error / mean, np.nan)


def _table(path: Path, header: str, rows: np.ndarray) -> None:
    np.savetxt(path, rows, fmt="%.6g", delimiter=",", header=header, comments="")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m sciflow.molecules.reference", description=__doc__)
    parser.add_argument("molecule", help="sequence=ACE-ALA-NME or pdb=FILE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--walkers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=60_000, help="exchanges per walker, 100 MD steps each")
    parser.add_argument("--temperature", type=float, default=300.0)
    parser.add_argument("--hottest", type=float, default=1000.0)
    parser.add_argument("--replicas", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    kind, _, value = args.molecule.partition("=")
    molecule = from_pdb(Path(value)) if kind == "pdb" else from_sequence(value)
    ladder = args.temperature * (args.hottest / args.temperature) ** np.linspace(0, 1, args.replicas)
    about: dict[str, object] = {
        "molecule": args.molecule,
        "forcefield": list(FORCE_FIELD),
        "temperature_K": args.temperature,
        "platform": fastest_platform(molecule.system, molecule.positions),
        "command": shlex.join(["python", "-m", "sciflow.molecules.reference", *(argv or sys.argv[1:])]),
    }
    reference = make_reference(
        molecule, args.out, temperatures=ladder, walkers=args.walkers, rounds=args.rounds, seed=args.seed, about=about
    )
    print(f"ΔF(φ>0) = {reference.delta_f:.3f} ± {reference.delta_f_error:.3f} kT; tables in {args.out}")


if __name__ == "__main__":
    main()
