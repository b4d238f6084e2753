"""Free-energy differences between ensembles: BAR, MBAR, and maps that bring the ensembles together."""

import logging
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..errors import InputError
from .logweights import Estimate, ess, log_mean_error, log_mean_weight
from .potentials import Potential

__all__ = ["bar", "generalised_work", "mbar", "one_sided", "two_sided"]


def bar(forward: Tensor, reverse: Tensor) -> Estimate:
    """ΔF = F₁ − F₀ by Bennett's acceptance ratio from independent works.

    Where the works of one ensemble do not reach those of the other, ΔF is known to lie in the gap between the nearest
    of either, and its variance as if uniform there, gap²/12, is added. Where they hardly meet the error is too small.

    Args:
        forward: u₁(x) − u₀(x) ``(n₀,)`` at samples of ensemble 0, or generalised works 0 → 1.
        reverse: u₀(x) − u₁(x) ``(n₁,)`` at samples of ensemble 1, or generalised works 1 → 0.

    Raises:
        InputError: for works that are not numbers, all infinite, or fewer than two.

    Source: Bennett 1976, https://doi.org/10.1016/0021-9991(76)90078-4.
    """
    for name, work in (("forward", forward), ("reverse", reverse)):
        if work.isnan().any() or not work.isfinite().any():
            raise InputError(f"{name} works: {int(work.isfinite().sum())} of {len(work)} are finite; drop NaN")
        if len(work) < 2:
            raise InputError(f"{name} works: {len(work)} has no error; give at least 2")
    forward, reverse = forward.detach().double().cpu(), reverse.detach().double().cpu()
    log_ratio = math.log(len(forward) / len(reverse))

    def log_accepted(delta_f: float) -> tuple[Tensor, Tensor]:
        """Of the works either way; in logarithms, which hold however far the ensembles are apart."""
        return logsigmoid(delta_f - log_ratio - forward), logsigmoid(log_ratio - delta_f - reverse)

    works = torch.cat((forward, reverse))
    high = float(works[works.isfinite()].abs().max()) + abs(log_ratio) + 50  # no sum of accepted is e⁵⁰ times another
    low = -high
    for _ in range(80):
        middle = (low + high) / 2
        there, back = (float(accepted.logsumexp(0)) for accepted in log_accepted(middle))
        low, high = (middle, high) if there < back else (low, middle)
    variance = sum((1 / ess(accepted) - 1) / (len(accepted) - 1) for accepted in log_accepted(low))
    gap = max(float(forward.min() - (-reverse).max()), 0.0)
    return Estimate(low, math.sqrt(max(float(variance), 0.0) + gap**2 / 12))  # below 0 by rounding only


def mbar(energies: Tensor, counts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Free energies of K ensembles from samples of some of them, F_k − F_0 in kT, and their standard errors ``(K,)``.

    Args:
        energies: u_k(x_n) ``(K, N)`` in kT, all samples under all ensembles; samples in the order of their ensembles.
            +∞ where a sample of one ensemble is impossible in another.
        counts: independent samples of each ensemble, K numbers that add up to N; 0 for one that is only asked for.

    Raises:
        InputError: for counts that do not add up, or energies that are no numbers or infinite in their own ensemble.

    Source: Shirts, Chodera 2008, arXiv:0801.1426; pymbar 4.
    """
    if energies.ndim != 2 or len(counts) != len(energies) or sum(counts) != energies.shape[1]:
        raise InputError(
            f"energies {tuple(energies.shape)} with counts {list(counts)}: give (K, N) and K that sum to N"
        )
    sizes = torch.as_tensor(counts).long().cpu()  # counts may be written as floats
    energies, ensembles = energies.detach().double().cpu(), torch.arange(len(counts))
    own = ensembles[:, None] == ensembles.repeat_interleave(sizes)
    wrong = (energies.isnan() | energies.isneginf() | (energies.isposinf() & own)).any(0)
    if wrong.any():
        raise InputError(f"{int(wrong.sum())} samples have an energy that is NaN, or infinite in their own: drop them")
    far = energies[energies.isfinite()].max() + 1000  # beyond any weight in float64
    solver = _pymbar().MBAR(energies.clamp(max=far).numpy(), sizes.numpy())
    found = solver.compute_free_energy_differences()
    return torch.from_numpy(found["Delta_f"][0].copy()), torch.from_numpy(found["dDelta_f"][0].copy())


def generalised_work(
    x: Tensor, start: Potential, end: Potential, transform: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Φ(x) = u_end(M(x)) − u_start(x) − log|det ∂M/∂x| in kT ``(B,)``, of samples ``x`` of ``start``.

    ⟨exp(−Φ)⟩ = Z_end/Z_start for any invertible M; if M takes one ensemble to the other, Φ is ΔF everywhere. Averaged
    over samples of ``start`` it is ΔF + KL and thus a loss for M (learned free-energy perturbation).

    Args:
        transform: M with its log-determinant: ``call_and_ladj`` of a transform, and of its ``inv`` for the way back.

    Source: Jarzynski 2002, arXiv:cond-mat/0109461; learned: Wirnsberger et al. 2020, arXiv:2002.04913.
    """
    y, ladj = transform(x)
    return end.energy(y) - start.energy(x) - ladj


def one_sided(work: Tensor) -> Estimate:
    """ΔF = −log⟨exp(−Φ)⟩ from (generalised) works of independent samples of one ensemble (Zwanzig).

    The error √((1/ESS − 1)/(n − 1)) sees what the samples see: when their works hardly overlap with those of the other
    ensemble, the estimate is biased and its error too small. Where both ensembles are sampled use ``two_sided``.

    Source: Zwanzig 1954, https://doi.org/10.1063/1.1740409.
    """
    logw = -work.detach()
    return Estimate(-float(log_mean_weight(logw)), log_mean_error(float(ess(logw)), len(work)))


@torch.no_grad()
def two_sided(x0: Tensor, x1: Tensor, u0: Potential, u1: Potential, transform: Any) -> Estimate:
    """ΔF = F₁ − F₀ by BAR on the generalised works of a map M from ensemble 0 to 1 and of its inverse.

    Args:
        x0, x1: independent samples of either ensemble, other than those that M was trained on.
        u0, u1: their energies in kT.
        transform: M, with ``call_and_ladj`` and ``inv``.

    Source: Hahn, Then 2009, arXiv:0811.3541; Wirnsberger et al. 2020, arXiv:2002.04913.
    """
    forward = generalised_work(x0, u0, u1, transform.call_and_ladj)
    return bar(forward, generalised_work(x1, u1, u0, transform.inv.call_and_ladj))


def _pymbar() -> ModuleType:
    """pymbar, without what it says at its import about optional packages."""
    loggers = [logging.getLogger(name) for name in ("pymbar", "pymbar.timeseries", "pymbar.mbar_solvers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        import pymbar
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    return pymbar
