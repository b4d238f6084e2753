"""Exact likelihood and the accuracy of steps.

    python docs/benchmarks/likelihood.py

First table: log-density by one RK4 step with the exact divergence, for a graph network and multilayer perceptrons on
(B, 22, 3) and on a torus. "loop" is one backward pass a coordinate, without a graph of the derivative, the best that a
loop can do; flow_matching is its own ``compute_likelihood`` on the flattened state, which builds that graph (its rk4
is the 3/8 rule, with as many evaluations).

Second table: end points on S² of a sharp field, towards a mixture of narrow von Mises–Fisher peaks, against Dopri5 with
a tolerance of 1e-8, in float64.
"""

import argparse
import math
from functools import partial
from typing import Any

import torch
from timing import header, peers, race, table
from torch import Tensor

from sciflow.manifolds import Euclidean, FlatTorus, Sphere
from sciflow.nets import EGNNField, Field, FunctionField, MLPField
from sciflow.rng import step_generator
from sciflow.sampling import RK4, Dopri5, Euler, Midpoint, log_prob, sample

peers("flow_matching")
from flow_matching.solver import ODESolver  # noqa: E402

STEPS = 1


def fields() -> dict[str, tuple[Field, tuple[int, ...]]]:
    torch.manual_seed(0)
    return {
        "EGNN, width 32, 2 layers": (EGNNField([0] * 22, width=32, depth=2), (22, 3)),
        "MLP, width 64": (MLPField(Euclidean(3), (22,), width=64), (22, 3)),
        "MLP, width 256": (MLPField(Euclidean(3), (22,), width=256), (22, 3)),
        "MLP on T⁷, width 256": (MLPField(FlatTorus(7), (), width=256), (7,)),
    }


def ours(field: Field, x: Tensor) -> Tensor:
    return log_prob(field, x, field.manifold.prior(), step=RK4(), grid=torch.linspace(1, 0, STEPS + 1))


def looped(field: Field, x: Tensor) -> Tensor:
    """The classical fourth-order step on the state and the density, the divergence one coordinate after the other."""

    def rates(y: Tensor, t: float) -> tuple[Tensor, Tensor]:
        z = y.detach().requires_grad_()
        v = field.velocity(z, torch.full(y.shape[:1], t))
        flat, divergence = v.flatten(1), torch.zeros(len(y))
        for i in range(flat.shape[1]):
            (gradient,) = torch.autograd.grad(flat[:, i].sum(), z, retain_graph=True)
            divergence += gradient.flatten(1)[:, i]
        return v.detach(), divergence

    h, change = -1 / STEPS, torch.zeros(len(x))
    for step in range(STEPS):
        t = 1 + step * h
        k1, d1 = rates(x, t)
        k2, d2 = rates(x + h / 2 * k1, t + h / 2)
        k3, d3 = rates(x + h / 2 * k2, t + h / 2)
        k4, d4 = rates(x + h * k3, t + h)
        x = field.manifold.projx(x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4))
        change = change + h / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return field.manifold.prior().log_prob(x) + change


def flow_matching(field: Field, x: Tensor) -> Tensor:
    shape = x.shape

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return field.velocity(x.reshape(shape), t.expand(shape[0])).flatten(1)

    def prior(y: Tensor) -> Tensor:
        return field.manifold.prior().log_prob(y.reshape(shape))

    solver = ODESolver(velocity)
    grid = torch.tensor([1.0, 0.0])
    return solver.compute_likelihood(
        x.flatten(1), prior, step_size=1 / STEPS, method="rk4", time_grid=grid, exact_divergence=True
    )[1].detach()


def likelihoods(seconds: float) -> None:
    rows: list[tuple[Any, ...]] = []
    for name, (field, shape) in fields().items():
        for batch in (1, 16, 64) if isinstance(field, MLPField) else (1, 16):
            x = field.manifold.random(batch, *shape[:-1], generator=step_generator(1))
            methods = {"ours": ours, "loop": looped, "flow_matching": flow_matching}
            apart = float((looped(field, x) - ours(field, x)).detach().abs().max())
            times = race({name: partial(method, field, x) for name, method in methods.items()}, seconds)
            ratios = (f"{times[peer] / times['ours']:.1f} ×" for peer in ("loop", "flow_matching"))
            rows.append((name, batch, *times.values(), *ratios, f"{apart:.0e}"))
    columns = ("field", "B", "ours (ms)", "loop (ms)", "flow_matching (ms)", "loop / ours", "fm / ours", "ours − loop")
    table(f"log_prob of (B, 22, 3) or (B, 7), exact divergence, {STEPS} step of RK4, float32", columns, rows)


def sharp_field(concentration: float = 300.0, peaks: int = 20) -> FunctionField:
    """Gradient flow ``v = (2/κ_t) ∇ log Σ_k exp(κ_t (⟨μ_k, x⟩ − 1))`` whose peaks narrow as time goes on."""
    sphere = Sphere(2)
    centres = sphere.random(peaks, generator=step_generator(2), dtype=torch.float64)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        kappa = (t * math.log(concentration)).exp()[:, None]
        return sphere.proju(x, 2 * (kappa * (x @ centres.T - 1)).softmax(-1) @ centres)

    return FunctionField(sphere, velocity)


def steps() -> None:
    field = sharp_field()
    x0 = field.manifold.random(2000, generator=step_generator(3), dtype=torch.float64)
    exact = sample(field, x0, torch.tensor([0.0, 1.0]), Dopri5(1e-8, 1e-8))
    rows = []
    for name, step, number in (
        ("Euler", Euler(), 20),
        ("Euler", Euler(), 500),
        ("Midpoint", Midpoint(), 20),
        ("RK4", RK4(), 5),
        ("RK4", RK4(), 10),
        ("RK4", RK4(), 20),
    ):
        end = sample(field, x0, torch.linspace(0, 1, number + 1), step)
        error = field.manifold.dist(end.x, exact.x)
        rows.append((name, number, end.nfe, float(error.square().mean().sqrt()), float(error.max())))
    rows.append(("Dopri5, 1e-8", "adaptive", exact.nfe, 0.0, 0.0))
    table(
        "S², distance of the end points (rad)", ("step", "number", "evaluations", "root mean square", "largest"), rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="of repetitions per row of the first table")
    args = parser.parse_args()
    header("flow_matching")
    steps()
    likelihoods(args.seconds)


if __name__ == "__main__":
    main()
