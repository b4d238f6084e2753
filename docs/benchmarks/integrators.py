"""How many steps the field of a finished run takes.

    python docs/benchmarks/integrators.py results/earthquake-0

From the same starting points: distance of the end points to those of Dopri5 with a tolerance of 1e-8, and the held-out
negative log-likelihood by the same steps, followed backwards: its mean, and how far it is off at a point. Steps are
equal by the clock of the model, as in ``sciflow sample``, or equal in time. All in float64.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from timing import header, table
from torch import Tensor

from sciflow.errors import InputError
from sciflow.pipeline import load_model, read_config
from sciflow.rng import step_generator
from sciflow.sampling import RK4, Dopri5, Euler, Midpoint, Step, log_prob, sample
from sciflow.training import FieldModel, load_tensors

METHODS: tuple[tuple[str, Step, int, bool], ...] = (  # the last: by the model's clock
    ("Euler", Euler(), 20, True),
    ("Euler", Euler(), 500, True),
    ("Euler", Euler(), 500, False),
    ("Midpoint", Midpoint(), 20, True),
    ("RK4", RK4(), 10, True),
    ("RK4", RK4(), 20, True),
    ("RK4", RK4(), 20, False),
    ("RK4", RK4(), 40, True),
)


def compare(model: FieldModel, x0: Tensor, held_out: Tensor) -> None:
    exact_step = Dopri5(1e-8, 1e-8)
    exact = sample(model.field, x0, torch.tensor([0.0, 1.0]), exact_step)
    exact_nll = -log_prob(model.field, held_out, model.prior, step=exact_step)
    rows: list[tuple[Any, ...]] = []
    for name, step, number, by_clock in METHODS:
        grid = torch.linspace(0, 1, number + 1, dtype=x0.dtype)
        grid = model.clock(grid) if by_clock else grid
        end = sample(model.field, x0, grid, step)
        apart = model.field.manifold.dist(end.x, exact.x)
        nll = -log_prob(model.field, held_out, model.prior, step=step, grid=grid.flip(0))
        off = f"{(nll - exact_nll).abs().mean():.4f}"
        clock = "the model's" if by_clock else "equal"
        rows.append(
            (name, number, clock, end.nfe, float(apart.mean()), float(apart.median()), f"{nll.mean():.4f}", off)
        )
    rows.append(("Dopri5, 1e-8", "adaptive", "", exact.nfe, 0.0, 0.0, f"{exact_nll.mean():.4f}", "0"))
    columns = ("step", "number", "clock", "evaluations", "mean distance", "median", "NLL", "off, a point")
    table(f"{len(x0)} end points, {len(held_out)} held-out points", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a folder of sciflow run, or of a Snakemake run, with data and model")
    parser.add_argument("--points", type=int, default=2000, help="starting points")
    parser.add_argument("--held-out", type=int, default=200, help="held-out points at most")
    args = parser.parse_args()
    header()
    try:
        model = load_model(read_config(args.run / "model/config.yaml"), args.run / "data", args.run / "model")
    except InputError as error:
        raise SystemExit(str(error)) from None
    if not isinstance(model, FieldModel):
        raise SystemExit(f"{args.run}: its model has no field to integrate")
    x0 = model.prior.sample(args.points, generator=step_generator(0), dtype=torch.float64)
    held_out = load_tensors(args.run / "data/test.safetensors")["x"][: args.held_out].double()
    model.double().requires_grad_(False)
    with torch.no_grad():
        compare(model, x0, model.field.manifold.projx(held_out))


if __name__ == "__main__":
    main()
