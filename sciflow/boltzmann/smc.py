"""From a proposal to exp(−energy) by small steps: annealed importance sampling and sequential Monte Carlo."""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import InputError
from ..rng import Generator
from .annealed import Annealed, Stage
from .kernels import Kernel, Move, resized
from .logweights import chunks, ess, log_mean_weight, systematic
from .potentials import Here, Interpolated, LogDensity, Potential
from .weights import WeightedSamples

__all__ = ["Proposal", "ais", "smc"]


class Proposal(Protocol):
    """A flow or a prior; its ``sample(n, generator=…)`` gives x, or x and its log-density."""

    sample: Any

    def log_prob(self, x: Tensor) -> Tensor: ...


def ais(
    proposal: Proposal,
    energy: Potential,
    kernel: Kernel | Sequence[Kernel],
    n: int,
    betas: Tensor,
    *,
    moves: int = 1,
    generator: Generator = None,
    batch_size: int | None = None,
) -> Annealed:
    """Annealed importance sampling: n independent paths along π_β ∝ q^(1−β) exp(−β·energy).

    log w = Σₖ (βₖ − βₖ₋₁)(−energy − log q)(xₖ₋₁) + the log-weights of kernels without detailed balance. The mean weight
    is unbiased for Z (over that of q, if q is not normalised). At each of β₁ … 1 the kernel makes ``moves`` steps; one
    proposal costs one evaluation of q and of the energy.

    Args:
        proposal: q.
        energy: where to; for a density given by a function ``LogDensity(log_prob)``.
        kernel: one for all stages, or one for each of the K.
        betas: ``(K+1,)``, rising from 0 to 1.
        generator: one, or one per sample.
        batch_size: samples at once; all by default.

    Raises:
        InputError: for betas that do not rise from 0 to 1, or a proposal without one sample of finite energy.

    Source: Neal 2001, arXiv:physics/9803008.
    """
    return _anneal(proposal, energy, kernel, n, betas, 0.0, moves, None, generator, batch_size)


def smc(
    proposal: Proposal,
    energy: Potential,
    kernel: Kernel | Sequence[Kernel],
    n: int,
    betas: Tensor | float = 0.9,
    *,
    threshold: float = 0.5,
    moves: int = 1,
    acceptance: float | None = None,
    generator: torch.Generator | None = None,
    batch_size: int | None = None,
) -> Annealed:
    """Sequential Monte Carlo: the paths of ``ais``, resampled when their weights have become too unequal.

    Increments and step sizes that follow from the samples leave a bias of O(1/n) in Z: for a number to print, run again
    with the ``betas`` and ``kernels`` of such a run and another generator.

    Args:
        proposal, energy, kernel, n, moves, batch_size: as in ``ais``.
        betas: ``(K+1,)``, rising from 0 to 1; or the share of the effective sample size that each increment shall keep,
            from which the increments follow.
        threshold: resample (systematically) when the effective fraction falls below it.
        acceptance: adapt the step size from stage to stage towards this acceptance.

    Raises:
        InputError: for betas that do not rise from 0 to 1, a share outside (0, 1), or a proposal without one sample of
            finite energy.

    Source: Del Moral, Doucet, Jasra 2006, https://doi.org/10.1111/j.1467-9868.2006.00553.x; increments: Zhou, Johansen,
    Aston 2016, arXiv:1303.3123.
    """
    return _anneal(proposal, energy, kernel, n, betas, threshold, moves, acceptance, generator, batch_size)


