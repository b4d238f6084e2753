"""Reference samples of targets that cannot be drawn from: parallel tempering over many chains at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ...errors import InputError, require_above
from ...rng import step_generator
from ..kernels import HMC, Kernel, resized
from ..tempering import exchanges
from .base import Target
from .particles import Particles

__all__ = ["Chains", "TemperedHMC"]

_ACCEPTED = 0.65  # of Hamiltonian proposals, where they travel the furthest for their cost
_LARGEST = 3.0  # factor by which one step of the tuning changes a step size at most


class Chains(NamedTuple):
    """Samples of independent chains ``x (chains, draws, *event)`` at the target's temperature, and how they came.

    ``accepted``: share of accepted proposals of each temperature; ``swapped``: of exchanges between neighbours, NaN
    where none was tried.
    """

    x: Tensor
    accepted: Tensor
    swapped: Tensor


@dataclass
class TemperedHMC:
    """Hamiltonian Monte Carlo at a ladder of temperatures whose neighbours exchange states (Geyer 1991; Hukushima &
    Nemoto 1996, cond-mat/9512035), ``chains`` independent ladders in one batch.

    Attributes:
        chains: independent ladders.
        rungs: temperatures, geometric from the target's own to ``hottest`` times it.
        leapfrogs: of a proposal; step sizes are tuned, one a temperature, in the first half of the burn-in.
        sweep: proposals between two exchanges.
        burn_in: sweeps before the first draw.
        draws, thinning: draws a chain, and sweeps between two of them.
    """

    chains: int = 200
    rungs: int = 1
    hottest: float = 1.0
    leapfrogs: int = 8
    sweep: int = 5
    burn_in: int = 200
    draws: int = 50
    thinning: int = 2

    def __post_init__(self) -> None:
        require_above(0, "reference.", self, "rungs", "leapfrogs", "sweep", "draws", "thinning")
        require_above(1, "reference.", self, "chains", "burn_in")
        if self.hottest < 1 or (self.rungs > 1 and self.hottest == 1):
            raise InputError(f"reference.hottest={self.hottest}: it must be above 1 where there are several rungs")

    @property
    def sweeps(self) -> int:
        return self.burn_in + self.draws * self.thinning

    def run(
        self, target: Target, seed: int = 0, device: str = "cpu", advance: Callable[[], object] = lambda: None
    ) -> Chains:
        """Draw in float64, all randomness named by ``seed``; ``advance`` is called once a sweep."""
        generator = step_generator(seed, device=device)
        ladder = target.temperature * torch.logspace(
            0, torch.tensor(self.hottest).log10().item(), self.rungs, dtype=torch.float64, device=device
        )
        energy = _Ladder(target.at(1.0), ladder.repeat_interleave(self.chains))
        x = target.start(self.rungs * self.chains, generator)
        kernel: Kernel = HMC(
            torch.full_like(energy.temperatures, 0.01), leapfrogs=self.leapfrogs, centred=isinstance(target, Particles)
        )
        kept, accepted = [], torch.zeros_like(ladder)
        swapped, tries = torch.zeros_like(ladder[1:]), torch.zeros_like(ladder[1:])
        for n in range(self.sweeps):
            move = kernel.run(x, energy, self.sweep, generator)
            rate = move.accepted.reshape(self.rungs, self.chains).mean(1)
            if n < self.burn_in // 2:
                change = (4 * (n + 1) ** -0.6 * (rate - _ACCEPTED)).exp().clamp(1 / _LARGEST, _LARGEST).log()
                kernel = resized(kernel, change.repeat_interleave(self.chains))
            x, share = move.x, torch.full_like(ladder[1:], torch.nan)
            if n % 2 < self.rungs - 1:
                u = move.energy.reshape(self.rungs, self.chains) * ladder[:, None]
                source, share = exchanges(u, ladder, n % 2, generator)
                x = x.unflatten(0, source.shape)[source, torch.arange(self.chains, device=x.device)].flatten(0, 1)
            advance()
            if n < self.burn_in:
                continue
            accepted, swapped, tries = accepted + rate, swapped + share.nan_to_num(0.0), tries + ~share.isnan()
            if (n - self.burn_in) % self.thinning == self.thinning - 1:
                kept.append(x[: self.chains])
        return Chains(torch.stack(kept, 1), accepted / (self.sweeps - self.burn_in), swapped / tries)


@dataclass(frozen=True)
class _Ladder:
    """A target of temperature 1 at one temperature a sample."""

    potential: Target
    temperatures: Tensor

    def energy(self, x: Tensor) -> Tensor:
        return self.potential.energy(x) / self.temperatures

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        energy, force = self.potential.energy_and_force(x)
        return energy / self.temperatures, force / self.temperatures.reshape(-1, *(1,) * (x.ndim - 1))
