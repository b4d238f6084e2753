"""The transformer autoregressive flow: ways to invert it, and what it makes of alanine dipeptide at equal cost.

    sciflow prepare study=ala2 --out results/ala2/data
    python docs/benchmarks/tarflow.py --data results/ala2/data

First table: flows trained for the same processor time on one thread, on the same frames. All densities are with
respect to Cartesian volume modulo rigid motions, so that −log q on held-out runs can be compared; the effective sample
size is raw, samples that leave the stereochemistry have weight zero. Held-out runs come from seeds at 1000 K, as the
training frames: −log q is not that of the equilibrium.

Second table: time to draw from the trained flow, and from one of 64 tokens with random weights (normal, of standard
deviation 0.1, on top of the initial ones). "naive" evaluates the whole network anew for every token.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import openmm
import torch
from budget import fit_for
from openmm import app
from timing import header, race, table
from torch import Tensor

from sciflow import sampling
from sciflow.boltzmann import OpenMMEnergy
from sciflow.boltzmann.distances import energy_w2
from sciflow.flows import AutoregressiveAffine
from sciflow.molecules import EquivariantFlow, SplineFlow, TarFlow
from sciflow.molecules.stereochemistry import Stereochemistry
from sciflow.rng import step_generator
from sciflow.sampling import Midpoint
from sciflow.training import FieldModel, FlowModel, Model, SafetensorsDataset, TrainerConfig

ODE_STEPS = 15


@dataclass
class Molecule:
    topology: app.Topology
    energy: OpenMMEnergy
    train: Tensor
    test: Tensor

    @classmethod
    def read(cls, data: Path) -> "Molecule":
        topology = app.PDBFile(str(data / "topology.pdb")).topology
        system = openmm.XmlSerializer.deserialize((data / "system.xml").read_text())
        train, test = (SafetensorsDataset(data / f"{split}.safetensors").tensors["x"] for split in ("train", "test"))
        test = test[torch.randperm(len(test), generator=step_generator(0))]
        return cls(topology, OpenMMEnergy(system, 300.0), train, test)


def log_prob(model: Model, x: Tensor) -> Tensor:
    """Log-density modulo rigid motions. Centred states miss N^{3/2} of volume and have 8π² of orientations."""
    if isinstance(model, FieldModel):
        grid = torch.linspace(1, 0, ODE_STEPS + 1)
        found = sampling.log_prob(model.field, x, model.prior, step=Midpoint(), grid=grid)
        return found - 1.5 * math.log(x.shape[1]) + math.log(8 * math.pi**2)
    with torch.no_grad():
        return model.log_prob(x.double())


def compare(molecule: Molecule, seconds: float, n: int, n_ode: int) -> FlowModel:
    """Print the first table; the trained TarFlow."""

    def no_energy() -> None:
        raise AssertionError("trained on data alone")

    flow = partial(TrainerConfig, clip=20.0, ema=0.995)
    candidates = {
        "tarflow": (TarFlow(), flow(batch_size=128, lr=3e-3)),
        "spline_flow (internal coordinates)": (SplineFlow(), flow(batch_size=256, lr=3e-3)),
        "equivariant_flow field=egnn": (EquivariantFlow(), TrainerConfig(batch_size=64, lr=2e-3, ema=0.99)),
    }
    kept = Stereochemistry.of(molecule.topology, molecule.train[0]).kept
    reference = molecule.energy.energy(molecule.test[:4000])
    rows, models = [], []
    for name, (architecture, trainer) in candidates.items():
        model = architecture.build(molecule.topology, molecule.train, no_energy, seed=0)
        steps = fit_for(model, molecule.train, seconds, trainer)
        ode = isinstance(model, FieldModel)
        draws = n_ode if ode else n
        settings = {"steps": ODE_STEPS, "step": "midpoint", "track_logq": True} if ode else {}
        drawn = model.sample(draws, generator=step_generator(1), **settings)
        assert drawn.logq is not None
        energy, inside = molecule.energy.energy(drawn.x.double()), kept(drawn.x)
        logw = torch.where(inside & energy.isfinite(), -energy - drawn.logq, -torch.inf)
        nll = -log_prob(model, molecule.test[: min(draws, 2000)])
        rows.append(
            (
                name,
                sum(parameter.numel() for parameter in model.parameters()),
                steps,
                f"{float(nll.mean()):.1f} ± {float(nll.std() / len(nll) ** 0.5):.1f}",
                f"{float(inside.double().mean()):.1%}",
                float(energy.median()),
                energy_w2(energy.clamp(max=1e4), reference),
                f"{float(1 / logw.softmax(0).square().sum()):.1f} of {draws}",
            )
        )
        models.append(model)
    columns = ("model", "parameters", "steps", "held-out −log q", "stereochemistry kept")
    columns += ("median energy (kT)", "energy W₂ (kT), unweighted", "raw effective samples")
    median, floor = float(reference.median()), energy_w2(reference[:2000], reference[2000:])
    rows.append(("data to data", "", "", "", "", median, floor, ""))
    table(f"Alanine dipeptide, {seconds:g} s of training each", columns, rows)
    return models[0]


def naive(blocks: list[AutoregressiveAffine], y: Tensor) -> Tensor:
    """All of the network for every token."""
    for block in reversed(blocks):
        tokens = block._lined_up(y)
        x = torch.zeros_like(tokens)
        for j in range(block.tokens):
            mean, log_scale, mix = (part[:, j] for part in block._maps(block.net(x)))
            scaled = (log_scale.exp() * tokens[:, j])[..., None]
            x[:, j] = mean + torch.linalg.solve_triangular(mix, scaled, upper=False)[..., 0]
        y = block._flat(x)
    return y


def iterated(blocks: list[AutoregressiveAffine], y: Tensor, chunk: int, tolerance: float) -> Tensor:
    for block in reversed(blocks):
        block.chunk, block.tolerance = min(chunk, block.tokens), tolerance
        y = block.inv(y)
    return y


@torch.no_grad()
def inversions(title: str, blocks: list[AutoregressiveAffine], batches: tuple[int, ...], seconds: float) -> None:
    tokens = blocks[0].tokens
    methods: dict[str, Callable[[Tensor], Tensor]] = {"naive": partial(naive, blocks)}
    methods["stored keys, token by token"] = partial(iterated, blocks, chunk=1, tolerance=0.0)
    for chunk in (4, 16, tokens):
        methods[f"Gauss–Seidel–Jacobi, chunks of {chunk}"] = partial(iterated, blocks, chunk=chunk, tolerance=1e-4)
    rows = []
    for batch in batches:
        y = torch.randn(batch, 3 * tokens, generator=step_generator(2))
        exact = naive(blocks, y)
        times = race({name: partial(method, y) for name, method in methods.items()}, seconds)
        for name, method in methods.items():
            error = float((method(y) - exact).abs().max())
            rows.append((batch, name, times[name], f"{times['naive'] / times[name]:.1f} ×", f"{error:.0e}"))
    table(title, ("batch", "inversion", "ms", "naive / it", "largest difference from naive"), rows)


def random_blocks(tokens: int) -> list[AutoregressiveAffine]:
    torch.manual_seed(0)
    blocks = [AutoregressiveAffine(tokens, 3, 48, 1, 4, reverse=n % 2 == 1) for n in range(4)]
    with torch.no_grad():
        for block in blocks:
            for parameter in block.parameters():
                parameter += 0.1 * torch.randn(parameter.shape)
    return blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that `sciflow prepare study=ala2` made")
    parser.add_argument("--seconds", type=float, default=150.0, help="of training, for each model")
    parser.add_argument("--n", type=int, default=20_000, help="samples of a normalizing flow")
    parser.add_argument("--n-ode", type=int, default=100, help="samples of the flow of a field")
    args = parser.parse_args()
    header("openmm")
    torch.set_num_threads(1)
    model = compare(Molecule.read(args.data), args.seconds, args.n, args.n_ode)
    blocks = [block for block in model.flow.transform.transforms if isinstance(block, AutoregressiveAffine)]
    inversions(f"Trained on alanine dipeptide, {blocks[0].tokens} tokens, 4 blocks", blocks, (16, 256), 4.0)
    inversions("Random weights, 64 tokens, 4 blocks", random_blocks(64), (16, 64), 4.0)


if __name__ == "__main__":
    main()
