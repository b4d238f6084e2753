"""What an effective sample costs as the molecule grows: seconds and target evaluations, from finished runs.

    python docs/benchmarks/scaling.py results/ala2 results/tripeptide results/ala_tetra results/ala_hexa

Take runs of one force field; one on another run's data is named with them: results/ala2-1:results/ala2/data. Raw ESS
and N are those of metrics.json. A sample costs a draw of the flow with its log-density, timed in batches, and its
energy in float64, on the very samples of the run: of a batch in torch, and frame by frame by OpenMM's Reference
platform. Target evaluations are all that the run has asked for: steps of molecular dynamics, energies in training,
one a sample. Without a GPU times are those of one thread of this process; with one they are by the clock, and torch's
energy is compiled.
"""

import argparse
import csv
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import openmm
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from timing import header, race, table

from sciflow.boltzmann import OpenMMEnergy, TorchForceField
from sciflow.errors import InputError
from sciflow.molecules import PeptideStudy
from sciflow.pipeline import load_model, load_samples, read_config
from sciflow.rng import step_generator

FEW = 30  # effective samples, below which their number is no estimate
FRAMES = 100  # evaluated one by one
COLOURS = {"torch": "#0072B2", "OpenMM, frame by frame": "#D55E00"}


@dataclass
class Cost:
    """Of one run: times in ms a sample, target evaluations by what they were spent on."""

    run: Path
    molecule: str
    atoms: int
    ess: float
    n: int
    flow: float
    torch: float
    openmm: float
    md_steps: int
    training: int

    @property
    def effective(self) -> float:
        return self.ess * self.n

    def per_second(self, energy: float) -> float:
        """Effective samples a second, with ``energy`` ms a sample."""
        return 1e3 * self.ess / (self.flow + energy)

    @property
    def per_million(self) -> float:
        """Effective samples per million target evaluations, of simulation, training and samples together."""
        return 1e6 * self.effective / (self.md_steps + self.training + self.n)


def cost(run: Path, data: Path, batch: int, seconds: float) -> Cost:
    """Raises InputError for a folder that is no finished run of a peptide."""
    needed = [run / "metrics.json", run / "model/history.csv", data / "meta.json", data / "system.xml"]
    missing = [str(path) for path in needed if not path.is_file()]
    if missing:
        raise InputError(f"{run}: no {missing[0]}; name finished runs of peptides, as RUN or RUN:DATA")
    meta, metrics = (json.loads(path.read_text()) for path in (needed[2], needed[0]))
    ess = metrics["metrics"]["ess"]
    with needed[1].open() as file:
        last = list(csv.DictReader(file))[-1]
    config = read_config(run / "model/config.yaml")
    study, system = config.study, openmm.XmlSerializer.deserialize(needed[3].read_text())
    if not isinstance(study, PeptideStudy):
        raise InputError(f"{run}: {type(study).__name__} is no study of a peptide")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(config, data, run / "model")
    x = load_samples(run / "samples").x
    assert isinstance(x, torch.Tensor)
    x = x[: min(batch, len(x))].double().to(device)
    field = TorchForceField.from_openmm(system, study.temperature).to(device)
    if device == "cuda":
        field.compile()
    one_by_one, few, noise = OpenMMEnergy(system, study.temperature), x[:FRAMES].cpu(), step_generator(0, device=device)
    with torch.no_grad():
        times = race(
            {
                "flow": lambda: model.sample(len(x), generator=noise),
                "torch": lambda: field.energy(x),
                "openmm": lambda: one_by_one.energy(few),
            },
            seconds,
            device,
        )
    return Cost(
        run,
        f"{study.sequence or study.pdb}, {Path(study.forcefield[0]).stem}",
        system.getNumParticles(),
        ess["value"],
        ess["n"],
        times["flow"] / len(x),
        times["torch"] / len(x),
        times["openmm"] / len(few),
        md_steps(meta),
        int(last["evaluations"]),
    )


def md_steps(meta: dict[str, Any]) -> int:
    """Force evaluations of the training data; those of minimisations are not counted."""
    if "md_steps" in meta:
        return int(meta["md_steps"])
    simulation, seeds = meta["config"]["simulation"], meta["seeds"]
    hot = simulation["hot_spacing"] * (1 + seeds["hot frames"])
    return int(hot + seeds["kept"] * (simulation["equilibration"] + simulation["steps"]))


def draw(costs: list[Cost], path: Path) -> None:
    """Both costs against size: a point a run, a line through the means of a size."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True, layout="constrained")
    for name, of in (("torch", lambda c: c.torch), ("OpenMM, frame by frame", lambda c: c.openmm)):
        line(left, {c.run: (c.atoms, c.per_second(of(c))) for c in costs}, COLOURS[name], f"energy by {name}")
    line(right, {c.run: (c.atoms, c.per_million) for c in costs}, COLOURS["torch"], "")
    left.set(xlabel="atoms", ylabel="effective samples per second", yscale="log")
    right.set(xlabel="atoms", ylabel="effective samples per million\ntarget evaluations", yscale="log")
    left.legend(frameon=False)
    figure.savefig(path, dpi=150)


def line(axis: Axes, points: dict[Path, tuple[int, float]], colour: str, label: str) -> None:
    by_size = defaultdict(list)
    for atoms, value in points.values():
        by_size[atoms].append(value)
    axis.plot(*zip(*points.values(), strict=True), "o", color=colour)
    axis.plot(sorted(by_size), [mean(by_size[atoms]) for atoms in sorted(by_size)], color=colour, label=label)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="folders of finished runs: RUN, or RUN:DATA")
    parser.add_argument("--batch", type=int, default=1000, help="samples at once; a GPU wants 16384; default: 1000")
    parser.add_argument("--seconds", type=float, default=20.0, help="of timing, a run; default: 20")
    parser.add_argument("--out", type=Path, default=Path("docs/images/scaling.png"), help="the figure")
    args = parser.parse_args()
    header("openmm")
    costs = []
    for run, _, data in (name.partition(":") for name in args.runs):
        try:
            costs.append(cost(Path(run), Path(data or f"{run}/data"), args.batch, args.seconds))
        except InputError as error:
            raise SystemExit(str(error)) from None
    costs.sort(key=lambda c: c.atoms)
    rows = [
        (
            c.run,
            c.molecule,
            c.atoms,
            f"{100 * c.ess:.3g} % of {c.n}",
            *(c.flow, c.torch, c.openmm),
            *(c.per_second(c.torch), c.per_second(c.openmm)),
            *(f"{c.md_steps:.2e}", f"{c.training:.2e}", c.per_million),
        )
        for c in costs
    ]
    per_sample = ("raw ESS, of N", "flow (ms)", "energy, torch (ms)", "energy, OpenMM (ms)")
    per_effective = ("effective samples/s, torch", "effective samples/s, OpenMM")
    evaluations = ("MD steps", "energies in training", "effective samples per 10⁶ evaluations")
    columns = ("run", "molecule", "atoms", *per_sample, *per_effective, *evaluations)
    table("Cost of an effective sample", columns, rows)
    for c in costs:
        if c.effective < FEW:
            print(f"\n{c.run}: {c.effective:.0f} effective samples of {c.n}: its ESS is no estimate")
    draw(costs, args.out)
    print(f"\n{args.out}")


if __name__ == "__main__":
    main()
