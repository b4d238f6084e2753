"""Training on paths that were traced before: one path serves many times, and thousands of them share every round."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Prior, tree_map
from ..nets import Field
from ..paths import GeodesicCost, OptimalTransport, Pair, PremetricPath
from ..paths import Path as Bridge
from ..rng import Generator, step_generator, uniform
from ..training import save_tensors

__all__ = ["Traced", "trace_paths"]

TOGETHER = 8192  # paths
COUPLED = 1024  # of them


def trace_paths(
    path: PremetricPath, prior: Prior[Any], data: Tensor, pairs: int, times: int, seed: int, out: Path
) -> float:
    """Write points, velocities and times of paths from the prior to ``data (N, 3)``: ``x, u (pairs·times, 3)``, ``t``.

    The data follow one another, coupled to their sources by optimal transport of minibatches in the squared premetric:
    paths that seldom cross teach the field with little noise. Each is seen at ``times`` times, one in each of as many
    equal parts of [0, 1). Returns the share of paths that rest in a well of the premetric; they are left out.
    """
    coupling = OptimalTransport(GeodesicCost(path.manifold))
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, pairs, TOGETHER):
        generator = step_generator(seed, start)
        index = torch.arange(start, min(start + TOGETHER, pairs)) % len(data)
        x1, x0 = data[index], prior.sample(len(index), generator=generator, dtype=data.dtype)
        x0 = torch.cat([a[coupling(a, b)[0]] for a, b in zip(x0.split(COUPLED), x1.split(COUPLED), strict=True)])
        u = uniform(len(index), times, generator=generator, dtype=data.dtype)
        t = (torch.arange(times, dtype=data.dtype) + u) / times
        drawn, reached = path.along(x0, x1, t)
        parts.append((drawn.x_t[reached], drawn.u_t[reached], drawn.t[reached]))
    x, u, t = (torch.cat(kind).flatten(0, 1) for kind in zip(*parts, strict=True))
    save_tensors({"x": x, "u": u, "t": t}, out)
    return 1 - len(t) / (pairs * times)


class Traced:
    """Flow matching on traced points: ``‖v(x_t, t) − u_t‖²``, with times of density ``time`` by weight."""

    def __init__(self, lateness: float) -> None:
        self.lateness = lateness

    def __call__(self, field: Field, path: Bridge, pair: Pair, generator: Generator = None) -> Tensor:
        """Losses ``(B,)``; ``pair.x1`` are the points, ``pair.cond`` holds ``u`` and ``t``."""
        t, u = pair.cond["t"], pair.cond["u"]
        error = tree_map(Tensor.sub, field.velocity(pair.x1, t), u)
        late = (1 - t) ** (1 / self.lateness - 1) / self.lateness  # density of 1 − (1 − U)^lateness
        return pair.weight * late * path.manifold.inner(pair.x1, error, error)
