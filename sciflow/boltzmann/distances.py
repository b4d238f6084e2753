"""Distances between samples of a model and of its target. Read them beside those between two sets of data."""

import math
from collections.abc import Callable

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

__all__ = [
    "energy_w2",
    "histogram",
    "interatomic_distances",
    "samples_w2",
    "total_variation",
    "total_variation_floor",
]


def energy_w2(u: Tensor, v: Tensor, wu: Tensor | None = None, wv: Tensor | None = None) -> float:
    """2-Wasserstein distance of two sets of numbers ``u (n,)`` and ``v (m,)`` with weights, exact.

    W₂² = ∫₀¹ (F_u⁻¹(s) − F_v⁻¹(s))² ds: the difference of quantiles, piecewise constant between the steps of either.
    Infinite where a number of positive weight is.
    """
    (x, p), (y, q) = (_sorted(u, wu), _sorted(v, wv))
    steps = torch.cat([p, q]).sort().values
    width = steps.diff(prepend=steps.new_zeros(1))
    middle = steps - width / 2
    i, j = (torch.searchsorted(c, middle).clamp(max=len(c) - 1) for c in (p, q))
    gap = torch.where(width > 0, (x[i] - y[j]).square(), 0)
    return math.sqrt(float(gap @ width))


def _sorted(values: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """Values of positive weight in rising order, and their cumulative weights."""
    values = values.double()
    weights = torch.ones_like(values) if weights is None else weights.to(values)
    values, weights = values[weights > 0], weights[weights > 0]
    order = values.argsort()
    cumulative = weights[order].cumsum(0)
    return values[order], cumulative / cumulative[-1]


def samples_w2(x: Tensor, y: Tensor, cost: Callable[[Tensor, Tensor], Tensor]) -> float:
    """2-Wasserstein distance of two samples of one size, ``(n, …)``, equal weights: the best assignment.

    ``cost(x, y)`` is the matrix ``(n, n)`` of squared distances: ``Euclidean(d).squared_distances``, or
    ``Alignment(permutable=…)`` for clusters up to rotation and relabelling (summed over particles, not averaged).

    Raises:
        ValueError: when the sizes differ.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} samples against {len(y)}: an assignment needs as many of both")
    matrix = cost(x, y).detach().double().cpu()
    rows, columns = linear_sum_assignment(matrix.numpy())
    return math.sqrt(float(matrix[rows, columns].mean()))


def histogram(values: Tensor, edges: Tensor, weights: Tensor | None = None) -> Tensor:
    """Shares ``(K + 2,)`` of ``values (n, …)`` below, in and above the bins; ``weights (n,)`` are of whole rows."""
    flat = values.reshape(len(values), -1).double()
    weights = torch.ones(len(flat)).to(flat) if weights is None else weights.to(flat)
    index = torch.bucketize(flat.contiguous(), edges.to(flat), right=True).flatten()
    mass = flat.new_zeros(len(edges) + 1).index_add_(0, index, weights[:, None].expand_as(flat).flatten())
    return mass / mass.sum()


def total_variation(p: Tensor, q: Tensor) -> float:
    """½ Σ|p − q| of two histograms, each normalised to one."""
    return 0.5 * float((p / p.sum() - q / q.sum()).abs().sum())


def total_variation_floor(p: Tensor, n: float, m: float = math.inf) -> float:
    """Expected total variation from ``p`` of a histogram of ``n`` independent draws from ``p`` itself.

    By de Moivre, E|k − np| = 2 j C(n, j) pʲ (1 − p)^(n−j+1) with j = ⌊np⌋ + 1, for a bin of share p. If ``p`` is itself
    a histogram of ``m`` draws, 1/n + 1/m stands in for 1/n, which gives the right variance.
    """
    p = (p.double() / p.sum()).flatten()
    p = p[(p > 0) & (p < 1)]
    size = torch.tensor(1 / (1 / n + 1 / m), dtype=p.dtype)
    j = (size * p).floor() + 1
    choices = torch.lgamma(size + 1) - torch.lgamma(j + 1) - torch.lgamma(size - j + 1)
    deviation = 2 * j * (choices + j * p.log() + (size - j + 1) * torch.log1p(-p)).exp()
    return 0.5 * float(deviation.sum() / size)


def interatomic_distances(x: Tensor) -> Tensor:
    """Distances ``(B, N(N−1)/2)`` of all pairs of ``x (B, N, d)``."""
    i, j = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
    return (x[:, i] - x[:, j]).norm(dim=-1)
