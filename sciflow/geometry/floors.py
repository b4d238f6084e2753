"""What a density on a manifold must beat: kernels on the training data, mixed with the prior."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Manifold

__all__ = ["Floors", "energy_distance", "floors", "nearest"]

BANDWIDTHS = torch.logspace(-4.5, -0.15, 30).tolist()  # rad, or units of length; wider ones would wrap around
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # of the prior in the mixture
CHOSEN_ON = 1000  # validation points that choose bandwidth and share
CHUNK = 4_000_000  # pairs at once


@dataclass(frozen=True)
class Floors:
    """Mean negative log-likelihoods of the test data, in nats, and what the validation data chose."""

    prior: float
    kde: float
    mixture: float
    bandwidth: float
    share: float
    at_edge: bool


def floors(manifold: Manifold[Any], train: Tensor, val: Tensor, test: Tensor) -> Floors:
    """A wrapped normal on every training point, alone and mixed with the prior; settings chosen on validation data.

    ``p(x) = (1 − w)/n Σ_i N(log_{x_i} x; 0, h²) / |det d exp| + w·prior(x)``. States are ``(N, *point_shape)``.
    """
    prior = manifold.prior()
    chosen, all_widths = val[:CHOSEN_ON], torch.tensor(BANDWIDTHS)
    kernel, base = _kernels(manifold, train, chosen, all_widths), prior.log_prob(chosen)
    alone = int(kernel.mean(1).argmax())
    mixed = torch.stack([_mix(kernel, base, w).mean(1) for w in SHARES])
    share, width = divmod(int(mixed.argmax()), len(BANDWIDTHS))
    both = _kernels(manifold, train, test, all_widths[[alone, width]])
    base = prior.log_prob(test)
    return Floors(
        prior=-float(base.mean()),
        kde=-float(both[0].mean()),
        mixture=-float(_mix(both[1], base, SHARES[share]).mean()),
        bandwidth=BANDWIDTHS[width],
        share=SHARES[share],
        at_edge=width in (0, len(BANDWIDTHS) - 1),
    )


def energy_distance(manifold: Manifold[Any], x: Any, y: Any, most: int = 1500) -> float:
    """``2 E d(x, y) − E d(x, x') − E d(y, y')`` of geodesic distances, from at most that many points of each.

    Source: Székely, Rizzo 2013.
    """
    x, y = x[:most], y[:most]
    within = sum(float(_distances(manifold, z, z).sum()) / (len(z) * (len(z) - 1)) for z in (x, y))
    return 2 * float(_distances(manifold, x, y).mean()) - within


def nearest(manifold: Manifold[Any], x: Tensor, train: Tensor, most: int = 1000) -> Tensor:
    """Distance of each ``x`` (of the first ``most``) to the nearest training point."""
    x = x[:most]
    return torch.cat([_distances(manifold, part, train).amin(1) for part in x.split(max(1, CHUNK // len(train)))])


def _distances(manifold: Manifold[Any], x: Tensor, y: Tensor) -> Tensor:
    if not manifold.has_logmap:  # the metric of a mesh is that of embedded points, which are read once
        return manifold.squared_distances(x, y).sqrt()
    rows = max(1, CHUNK // max(1, len(y)))
    return torch.cat([manifold.dist(part[:, None], y[None]) for part in x.split(rows)])


def _kernels(manifold: Manifold[Any], train: Tensor, x: Tensor, widths: Tensor) -> Tensor:
    """Log-density ``(widths, N)`` of the kernel estimate at ``x``."""
    columns = []
    for part in x.split(max(1, CHUNK // len(train))):
        centres = train[None].expand(len(part), *train.shape)
        u = manifold.logmap(centres, part[:, None].expand_as(centres))
        square, log_det = manifold.inner(centres, u, u), manifold.log_det_exp(centres, u)
        logs = [
            torch.logsumexp(-0.5 * square / h**2 - log_det, 1) - manifold.dim * math.log(h) for h in widths.tolist()
        ]
        columns.append(torch.stack(logs))
    normalisation = math.log(len(train)) + 0.5 * manifold.dim * math.log(2 * math.pi)
    return torch.cat(columns, 1) - normalisation


def _mix(kernel: Tensor, base: Tensor, share: float) -> Tensor:
    return torch.logaddexp(kernel + math.log1p(-share), base + math.log(share))
