"""Letters from a posterior: throughput and exactness beside flow_matching's solver of discrete paths.

    pip install -e ".[bench]"
    python docs/benchmarks/discrete_sampling.py [--device cuda]

To leave the environment as it is, ``pip install --no-deps --target FOLDER flow_matching torchdiffeq tqdm`` and set
``PYTHONPATH=FOLDER``.

One tiny network (an embedding, a layer, a softmax), masks, the linear schedule, equal steps, no gradients. Ours is
``sample_posterior`` with ``AlongPath``: with one generator for all, as the peer; with a stream for each sample, so that
a sample is the same in any batch; and with noise. The peer draws a letter at every place and a jump with probability
``1 − exp(−h κ̇/(1 − κ))``, the rate at the beginning of the step. Exactness: total variation from the law of two
correlated letters, with their exact posterior, beside that of a sample of the law itself. Without the peer its columns
are left out.
"""

import argparse
import itertools
from typing import Any

import torch
from timing import header, race, table
from torch import Tensor, nn

from sciflow.paths import MaskingPath, RatesPath, UniformPath
from sciflow.rng import Generator, sample_generators, step_generator
from sciflow.sampling import AlongPath, PosteriorStep, TauLeap, sample_posterior

try:
    from flow_matching.path import MixtureDiscreteProbPath
    from flow_matching.path.scheduler import CondOTScheduler
    from flow_matching.solver import MixtureDiscreteEulerSolver
    from flow_matching.utils import ModelWrapper
except ImportError as error:
    MixtureDiscreteEulerSolver = None
    print(f'{error.name} is not installed: no columns of flow_matching (pip install -e ".[bench]")\n')

LENGTH, STEPS, WIDTH = 100, 32, 16
WORDS = torch.tensor(list(itertools.product(range(3), repeat=2)))
TARGET = torch.tensor([0.30, 0.02, 0.03, 0.01, 0.25, 0.04, 0.10, 0.05, 0.20])


class Network(nn.Module):
    """Posteriors ``(B, L, k)`` of tokens ``(B, L)`` at times ``(B,)``."""

    def __init__(self, path: RatesPath) -> None:
        super().__init__()
        self.letters = nn.Embedding(path.states, WIDTH)
        self.head = nn.Linear(WIDTH, path.k)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.head(self.letters(x) + t[:, None, None]).softmax(-1)


def solver(denoise: Any, path: RatesPath) -> Any:
    """The peer, whose posterior covers the mask, with probability 0."""

    class Padded(ModelWrapper):
        def forward(self, x: Tensor, t: Tensor, **extras: Any) -> Tensor:
            return nn.functional.pad(denoise(x, t), (0, path.states - path.k))

    peer = MixtureDiscreteEulerSolver(Padded(nn.Identity()), MixtureDiscreteProbPath(CondOTScheduler()), path.states)
    return lambda x0, grid: peer.sample(x0, step_size=None, time_grid=grid)


def throughput(k: int, batch: int, device: str) -> tuple[Any, ...]:
    """A row: thousands of letters a second."""
    path = MaskingPath(k)
    network = Network(path).to(device)
    x0 = torch.full((batch, LENGTH), k, device=device)
    grid = torch.linspace(0, 1, STEPS + 1, device=device)
    one = step_generator(0, device=device)

    def ours(step: PosteriorStep, generator: Generator) -> Any:
        return lambda: sample_posterior(network, x0, grid, step, generator=generator)

    def network_alone() -> None:
        for t in grid[:-1]:
            network(x0, t.expand(batch))

    runners = {
        "network": network_alone,
        "ours": ours(AlongPath(path), one),
        "streams": ours(AlongPath(path), sample_generators(0, 0, batch, device)),
        "noise": ours(TauLeap(path, 1.0), one),
    }
    if MixtureDiscreteEulerSolver:
        peer = solver(network, path)
        runners["flow_matching"] = lambda: peer(x0, grid)
    times = race(runners, seconds=6, device=device)
    speeds = [batch * LENGTH / time for time in times.values()]
    ratio = f"{times['flow_matching'] / times['ours']:.2f} ×" if MixtureDiscreteEulerSolver else ""
    return k, batch, *speeds, ratio


def exactness(path: RatesPath, steps: int, n: int = 20_000) -> tuple[Any, ...]:
    """A row: total variation from the law of two letters."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        p = (path.log_conditional(x, t)[:, [0, 1], WORDS].sum(-1) + TARGET.log()).softmax(-1)
        return (p[:, :, None, None] * nn.functional.one_hot(WORDS, 3)).sum(1)

    def apart(x: Tensor) -> float:
        return float(0.5 * (torch.bincount(x @ torch.tensor([3, 1]), minlength=9) / n - TARGET).abs().sum())

    generator = step_generator(1)
    grid, x0 = torch.linspace(0, 1, steps + 1), path.prior.sample(n, 2, generator=generator)
    row = [apart(WORDS[torch.multinomial(TARGET, n, replacement=True, generator=generator)])]
    row.append(apart(sample_posterior(denoise, x0, grid, AlongPath(path), generator=generator).x))
    row.append(apart(sample_posterior(denoise, x0, grid, TauLeap(path, 2.0), generator=generator).x))
    if MixtureDiscreteEulerSolver:
        torch.manual_seed(0)
        row.append(apart(solver(denoise, path)(x0, grid)))
    return type(path).__name__, steps, *row


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    args = parser.parse_args()
    peer = ["flow_matching"] if MixtureDiscreteEulerSolver else []
    header(*peer)
    rows = [throughput(k, batch, args.device) for k in (5, 20) for batch in (64, 512)]
    columns = ["K", "batch", "network alone", "ours", "a stream each", "noise", *peer, "ours / peer" if peer else ""]
    table(f"Thousands of letters a second: {STEPS} steps, L = {LENGTH}, {args.device}", columns, rows)
    rows = [exactness(path, steps) for path in (MaskingPath(3), UniformPath(3)) for steps in (4, 16, 64)]
    table("Total variation from the joint law", ["path", "steps", "floor", "ours", "noise", *peer], rows)


if __name__ == "__main__":
    main()
