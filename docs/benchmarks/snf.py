"""What Markov chain Monte Carlo in a flow is worth: the double-well table of stochastic normalizing flows.

    python docs/benchmarks/snf.py

Four models of the double well (Wu, Köhler, Noé 2020, arXiv:2002.06707), each trained from several seeds on the same
data: draws of both wells, as many of one as of the other, which is not their share. Training is by likelihood, then by
likelihood and energy in equal parts. Free energies along x₁ are −log of reweighted histograms between −2.25 and 2.25,
from repeated draws of each trained model: bias is the difference of their mean from the exact profile, both with their
minimum at zero, averaged over the bins that are never empty; std is that of the repetitions, averaged over the bins.
Exact draws of the target, as many, show what nothing can be below but by importance sampling of the barrier.
"""

import argparse
import math
from time import process_time

import torch
from timing import header, table
from torch import Tensor

from sciflow.boltzmann import Metropolis, WeightedSamples, importance
from sciflow.boltzmann.stochastic import StochasticFlow
from sciflow.boltzmann.targets import DoubleWell
from sciflow.flows import AffineCoupling, Composed, MixedBase, SplineCoupling
from sciflow.rng import step_generator

TARGET = DoubleWell()
NUMBERS = torch.zeros(2, dtype=torch.bool)
HALF = torch.tensor([True, False])
PUBLISHED = {
    "affine": "1.153 ± 0.414",
    "spline": "2.238 ± 0.467",
    "affine + MC": "0.634 ± 0.105",
    "spline + MC": "0.602 ± 0.162",
}


def block(kind: str) -> Composed:
    """Two couplings, so that both dimensions move."""
    if kind == "affine":
        return Composed(AffineCoupling(HALF, 64, 3), AffineCoupling(~HALF, 64, 3))
    return Composed(*(SplineCoupling(NUMBERS, mask, bins=20, bound=5.0, width=64, depth=1) for mask in (HALF, ~HALF)))


def build(name: str, steps: int, seed: int) -> StochasticFlow:
    torch.manual_seed(seed)
    kind, _, moves = name.partition(" + ")
    blocks, base = [block(kind) for _ in range(3)], MixedBase(NUMBERS)
    flow = (
        StochasticFlow.between(base, TARGET, blocks, Metropolis(0.25), steps) if moves else StochasticFlow(base, blocks)
    )
    return flow.double()


def both_wells(n: int) -> Tensor:
    """n draws of each well."""
    x = TARGET.sample(20 * n, step_generator(0))
    return torch.cat((x[x[:, 0] < 0][:n], x[x[:, 0] > 0][:n]))


def train(flow: StochasticFlow, data: Tensor, iterations: int, batch: int, seed: int) -> None:
    optimizer = torch.optim.Adam(flow.parameters(), 1e-3)
    for step in range(2 * iterations):
        generator = step_generator(seed, step)
        x = data[torch.randint(len(data), (batch,), generator=generator)]
        loss = -flow.path_log_prob(x, generator).mean()
        if step >= iterations:
            y, logq = flow.sample(batch, generator)
            loss = (loss + (TARGET.energy(y) + logq).mean()) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def profile_error(profiles: Tensor, centres: Tensor) -> tuple[float, float]:
    """Bias and standard deviation of free-energy profiles (repetitions, bins)."""
    exact = TARGET.energy(torch.stack((centres, torch.zeros_like(centres)), -1))
    profiles = profiles - torch.where(profiles.isfinite(), profiles, torch.nan).nanmean(1, keepdim=True)
    mean = profiles.mean(0)
    seen = mean.isfinite()
    bias = (exact - exact.min() - mean + mean[seen].min())[seen].mean().abs()
    return float(bias), float(profiles[:, seen].std(0).mean())


def profiles(draws: list[WeightedSamples], edges: Tensor, reweighted: bool) -> Tensor:
    rows = []
    for draw in draws:
        weights = draw.weights if reweighted else torch.ones_like(draw.weights)
        rows.append(-torch.histogram(draw.x[:, 0].contiguous(), edges, weight=weights).hist.log())
    return torch.stack(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="models of each kind, at least 2")
    parser.add_argument("--iterations", type=int, default=300, help="by likelihood, and as many by both losses")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20, help="Metropolis moves after each of three blocks")
    parser.add_argument("--draws", type=int, default=20_000, help="of a trained model, for one profile")
    parser.add_argument("--repeats", type=int, default=10, help="profiles of a trained model")
    args = parser.parse_args()
    header()
    edges = torch.linspace(-2.25, 2.25, 46, dtype=torch.float64)
    centres, data = (edges[1:] + edges[:-1]) / 2, both_wells(10_000)
    exact = [
        WeightedSamples(
            TARGET.sample(args.draws, step_generator(1, i)), torch.zeros(args.draws), torch.zeros(args.draws)
        )
        for i in range(args.repeats)
    ]
    floor = profile_error(profiles(exact, edges, False), centres)
    rows = [("exact draws", *floor, "", f"{math.hypot(*floor):.3f}", "", 100.0, 0.0, "")]
    for name, published in PUBLISHED.items():
        found, start = [], process_time()
        for seed in range(args.seeds):
            flow = build(name, args.steps, seed)
            train(flow, data, args.iterations, args.batch, seed)
            draws = [
                importance(flow, TARGET, args.draws, step_generator(2, seed, i), args.draws)
                for i in range(args.repeats)
            ]
            plain = math.hypot(*profile_error(profiles(draws, edges, False), centres))
            bias, std = profile_error(profiles(draws, edges, True), centres)
            z = torch.tensor([draw.log_z().value for draw in draws])
            ess = torch.tensor([draw.ess() for draw in draws]).mean()
            found.append((bias, std, plain, math.hypot(bias, std), 100 * float(ess), float(z.mean()) - TARGET.log_z))
        seconds = (process_time() - start) / args.seeds
        bias, std, plain, error, ess, off = torch.tensor(found).T
        spread = f"{error.mean():.3f} ± {error.std():.3f}"
        means = [float(column.mean()) for column in (bias, std, plain)]
        rows.append((name, *means, spread, published, float(ess.mean()), float(off.mean()), f"{seconds:.0f}"))
    columns = (
        "model",
        "bias",
        "std",
        "√(bias²+std²), not reweighted",
        "reweighted",
        "published",
        "ESS [%]",
        "log Z off",
        "CPU s a model",
    )
    table(f"Free energy of the double well [kT], {args.seeds} models of a kind, N = {args.draws}", columns, rows)


if __name__ == "__main__":
    main()
