"""From hot walkers to cold ones: population annealing, and parallel tempering of many ladders at once.

Temperatures are in units of that of the energy: at ``t`` a walker samples exp(−energy/t).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from . import logweights
from .dynamics import LangevinMiddle, Walkers
from .kernels import accept

__all__ = ["ParallelTempering", "Tempered", "exchanges", "population_annealing"]


def exchanges(
    energy: Tensor, temperatures: Tensor, parity: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Swaps between the rungs (parity, parity+1), (parity+2, parity+3), … of every ladder, in detailed balance.

    Neighbours swap with probability min(1, exp[(1/tᵢ − 1/tᵢ₊₁)(Eᵢ − Eᵢ₊₁)]).

    Args:
        energy: ``(rungs, ladders)`` at temperature one.
        temperatures: ``(rungs,)``, rising.

    Returns:
        ``source (rungs, ladders)``: the rung that the new state of each rung comes from; ``swapped (rungs − 1,)``: the
        share of the ladders that swapped, NaN for the pairs that were not tried.

    Source: Geyer 1991; Hukushima & Nemoto 1996, cond-mat/9512035.
    """
    rungs, ladders = energy.shape
    low = torch.arange(rungs - 1, device=energy.device)[parity::2]
    gain = (1 / temperatures[low] - 1 / temperatures[low + 1])[:, None] * (energy[low] - energy[low + 1])
    swap = accept(gain, generator)  # two infinite energies differ by NaN and stay
    source = torch.arange(rungs, device=energy.device)[:, None].repeat(1, ladders)
    source[low] += swap.long()
    source[low + 1] -= swap.long()
    swapped = torch.full_like(temperatures[1:], torch.nan)
    swapped[low] = swap.to(swapped.dtype).mean(1)
    return source, swapped


@dataclass
class Tempered:
    """Where the walkers ended ``(rungs·ladders)``, rung by rung, and the share of accepted swaps ``(rungs − 1,)``."""

    walkers: Walkers
    accepted: Tensor


@dataclass(frozen=True, eq=False)
class ParallelTempering:
    """Ladders of replicas at rising ``temperatures (rungs,)``, whose neighbours swap every ``steps`` steps."""

    dynamics: LangevinMiddle
    temperatures: Tensor
    steps: int

    def run(
        self,
        walkers: Walkers,
        rounds: int,
        generator: torch.Generator | None = None,
        record: Callable[[Walkers], object] = lambda coldest: None,
    ) -> Tempered:
        """``rounds`` of dynamics and swaps from ``walkers``, rung by rung: the first ladders' coldest come first.

        ``record`` is called with the coldest rung after every round.
        """
        rungs = len(self.temperatures)
        ladders = len(walkers.x) // rungs
        t = self.temperatures.to(walkers.x).repeat_interleave(ladders)
        ladder = torch.arange(ladders, device=t.device)
        tried = []
        for k in range(rounds):
            walkers = self.dynamics.run(walkers, self.steps, t, generator)
            source, swapped = exchanges(
                walkers.energy.unflatten(0, (rungs, ladders)), self.temperatures.to(t), k % 2, generator
            )
            index = (source * ladders + ladder).flatten()
            walkers = walkers.select(index).scaled((t / t[index]).sqrt())
            tried.append(swapped)
            record(walkers.select(slice(ladders)))
        return Tempered(walkers, torch.stack(tried).nanmean(0) if tried else torch.full_like(t[: rungs - 1], torch.nan))


def population_annealing(
    dynamics: LangevinMiddle,
    walkers: Walkers,
    temperatures: Sequence[float],
    steps: int,
    generator: torch.Generator | None = None,
    alive: Callable[[Tensor], Tensor] | None = None,
    tick: Callable[[], object] = lambda: None,
) -> tuple[list[Walkers], list[float]]:
    """Cool equilibrated ``walkers`` through falling ``temperatures``, the first of which is theirs.

    At each stage walkers are weighted by exp[−(1/t' − 1/t) E], resampled systematically and run for ``steps`` steps
    at the new temperature.

    Args:
        alive: ``(B,)`` bool of positions: whose weight is not zero (a molecule that kept its stereochemistry).

    Returns:
        The walkers at every temperature, and the effective share of the weights of every stage.

    Source: Hukushima & Iba 2003, https://doi.org/10.1063/1.1632130; Machta 2010, arXiv:1006.0252.
    """
    rungs, shares = [walkers], []
    for hot, cold in pairwise(temperatures):
        logw = -(1 / cold - 1 / hot) * walkers.energy.double()
        if alive is not None:
            logw = torch.where(alive(walkers.x), logw, -torch.inf)
        if not logw.isfinite().any():
            raise ValueError(f"no walker is left at temperature {hot}")
        shares.append(float(logweights.ess(logw)))
        index = logweights.systematic(logw, len(logw), generator)
        cooled = walkers.select(index)
        walkers = dynamics.run(cooled.scaled(torch.full_like(cooled.energy, cold / hot).sqrt()), steps, cold, generator)
        rungs.append(walkers)
        tick()
    return rungs, shares