@torch.no_grad()
def _anneal(
    proposal: Proposal,
    energy: Potential,
    kernel: Kernel | Sequence[Kernel],
    n: int,
    betas: Tensor | float,
    threshold: float,
    moves: int,
    acceptance: float | None,
    generator: Generator,
    batch_size: int | None,
) -> Annealed:
    share, grid = _share_or_grid(betas)
    kernels = [kernel] if isinstance(kernel, Kernel) else list(kernel)
    if len(kernels) > 1 and (acceptance is not None or len(kernels) != len(grid) - 1):
        raise ValueError(
            f"{len(kernels)} kernels: give one, or one for each increment of given betas, not to be adapted"
        )
    if len({k.uses_force for k in kernels}) > 1:
        raise ValueError("kernels with and without forces: give MALA, HMC and ULA, or Metropolis alone")
    if acceptance is not None and not kernels[0].metropolised:
        raise ValueError(f"{type(kernels[0]).__name__} accepts every move: adapt MALA and use its sizes")
    size, path, stages = batch_size or n, Interpolated(LogDensity(proposal.log_prob), energy, 0.0), list[Stage]()
    draws = [_draw(proposal, part.stop - part.start, g) for part, g in chunks(n, size, generator)]
    x, logw = (torch.cat(parts) for parts in zip(*draws, strict=True))
    here = Here.cat([kernels[0].look(x[part], path) for part, _ in chunks(n, size, None)])
    ancestors = torch.arange(n, device=x.device)
    while path.beta < 1:
        gain = (here.ends[0].energy - here.ends[1].energy).double()
        gain = torch.where(gain.isnan(), -torch.inf, gain)
        if not stages and not gain.isfinite().any():
            raise InputError(f"none of {n} samples of the proposal has a finite energy: train it, or widen it")
        beta = grid[len(stages) + 1] if grid else _next_beta(path.beta, logw, gain, share)
        logw = logw + (beta - path.beta) * gain
        path, fraction = Interpolated(path.start, energy, beta), float(ess(logw))
        resampled = fraction < threshold and beta < 1
        if resampled:
            if not (generator is None or isinstance(generator, torch.Generator)):
                raise ValueError("resampling mixes the samples: give one generator, or threshold=0")
            index = systematic(logw, n, generator)
            x, here, ancestors = x[index], here.select(index), ancestors[index]
            logw = log_mean_weight(logw).expand(n)
        kernel = kernels[min(len(stages), len(kernels) - 1)]
        x, here, gained, accepted = _in_chunks(kernel, x, path, moves, generator, path.mix(*here.ends), size)
        logw = logw + gained.double()
        stages.append(Stage(beta, fraction, resampled, float(accepted.mean()), kernel))
        if acceptance is not None:
            kernels.append(resized(kernel, accepted.mean() - acceptance))
    logq = torch.where(logw.isfinite(), -here.energy.double() - logw, torch.inf)
    return Annealed(WeightedSamples(x, logq, logw), stages, ancestors)


def _draw(proposal: Proposal, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draws and their log-weights towards q: 0, or −∞ where log q is +∞, beyond the border of a flow's chart.

    Such a draw has no weight, but ``log_prob`` does not know that: the same x lies inside the chart elsewhere.
    """
    drawn = proposal.sample(n, generator=generator)
    if isinstance(drawn, Tensor):
        return drawn, torch.zeros(n, dtype=torch.float64, device=drawn.device)
    x, logq = drawn[:2]
    return x, torch.where(logq == torch.inf, -torch.inf, 0.0).double()


def _in_chunks(
    kernel: Kernel, x: Tensor, path: Potential, moves: int, generator: Generator, here: Here, size: int
) -> Move:
    runs = [kernel.run(x[s], path, moves, g, here.select(s)) for s, g in chunks(len(x), size, generator)]
    cat = torch.cat
    return Move(
        cat([run.x for run in runs]),
        Here.cat([run.here for run in runs]),
        cat([run.logw for run in runs]),
        cat([run.accepted for run in runs]),
    )


def _share_or_grid(betas: Tensor | float) -> tuple[float, list[float]]:
    if not isinstance(betas, Tensor):
        if not 0 < betas < 1:
            raise InputError(f"betas={betas} is no share: give one in (0, 1), such as 0.9, or a grid from 0 to 1")
        return betas, []
    grid = betas.tolist()
    if grid[0] != 0 or grid[-1] != 1 or not (betas.diff() > 0).all():
        raise InputError(
            f"betas {grid[0]:g} … {grid[-1]:g} ({len(grid)}): let them rise from 0 to 1 without a repetition"
        )
    return 1.0, grid


def _next_beta(beta: float, logw: Tensor, gain: Tensor, share: float) -> float:
    """The largest β' at which the increment keeps ``share`` of the effective sample size, by bisection.

    That of the samples that have a weight: the others are lost at any β' > β. An increment is no less than 1e-6, which
    loses atoms on top of each other where keeping their share would take a million stages.
    """
    alive = logw.isfinite() & gain.isfinite()
    if not alive.any():
        raise InputError("every sample has lost its weight: take smaller steps")
    log_weight, gain = torch.log_softmax(logw[alive], 0), gain[alive]

    def kept(increment: Tensor) -> Tensor:
        w = increment * gain
        return (2 * torch.logsumexp(log_weight + w, 0) - torch.logsumexp(log_weight + 2 * w, 0)).exp()

    low, high = gain.new_zeros(()), gain.new_full((), 1 - beta)
    if kept(high) >= share:
        return 1.0
    for _ in range(52):
        middle = (low + high) / 2
        fine = kept(middle) >= share
        low, high = torch.where(fine, middle, low), torch.where(fine, high, middle)
    return min(beta + max(float(low), 1e-6), 1.0)
