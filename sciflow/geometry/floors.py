"""What a density on a manifold must beat: kernels on the training data, of one width or of many, and the prior."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Manifold

__all__ = ["COMPARED", "Floors", "energy_distance", "floors", "mixture_weights", "nearest"]

BANDWIDTHS = torch.logspace(-4.5, -0.15, 30).tolist()  # rad, or units of length; wider ones would wrap around
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)  # of the prior in the mixture
CHOSEN_ON = 1000  # validation points that choose bandwidth and share
ROUNDS = 500  # of expectation maximisation; the weights of widths settle in a hundred
COMPARED = 1500  # points of an energy distance
CHUNK = 4_000_000  # pairs at once


@dataclass(frozen=True)
class Floors:
    """Mean negative log-likelihoods of the test data, in nats."""

    prior: float
    kde: float
    mixture: float
    widths: float


def floors(manifold: Manifold[Any], train: Tensor, val: Tensor, test: Tensor) -> Floors:
    """A wrapped normal on every training point, alone and mixed with the prior; settings chosen on validation data.

    ``p(x) = (1 − w)/n Σ_i N(log_{x_i} x; 0, h²) / |det d exp| + w·prior(x)``: ``mixture`` has one h, ``widths`` weights
    of 30, by expectation maximisation. States are ``(N, *point_shape)``.
    """
    prior = manifold.prior()
    chosen, all_widths = val[:CHOSEN_ON], torch.tensor(BANDWIDTHS)
    kernel, base = _kernels(manifold, train, chosen, all_widths), prior.log_prob(chosen)
    alone = int(kernel.mean(1).argmax())
    mixed = torch.stack([_mix(kernel, base, w).mean(1) for w in SHARES])
    share, width = divmod(int(mixed.argmax()), len(BANDWIDTHS))
    weights = mixture_weights(torch.cat([kernel, base[None]]))
    judged, base = _kernels(manifold, train, test, all_widths), prior.log_prob(test)
    return Floors(
        prior=-float(base.mean()),
        kde=-float(judged[alone].mean()),
        mixture=-float(_mix(judged[width], base, SHARES[share]).mean()),
        widths=-float(torch.logsumexp(torch.cat([judged, base[None]]) + weights.log()[:, None], 0).mean()),
    )


def mixture_weights(logs: Tensor) -> Tensor:
    """Weights ``(K,)`` of the mixture of K densities that is likeliest for points of log-densities ``logs (K, N)``."""
    weights = torch.full_like(logs[:, 0], 1 / len(logs))
    for _ in range(ROUNDS):
        weights = torch.softmax(logs + weights.log()[:, None], 0).mean(1)
    return weights


def energy_distance(manifold: Manifold[Any], x: Tensor, y: Tensor) -> float:
    """``2 E|x − y| − E|x − x'| − E|y − y'|`` in the manifold's ``coordinates``, from ``COMPARED`` points of each.

    Zero for equal laws alone. With geodesic distances it would be negative for some pairs of laws on tori and
    rotations, where these are not of negative type.

    Source: Székely, Rizzo 2013.
    """
    a, b = (manifold.coordinates(z[:COMPARED]).flatten(1) for z in (x, y))
    within = sum(float(torch.cdist(z, z).sum()) / (len(z) * (len(z) - 1)) for z in (a, b))
    return 2 * float(torch.cdist(a, b).mean()) - within


def nearest(manifold: Manifold[Any], x: Tensor, train: Tensor, most: int = 1000) -> Tensor:
    """Distance of each ``x`` (of the first ``most``) to the nearest training point."""
    x = x[:most]
    return torch.cat([_distances(manifold, part, train).amin(1) for part in x.split(max(1, CHUNK // len(train)))])


def _distances(manifold: Manifold[Any], x: Tensor, y: Tensor) -> Tensor:
    if not manifold.has_logmap:  # the metric of a mesh is that of embedded points, which are read once
        return manifold.squared_distances(x.double(), y.double()).sqrt()
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
