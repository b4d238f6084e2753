"""The force field in torch: does it agree with OpenMM, how fast is it, and do its dynamics find the same ensemble?

    python docs/benchmarks/forcefield.py             agreement and speed
    python docs/benchmarks/forcefield.py --dynamics  populations of alanine dipeptide, beside the shipped reference
    python docs/benchmarks/forcefield.py --device cuda

Agreement: six peptides, 100 frames each of dynamics at 600 K, against OpenMM's Reference platform in float64. Speed:
evaluations of energy and force a second, beside a loop over frames with the Reference platform, on one core.
"""

import argparse
from collections.abc import Callable
from time import perf_counter, process_time
from typing import Any

import mdtraj
import numpy as np
import torch
from timing import header, race, table
from torch import Tensor

from sciflow.boltzmann import LangevinMiddle, OpenMMEnergy, TorchForceField
from sciflow.molecules import MolecularSystem, from_sequence
from sciflow.molecules.equilibrium import Ladders, batched_dynamics, equilibrium
from sciflow.molecules.reference import shipped_reference
from sciflow.molecules.system import FORCE_FIELD
from sciflow.molecules.torsions import phi_psi
from sciflow.rng import step_generator

PEPTIDES = (
    ("ACE-ALA-NME", FORCE_FIELD),
    ("ACE-ALA-NME", ("amber96.xml", "implicit/obc1.xml")),
    ("ACE-ALA-NME", ("amber14/protein.ff14SB.xml", "implicit/obc2.xml")),
    ("ACE-ALA-GLY-NME", ("amber19/protein.ff19SB.xml", "implicit/obc1.xml")),
    ("ACE-TRP-ARG-PRO-ASP-NME", ("amber14/protein.ff14SB.xml", "implicit/obc1.xml")),
    ("ACE-ALA-ALA-ALA-ALA-NME", FORCE_FIELD),
)
FRAMES = 100
BATCHES = {"cpu": (32, 256, 4096), "cuda": (8192, 32_768, 131_072)}


def hot_frames(molecule: MolecularSystem, n: int, device: str = "cpu") -> Tensor:
    """Frames ``(n, N, 3)`` of independent walkers after 1 ps at 600 K."""
    field = TorchForceField.from_openmm(molecule.system, 600.0, torch.float32).to(device)
    dynamics, generator = LangevinMiddle(field, field.reduced_masses), step_generator(0, device=device)
    x = torch.as_tensor(molecule.positions, dtype=torch.float32, device=device).expand(n, -1, -1)
    return dynamics.run(dynamics.start(x, 1.0, generator), 1000, 1.0, generator).x


def agreement() -> None:
    rows = []
    for sequence, forcefield in PEPTIDES:
        molecule = from_sequence(sequence, forcefield)
        x = hot_frames(molecule, FRAMES).double()
        reference = OpenMMEnergy(molecule.system, 300.0)
        energy, force = reference.energy_and_force(x)
        row: list[Any] = [sequence, " + ".join(forcefield), molecule.n_atoms]
        for dtype in (torch.float64, torch.float32):
            field = TorchForceField.from_openmm(molecule.system, 300.0, dtype)
            e, f = field.energy_and_force(x)
            largest = (f - force).norm(dim=-1).amax(1) / force.norm(dim=-1).amax(1)
            row += [f"{float((e - energy).abs().max()) * field.kt:.1e}", f"{float(largest.max()):.1e}"]
        rows.append(row)
    columns = ("molecule", "force field", "atoms", "float64: kJ/mol", "force", "float32: kJ/mol", "force")
    table(
        f"Largest difference from OpenMM over {FRAMES} frames; of a force, relative to the largest one", columns, rows
    )


