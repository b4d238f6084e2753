"""Minibatch transport: time, cost above the least one, and how many data points a batch keeps.

    python docs/benchmarks/couplings.py
    python docs/benchmarks/couplings.py --max-n 1024

Times include the matrix of costs. "Clusters" is two-dimensional noise against eight narrow clusters far from it. POT
and torchcfm have Euclidean costs alone: on S² and SO(3) they are given ours.
"""

import argparse
import contextlib
import io
import warnings
from collections.abc import Callable
from functools import partial

import torch
from timing import header, peers, race, table
from torch import Tensor

from sciflow.manifolds import SO3, Euclidean, FlatTorus, Manifold, Sphere
from sciflow.paths import Coupling, GeodesicCost, OptimalTransport, Sinkhorn, SortedTransport
from sciflow.rng import step_generator

peers("ot", "torchcfm")
import ot  # noqa: E402
from torchcfm.optimal_transport import OTPlanSampler  # noqa: E402

Points = tuple[Tensor, Tensor]
Matched = tuple[Tensor, Tensor]
CASES: dict[str, tuple[Manifold[Tensor], float]] = {
    "R¹": (Euclidean(1), 0.0),
    "circle": (FlatTorus(1), 0.0),
    "R²": (Euclidean(2), 0.0),
    "R², clusters": (Euclidean(2), 6.0),
    "R⁶⁴": (Euclidean(64), 0.0),
    "S²": (Sphere(2), 0.0),
    "SO(3)": (SO3(), 0.0),
}


def draw(manifold: Manifold[Tensor], apart: float, n: int) -> Points:
    generator = step_generator(0)
    x0, x1 = (manifold.random(n, generator=generator) for _ in range(2))
    if apart:
        centres = manifold.random(8, generator=generator) + apart
        x1 = centres[torch.randint(0, 8, (n,), generator=generator)] + x1 / 20
    return x0, x1


def ours(coupling: Coupling, x0: Tensor, x1: Tensor) -> Matched:
    return coupling(x0, x1)[:2]


def by_pot(manifold: Manifold[Tensor], x0: Tensor, x1: Tensor) -> Matched:
    """The plan of ``ot.emd``, with iterations enough to end; the largest entry of each column is its source."""
    plan = ot.emd([], [], manifold.squared_distances(x0, x1).double().numpy(), numItermax=10**7)
    return torch.as_tensor(plan).argmax(0), torch.arange(len(x1))


def by_torchcfm(manifold: Manifold[Tensor], x0: Tensor, x1: Tensor) -> Matched:
    """Pairs drawn from the plan, as its samplers of paths do."""
    sampler = OTPlanSampler("exact")
    if isinstance(manifold, Euclidean):
        plan = sampler.get_map(x0, x1)
    else:
        uniform = ot.unif(len(x0))
        plan = sampler.ot_fn(uniform, uniform, manifold.squared_distances(x0, x1).numpy())
    return tuple(torch.as_tensor(index) for index in sampler.sample_map(plan, len(x0)))  # type: ignore[return-value]


def runners(manifold: Manifold[Tensor], name: str, points: Points, device: str) -> dict[str, Callable[[], Matched]]:
    cost = GeodesicCost(manifold)
    found: dict[str, Callable[[], Matched]] = {
        "sciflow OptimalTransport": partial(ours, OptimalTransport(cost), *points),
        "sciflow Sinkhorn": partial(ours, Sinkhorn(cost), *points),
        "POT emd": partial(by_pot, manifold, *points),
        "torchcfm exact": partial(by_torchcfm, manifold, *points),
    }
    if device == "cuda":
        found["sciflow Sinkhorn, GPU"] = partial(ours, Sinkhorn(cost), *(x.to(device) for x in points))
    if name in ("R¹", "circle"):
        found["sciflow SortedTransport"] = partial(ours, SortedTransport(manifold), *points)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-n", type=int, default=2048, help="largest batch, up to 4096")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seconds", type=float, default=0.3, help="of repetitions per row of the table")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    header("POT", "torchcfm")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for name in args.cases:
        manifold, apart = CASES[name]
        rows = []
        for n in (n for n in (256, 512, 1024, 2048, 4096) if n <= args.max_n):
            points = draw(manifold, apart, n)
            cost = manifold.squared_distances(*points).double()
            found = runners(manifold, name, points, device)
            with contextlib.redirect_stdout(io.StringIO()):
                pairs = {kind: tuple(index.cpu() for index in run()) for kind, run in found.items()}
                gpu = {kind: run for kind, run in found.items() if "GPU" in kind}
                times = race({kind: run for kind, run in found.items() if kind not in gpu}, args.seconds)
                times |= race(gpu, args.seconds, device) if gpu else {}
            least = float(cost[pairs["sciflow OptimalTransport"]].mean())
            for kind in found:
                excess = f"{float(cost[pairs[kind]].mean()) / least - 1:+.2%}"
                kept = f"{len(pairs[kind][1].unique()) / n:.0%} / {len(pairs[kind][0].unique()) / n:.0%}"
                rows.append((n, kind, times[kind], f"{times[kind] / times['POT emd']:.2f}", excess, kept))
        table(name, ("n", "coupling", "ms", "time / POT", "cost above least", "data / sources kept"), rows)


if __name__ == "__main__":
    main()
