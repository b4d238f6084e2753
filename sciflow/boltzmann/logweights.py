"""Numbers that log-weights give: effective sizes, bounds of log Z, divergences, each from samples of q or of p.

Log-weights are log w = −energy(x) − log q(x), ``(n,)``, of a proposal q towards p = exp(−energy)/Z. All are computed in
float64, nothing is clipped unless the name says so.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..rng import Generator, step_generator, uniform

__all__ = [
    "FEW",
    "Estimate",
    "bootstrap",
    "clipped_ess",
    "effective",
    "elbo",
    "ess",
    "eubo",
    "forward_ess",
    "forward_kl",
    "log_mean_error",
    "log_mean_weight",
    "reverse_kl",
    "systematic",
]


FEW = 30  # effective samples, below which no reweighted number or curve is an estimate


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float


def log_mean_weight(logw: Tensor) -> Tensor:
    """Log of the mean weight: from samples of q it estimates log Z (the mean weight is unbiased for Z)."""
    return torch.logsumexp(logw.double(), 0) - math.log(len(logw))


def log_mean_error(effective: float, n: int) -> float:
    """Standard error √((1/ESS − 1)/(n − 1)) of :func:`log_mean_weight` of n independent samples; NaN for one."""
    return math.sqrt(max(1 / effective - 1, 0) / (n - 1)) if n > 1 else math.nan


def ess(logw: Tensor) -> Tensor:
    """Kish's effective sample size (Σw)²/Σw² as a fraction of n, from samples of q."""
    return (2 * log_mean_weight(logw) - log_mean_weight(2 * logw.double())).exp()


def clipped_ess(logw: Tensor, q: float = 1e-4) -> Tensor:
    """The same after the largest fraction ``q`` of the weights is set to the smallest of them (biased upwards)."""
    top = max(1, round(q * len(logw)))
    return ess(logw.clamp(max=torch.topk(logw, top).values[-1]))


def forward_ess(logw: Tensor) -> Tensor:
    """Effective fraction from samples of p: 1/(E_p[w] E_p[1/w]) = E_q[w]²/E_q[w²]. It sees modes that q misses.

    Source: Midgley et al. 2023, arXiv:2208.01893.
    """
    return (-log_mean_weight(logw) - log_mean_weight(-logw)).exp()


def elbo(logw: Tensor) -> Tensor:
    """E_q[log w] ≤ log Z, from samples of q; −∞ if one of them has no weight."""
    return logw.double().mean()


def eubo(logw: Tensor) -> Tensor:
    """E_p[log w] ≥ log Z, from samples of p.

    Source: Blessing et al. 2024, arXiv:2406.07423.
    """
    return logw.double().mean()


def reverse_kl(logw: Tensor, floor: float = math.inf) -> Tensor:
    """KL(q‖p) = log Z − E_q[log w], from samples of q.

    With a ``floor`` log-weights count as no less than log Z − floor: a lower bound that a few samples without weight
    leave finite.
    """
    log_z = log_mean_weight(logw)
    return log_z - elbo(logw.double().clamp(min=log_z - floor))


def forward_kl(logw: Tensor, log_z: float) -> Tensor:
    """KL(p‖q) = E_p[log w] − log Z, from samples of p and a log Z known otherwise."""
    return eubo(logw) - log_z


def bootstrap(statistic: Callable[[Tensor], Tensor], logw: Tensor, draws: int = 100, seed: int = 0) -> Estimate:
    """A statistic of independent log-weights and its standard error, by resampling them with replacement.

    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552.
    """
    again = torch.stack([statistic(logw[index]) for index in resamples(len(logw), draws, seed, logw.device)])
    return Estimate(float(statistic(logw)), float(again.std(0)))


def resamples(n: int, draws: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    """Indices ``(n,)`` of n samples drawn with replacement, ``draws`` times."""
    generator = step_generator(seed, device=device)
    for _ in range(draws):
        yield torch.randint(n, (n,), generator=generator, device=device)


def systematic(logw: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Indices ``(n,)`` of an equally weighted ensemble: each sample ⌊n W⌋ or ⌈n W⌉ times.

    Source: Kitagawa 1996, https://doi.org/10.2307/1390750.
    """
    steps = torch.softmax(logw.double(), 0).cumsum(0)
    first = uniform(1, generator=generator, dtype=torch.float64, device=logw.device)
    points = (torch.arange(n, dtype=torch.float64, device=logw.device) + first) / n
    # The last sample with a weight, not the last one: rounding leaves the sum of the weights a little off one.
    last = (steps < steps[-1]).sum()
    return torch.searchsorted(steps, points, right=True).minimum(last)


def effective(logw: Tensor, generator: torch.Generator | None = None, most: int = 1000) -> Tensor:
    """Indices of an equally weighted ensemble, for programs without weights: as many as are effective, or ``most``."""
    return systematic(logw, max(1, min(most, round(float(ess(logw)) * len(logw)))), generator)


def chunks(n: int, size: int, generator: Generator) -> Iterator[tuple[slice, Generator]]:
    """Slices of n samples in order, ``size`` each, with their generators: the one for all, or one per sample."""
    if n < 1 or size < 1:
        raise ValueError(f"n={n} samples in batches of {size}: both must be at least 1")
    for start in range(0, n, size):
        part = slice(start, min(start + size, n))
        yield part, generator if generator is None or isinstance(generator, torch.Generator) else generator[part]