def speed(device: str) -> None:
    rows = []
    for sequence, forcefield in (PEPTIDES[0], PEPTIDES[1], PEPTIDES[5]):
        molecule = from_sequence(sequence, forcefield)
        few = hot_frames(molecule, FRAMES, device)
        x = few.repeat(1 + max(BATCHES[device]) // FRAMES, 1, 1)
        runners: dict[str, tuple[int, Callable[[], Any]]] = {}
        if device == "cpu":
            some = FRAMES if forcefield is FORCE_FIELD else 10
            loop = OpenMMEnergy(molecule.system, 300.0)
            frames = x[:some].double()
            runners["OpenMM Reference, loop, float64"] = some, lambda loop=loop, f=frames: loop.energy_and_force(f)
        for dtype in (torch.float64, torch.float32):
            for compiled in (False, True) if device == "cuda" else (False,):
                field = TorchForceField.from_openmm(molecule.system, 300.0, dtype).to(device)
                if compiled:
                    field.compile()
                for b in BATCHES[device]:
                    name = f"torch{' compiled' if compiled else ''}, {str(dtype).removeprefix('torch.')}, batch {b}"
                    part = x[:b].to(dtype)
                    runners[name] = b, lambda field=field, part=part: field.energy_and_force(part)
        times = race({name: run for name, (_, run) in runners.items()}, 8.0, device)
        rows += [(sequence, forcefield[-1], name, 1e3 * runners[name][0] / time) for name, time in times.items()]
    table("Energies and forces a second", ("molecule", "solvent", "how", "1/s"), rows)


def dynamics(ladders: Ladders, seed: int) -> None:
    molecule = from_sequence("ACE-ALA-NME")
    start, cpu = perf_counter(), process_time()
    ensemble = equilibrium(molecule, batched_dynamics(molecule, 300.0), 300.0, 1000.0, ladders, seed)
    print(
        f"\n{ladders}\n\n{ladders.md_steps:,} steps of a replica in {perf_counter() - start:.0f} s "
        f"({process_time() - cpu:.0f} s of this process); acceptance of exchanges "
        f"{ensemble.acceptance.min():.2f}–{ensemble.acceptance.max():.2f}, "
        f"effective shares in the annealing {min(ensemble.shares):.2f}–{max(ensemble.shares):.2f}"
    )
    frames, energies = ensemble.frames[:, ladders.rounds // 4 :], ensemble.energies[:, ladders.rounds // 4 :]
    kept = molecule.stereochemistry.kept(frames.flatten(0, 1)).reshape(frames.shape[:2]).numpy()
    angles = phi_psi(frames.flatten(0, 1).numpy(), mdtraj.Topology.from_openmm(molecule.topology))
    phi, psi = np.degrees(angles.reshape(*kept.shape, 2)).transpose(2, 0, 1)
    reference = shipped_reference("sequence=ACE-ALA-NME", list(FORCE_FIELD), 300.0)
    assert reference is not None
    density = reference.ramachandran[0] / reference.ramachandran[0].sum()
    centre_phi, centre_psi = np.meshgrid(reference.phi, reference.phi, indexing="ij")
    basins: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "φ > 0": lambda a, _: a > 0,
        "α: φ ≤ 0 and −120° < ψ < 60°": lambda a, b: (a <= 0) & (b > -120) & (b < 60),
        "β: the rest of φ ≤ 0": lambda a, b: (a <= 0) & ~((b > -120) & (b < 60)),
    }
    rows: list[tuple[Any, ...]] = []
    for name, basin in basins.items():
        share = (basin(phi, psi) & kept).sum(1) / kept.sum(1)
        error = share.std(ddof=1) / len(share) ** 0.5
        theirs = float(density[basin(centre_phi, centre_psi)].sum())
        rows.append((name, f"{share.mean():.4f} ± {error:.4f}", f"{theirs:.4f}"))
    mean = np.where(kept, energies.numpy(), np.nan)
    mean = np.nanmean(mean, 1)
    rows.append(
        (
            "mean energy, kT",
            f"{mean.mean():.3f} ± {mean.std(ddof=1) / len(mean) ** 0.5:.3f}",
            f"{reference.energy.mean():.3f}",
        )
    )
    columns = ("share of", f"torch, {ladders.ladders} ladders", "replica exchange with OpenMM (shipped)")
    table("Alanine dipeptide in amber99sbildn + OBC at 300 K", columns, rows)
    print(
        f"\nThe shipped P(φ > 0) is {reference.about['p_phi_positive'][0]:.4f} ± "
        f"{reference.about['p_phi_positive_error'][0]:.4f}."
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the speeds")
    parser.add_argument("--dynamics", action="store_true", help="populations instead of energies")
    parser.add_argument("--walkers", type=int, default=512, help="of the hot run; default: 512")
    parser.add_argument("--ladders", type=int, default=64, help="default: 64")
    parser.add_argument("--rounds", type=int, default=400, help="of 100 steps; default: 400")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    header("openmm")
    if arguments.dynamics:
        settings = Ladders(walkers=arguments.walkers, ladders=arguments.ladders, rounds=arguments.rounds)
        dynamics(settings, arguments.seed)
    else:
        agreement()
        speed(arguments.device)
