"""Stochastic normalizing flows of alanine dipeptide: how well the torsions with several wells are learnt.

    sciflow prepare study=ala2 --out results/ala2/data
    python docs/benchmarks/snf_torsions.py --data results/ala2/data

Affine and spline couplings over whitened internal coordinates, alone and with Metropolis moves after each block (Wu,
Köhler, Noé 2020, arXiv:2002.06707), by the likelihood of (paths to) the same frames, for as many steps.
Every torsion is a number for affine couplings, which know no circles; φ, ψ and the turns of three methyls are angles
for splines. KL(data‖samples) of each of these five, in nats, from histograms; neither is reweighted.
"""

import argparse
from pathlib import Path
from time import process_time

import mdtraj
import numpy as np
import openmm
import torch
from openmm import app
from timing import header, table
from torch import Tensor

from sciflow.boltzmann import Metropolis, Pulled, TorchForceField
from sciflow.boltzmann.stochastic import StochasticFlow
from sciflow.flows import (
    AffineCoupling,
    Composed,
    InternalCoordinates,
    MixedBase,
    NormalizingFlow,
    Unbound,
    Whiten,
    spline_couplings,
)
from sciflow.flows.unbound import circular_torsions
from sciflow.manifolds import wrap
from sciflow.molecules.labelled_energy import LabelledEnergy
from sciflow.molecules.system import MolecularSystem
from sciflow.molecules.zmatrix import zmatrix
from sciflow.rng import step_generator
from sciflow.training import load_tensors

PUBLISHED = {"affine": "1.71, 3.95, 0.81, 0.72, 0.87", "affine + MC": "0.41, 0.20, 0.16, 0.08, 0.10"}
BLOCKS, BINS = 3, 60


class Molecule:
    """Frames, coordinates and energy of prepared data."""

    def __init__(self, data: Path) -> None:
        self.frames, self.held_out = (load_tensors(data / f"{part}.safetensors")["x"] for part in ("train", "test"))
        topology = app.PDBFile(str(data / "topology.pdb")).topology
        system = openmm.XmlSerializer.deserialize((data / "system.xml").read_text())
        positions = np.asarray(mdtraj.load_pdb(str(data / "topology.pdb")).xyz[0], np.float64)
        whole = MolecularSystem(topology, system, positions)
        self.energy = LabelledEnergy(TorchForceField.from_openmm(system, 300.0, torch.float32), whole.stereochemistry)
        self.internal = InternalCoordinates(zmatrix(topology))
        self.centre, self.turning = circular_torsions(self.torsions(self.frames))

    def torsions(self, x: Tensor) -> Tensor:
        """All of them (F, N−3)."""
        return torch.cat(
            [self.internal.call_and_ladj(part)[0][:, -self.internal.sizes[-1] :] for part in x.split(4096)]
        )

    def chart(self, angles: bool) -> tuple[Composed, Tensor]:
        """From frames to whitened numbers, and which of these are angles."""
        centre, circular = self.centre, self.turning if angles else torch.zeros_like(self.turning)
        if not angles:  # a circle is cut where it is emptiest
            counts = torch.stack([histogram(column, 90) for column in self.torsions(self.frames).T])
            emptiest = (counts.argmin(1) + 0.5) * 2 * torch.pi / 90
            centre = torch.where(self.turning, wrap(emptiest), centre)
        to_numbers = Composed(self.internal, Unbound(centre, circular, self.internal.sizes))
        is_angle = torch.cat((torch.zeros(sum(self.internal.sizes[:3]), dtype=torch.bool), circular))
        numbers = torch.cat([to_numbers(part) for part in self.frames[::10].split(4096)])
        return Composed(to_numbers, Whiten.fit(numbers, is_angle)), is_angle


