"""Few steps of Euler, of a run's field and of the same field rectified.

    python docs/benchmarks/few_steps.py results/so3/data results/so3/model results/so3-rectified/model

From the same sources: distance of the ends from those of Dopri5 (tolerance 1e-6) on the same field, and energy distance
of the ends to the held-out data, beside that of the sources (floor) and of the training data (reference). Steps are
equal by the clock of the model, or chosen by ``optimal_grid``. Length over distance is that of the paths, 1 where they
are straight.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from timing import header, table
from torch import Tensor

from sciflow.errors import InputError
from sciflow.geometry.floors import energy_distance
from sciflow.pipeline import load_model, read_config
from sciflow.rng import step_generator
from sciflow.sampling import Dopri5, Euler, optimal_grid, sample
from sciflow.training import FieldModel, load_tensors

STEPS = (1, 2, 4, 50)
FINE = 100  # pieces by which the length of a path is measured
CHOOSING = 256  # sources that choose a grid


def compare(model: FieldModel, x0: Tensor, held_out: Tensor) -> tuple[float, list[tuple[Any, ...]]]:
    """Mean length over mean distance of the paths, and a row for each number of steps."""
    manifold = model.field.manifold
    exact = sample(model.field, x0, torch.tensor([0.0, 1.0]), Dopri5(1e-6, 1e-6)).x
    length, x, rows = torch.zeros(len(x0)), x0, []
    for t in torch.linspace(0, 1, FINE + 1)[:-1]:
        end = sample(model.field, x, torch.stack([t, t + 1 / FINE]), Dopri5(1e-4, 1e-4)).x
        length, x = length + manifold.dist(x, end), end
    clock = model.clock(torch.linspace(0, 1, 65))
    for steps in STEPS:
        grids = {"the model's": model.clock(torch.linspace(0, 1, steps + 1))}
        if 1 < steps < 50:
            grids["optimal"] = optimal_grid(model.field, x0[:CHOOSING], steps, clock)
        for name, grid in grids.items():
            end = sample(model.field, x0, grid, Euler()).x
            apart = manifold.dist(end, exact)
            rows.append(
                (steps, name, float(apart.mean()), float(apart.median()), energy_distance(manifold, end, held_out))
            )
    return float(length.mean() / manifold.dist(x0, exact).mean()), rows


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of prepared data, points on a manifold")
    parser.add_argument("models", type=Path, nargs="+", help="folders of trained models")
    parser.add_argument("--points", type=int, default=4000, help="sources")
    args = parser.parse_args()
    header()
    train, test = (load_tensors(args.data / f"{split}.safetensors")["x"] for split in ("train", "test"))
    for folder in args.models:
        try:
            model = load_model(read_config(folder / "config.yaml"), args.data, folder).cpu()
        except InputError as error:
            raise SystemExit(str(error)) from None
        if not isinstance(model, FieldModel):
            raise SystemExit(f"{folder}: its model has no field to integrate")
        manifold = model.field.manifold
        x0 = model.prior.sample(args.points, generator=step_generator(0), dtype=train.dtype)
        straight, rows = compare(model, x0, test)
        beside = [f"{energy_distance(manifold, x, test):.3g}" for x in (x0, train)]
        title = (
            f"{folder}: length over distance {straight:.4f}; energy distance: floor {beside[0]}, reference {beside[1]}"
        )
        table(title, ("steps", "times", "mean distance", "median", "energy distance"), rows)


if __name__ == "__main__":
    main()
