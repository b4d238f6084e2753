"""Equivariant fields at equal cost: EGNN, PaiNN and e3nn's tensor products, by flow matching.

    python docs/benchmarks/fields.py
    python docs/benchmarks/fields.py --data results/ala2/data --seconds 100

Thirteen Lennard-Jones particles, drawn here by Hamiltonian Monte Carlo; with ``--data``, the frames of a peptide that
`sciflow prepare` made. Every field is trained for the same processor time on one thread, on the same data in the same
order, with aligned optimal transport, and as many steps as that time allows. Samples and densities by ``--steps`` steps
of the midpoint rule, with exact divergence.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from budget import fit_for
from timing import header, race, table
from torch import Tensor

from sciflow import sampling
from sciflow.boltzmann import HMC
from sciflow.boltzmann.distances import energy_w2
from sciflow.boltzmann.targets import LennardJones
from sciflow.manifolds import Euclidean, Normal
from sciflow.nets import EGNNField, PaiNNField, PointCloudField, TensorProductField
from sciflow.objectives import FlowMatching
from sciflow.paths import Alignment, GeodesicPath, OptimalTransport
from sciflow.rng import step_generator
from sciflow.sampling import Midpoint, divergence
from sciflow.training import FieldModel, SafetensorsDataset, TrainerConfig

BATCH = 64
FIELDS: dict[str, Callable[[list[int]], PointCloudField]] = {
    "EGNN": lambda types: EGNNField(types, width=32, depth=3),
    "PaiNN": lambda types: PaiNNField(types, width=32, depth=3),
    "e3nn, ℓ ≤ 2": lambda types: TensorProductField(types, width=16, depth=2, degree=2),
}


def lennard_jones(chains: int = 256, kept: int = 80) -> tuple[Tensor, Callable[[Tensor], Tensor], list[int]]:
    """Frames ``(chains·kept, 13, 3)``, the last tenth of them from other chains; their energy; types."""
    target, kernel, generator = LennardJones(), HMC(0.015, centred=True, leapfrogs=10), step_generator(0)
    x, frames = target.start(chains, generator), []
    for step in range(100 + 5 * kept):
        x = kernel.step(x, target, generator).x
        if step >= 100 and step % 5 == 0:
            frames.append(x.float())
    return torch.stack(frames, 1).flatten(0, 1), target.energy, [0] * 13


def peptide(data: Path) -> tuple[Tensor, Callable[[Tensor], Tensor], list[int]]:
    """Training frames, then test frames; their energy in kT at 300 K; every atom is of its own type."""
    import openmm

    from sciflow.boltzmann import OpenMMEnergy

    train, test = (SafetensorsDataset(data / f"{split}.safetensors").tensors["x"] for split in ("train", "test"))
    energy = OpenMMEnergy(openmm.XmlSerializer.deserialize((data / "system.xml").read_text()), 300.0)
    return torch.cat([train, test]), energy.energy, list(range(train.shape[1]))


def model_of(field: PointCloudField, x: Tensor) -> FieldModel:
    manifold = Euclidean(3, centered=True)
    return FieldModel(
        field=field,
        path=GeodesicPath(manifold),
        coupling=OptimalTransport(cost=Alignment()),
        objective=FlowMatching(),
        prior=Normal(3, scale=float(x.std()), centered=True),
        event_shape=(x.shape[1],),
    )


def compare(
    title: str, x: Tensor, energy: Callable[[Tensor], Tensor], types: list[int], args: argparse.Namespace
) -> None:
    split = len(x) - len(x) // 10
    x, test = x[:split], x[split:][torch.randperm(len(x) - split, generator=step_generator(1))]
    rows = []
    for name, build in FIELDS.items():
        torch.manual_seed(0)
        model = model_of(build(types), x)
        field = model.field
        t = torch.rand(BATCH, generator=step_generator(2))
        costs = race(
            {
                "velocity": lambda field=field, t=t: field.velocity(x[:BATCH], t).detach(),
                "divergence": lambda field=field, t=t: divergence(field.velocity, field.manifold, x[:8], t[:8]),
            },
            1.0,
        )
        steps = fit_for(model, x, args.seconds, TrainerConfig(batch_size=BATCH, lr=2e-3, ema=0.99))
        grid = torch.linspace(1, 0, args.steps + 1)
        nll = -sampling.log_prob(field, test[: args.n // 2], model.prior, step=Midpoint(), grid=grid)
        drawn = model.sample(args.n, generator=step_generator(3), steps=args.steps, step="midpoint", track_logq=True)
        assert isinstance(drawn.x, Tensor)
        assert drawn.logq is not None
        found = energy(drawn.x.double())
        weights = (-found - drawn.logq).softmax(0)
        ess = float(1 / weights.square().sum() / len(weights))
        reference = energy(test[:4000].double())
        floor = energy_w2(reference[::2], reference[1::2])
        rows.append(
            (
                name,
                sum(parameter.numel() for parameter in field.parameters()),
                costs["velocity"] / BATCH,
                costs["divergence"] / 8,
                steps,
                f"{float(nll.mean()):.1f} ± {float(nll.std() / len(nll) ** 0.5):.1f}",
                f"{ess:.1%}",
                energy_w2(found.clamp(max=1e4), reference),
                floor,
            )
        )
    columns = (
        "field",
        "parameters",
        "velocity (ms a sample)",
        "exact divergence (ms a sample)",
        f"steps in {args.seconds:g} s",
        "held-out −log q",
        f"raw ESS, N = {args.n}",
        "energy W₂ (kT), unweighted",
        "data to data",
    )
    table(title, columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, for each field")
    parser.add_argument("--data", type=Path, help="folder of a prepared peptide, instead of the particles")
    parser.add_argument("--n", type=int, default=400, help="samples")
    parser.add_argument("--steps", type=int, default=15, help="of the integration")
    args = parser.parse_args()
    header("e3nn")
    x, energy, types = lennard_jones() if args.data is None else peptide(args.data)
    compare("LJ13" if args.data is None else str(args.data), x, energy, types, args)


if __name__ == "__main__":
    main()