def build(name: str, molecule: Molecule, steps: int, size: float) -> StochasticFlow:
    torch.manual_seed(0)
    kind, _, moves = name.partition(" + ")
    chart, is_angle = molecule.chart(angles=kind == "spline")
    if kind == "affine":
        halves = [torch.randperm(len(is_angle), generator=step_generator(0, k)) < len(is_angle) // 2 for k in range(3)]
        layers = [AffineCoupling(mask, 128, 2) for half in halves for mask in (half, ~half)]
    else:
        layers = list(spline_couplings(is_angle, 2 * BLOCKS, 96, 8).transforms)
    blocks, base = [Composed(*layers[2 * k : 2 * k + 2]) for k in range(BLOCKS)], MixedBase(is_angle)
    if not moves:
        return StochasticFlow(base, [chart, *blocks])
    inside = Pulled(NormalizingFlow(base, chart), molecule.energy)
    walk = StochasticFlow.between(base, inside, blocks, Metropolis(size), steps)
    return StochasticFlow(base, [chart, *walk.layers])


def train(flow: StochasticFlow, frames: Tensor, iterations: int, batch: int, lr: float) -> None:
    """Adam with a rate that falls to zero."""
    optimizer = torch.optim.Adam(flow.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for step in range(iterations):
        generator = step_generator(0, step)
        loss = -flow.path_log_prob(frames[torch.randint(len(frames), (batch,), generator=generator)], generator).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(flow.parameters(), 20.0)
        if norm.isfinite():
            optimizer.step()
        schedule.step()


def histogram(angles: Tensor, bins: int) -> Tensor:
    """Counts (bins,) of angles, from 0 to 2π."""
    return torch.bincount(
        (angles.remainder(2 * torch.pi) * bins / (2 * torch.pi)).long().clamp(max=bins - 1), minlength=bins
    )


def divergences(data: Tensor, samples: Tensor) -> list[float]:
    """KL of histograms, column by column; a count of one is added to each bin."""
    found = []
    for a, b in zip(data.T, samples.T, strict=True):
        p, q = ((histogram(angles, BINS) + 1.0) for angles in (a, b))
        p, q = p / p.sum(), q / q.sum()
        found.append(float((p * (p / q).log()).sum()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of a prepared peptide")
    parser.add_argument("--iterations", type=int, default=300, help="of each training")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5, help="Metropolis moves after each of three blocks")
    parser.add_argument("--size", type=float, default=0.05, help="of a move, in standard deviations of the data")
    parser.add_argument("--n", type=int, default=10_000, help="samples")
    parser.add_argument("--models", nargs="+", default=["affine", "affine + MC", "spline", "spline + MC"])
    args = parser.parse_args()
    header()
    molecule = Molecule(args.data)
    turning = molecule.turning.nonzero().flatten().tolist()
    data = molecule.torsions(molecule.frames)[:, turning]
    other = data[torch.randperm(len(data), generator=step_generator(1))[: args.n]]
    rows = [("data to data", *divergences(data, other), "", "", "")]
    for name in args.models:
        flow = build(name, molecule, args.steps, args.size)
        start = process_time()
        train(flow, molecule.frames, args.iterations, args.batch, 3e-3)
        seconds = process_time() - start
        with torch.no_grad():
            parts = [flow.sample(1000, step_generator(2, k))[0] for k in range(args.n // 1000)]
            held_out = -flow.path_log_prob(molecule.held_out[::6], step_generator(3)).median()
        found = divergences(data, molecule.torsions(torch.cat(parts))[:, turning])
        rows.append((name, *found, f"{float(held_out):.1f}", f"{seconds:.0f}", PUBLISHED.get(name, "")))
        print(rows[-1], flush=True)
    rows_of = [molecule.internal.zmatrix[3 + k].tolist() for k in turning]
    columns = ("model", *(f"torsion of atom {row[0]}" for row in rows_of), "median −log q", "CPU s", "published")
    table(f"KL of torsions [nats], N = {args.n}, {args.iterations} steps", columns, rows)


if __name__ == "__main__":
    main()
