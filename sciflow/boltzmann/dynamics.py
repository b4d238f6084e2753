"""Langevin dynamics of many replicas at once, on any energy with forces."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..rng import Generator, normal
from .potentials import Potential, per_sample, require_energy

__all__ = ["LangevinMiddle", "Walkers"]


class Walkers(NamedTuple):
    """Replicas: positions ``x`` and velocities ``v (B, *event)``, and energy ``(B,)`` and force at ``x``."""

    x: Tensor
    v: Tensor
    energy: Tensor
    force: Tensor

    def select(self, index: Tensor | slice) -> "Walkers":
        """Some of them, in the order of ``index``."""
        return Walkers(*(part[index] for part in self))

    def scaled(self, factor: Tensor) -> "Walkers":
        """The same with velocities times ``factor (B,)``, as at another temperature."""
        return self._replace(v=self.v * per_sample(factor, self.v))


@dataclass(frozen=True, eq=False)
class LangevinMiddle:
    """Langevin dynamics by the leapfrog middle scheme: kick, half a drift, friction and noise, half a drift.

        v ← v + h f/m;   x ← x + h v/2;   v ← e^(−γh) v + √((1 − e^(−2γh)) T/m) ξ;   x ← x + h v/2

    Positions in a harmonic well have the exact variance at every stable ``timestep``. Where the force is zero because
    the energy is not finite, a walker drifts on.

    Args:
        energy: in kT at its own temperature, which is the unit of temperature here: at ``temperature=2.0`` a walker
            samples exp(−energy/2).
        masses: that broadcast against an event, in kT·time²/length²; ``field.reduced_masses`` of a force field.
        timestep: time of a step (ps).
        friction: γ, per time (1/ps).

    Source: Zhang, Liu, Yan, Tuckerman & Liu, J. Phys. Chem. A 123, 6056 (2019).
    """

    energy: Potential
    masses: Tensor | float = 1.0
    timestep: float = 0.001
    friction: float = 5.0

    def start(self, x: Tensor, temperature: Tensor | float = 1.0, generator: Generator = None) -> Walkers:
        """Walkers at ``x (B, *event)`` with the velocities of a ``temperature``, one for all or ``(B,)``."""
        require_energy(self.energy)
        noise = normal(*x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return Walkers(x, self._spread(temperature, x) * noise, *self.energy.energy_and_force(x))

    def run(
        self, walkers: Walkers, steps: int, temperature: Tensor | float = 1.0, generator: Generator = None
    ) -> Walkers:
        """``steps`` steps at a ``temperature``, one for all or ``(B,)``; one evaluation of the force a step."""
        x, v, energy, force = walkers
        h = self.timestep
        kept = torch.exp(torch.tensor(-self.friction * h, dtype=torch.float64))
        spread = self._spread(temperature, x) * float((1 - kept * kept).sqrt())
        kick = h / torch.as_tensor(self.masses, dtype=x.dtype, device=x.device)
        for _ in range(steps):
            v = v + kick * force
            x = x + 0.5 * h * v
            v = float(kept) * v + spread * normal(*x.shape, generator=generator, dtype=x.dtype, device=x.device)
            x = x + 0.5 * h * v
            energy, force = self.energy.energy_and_force(x)
        return Walkers(x, v, energy, force)

    def frames(
        self,
        walkers: Walkers,
        frames: int,
        stride: int,
        temperature: Tensor | float = 1.0,
        generator: Generator = None,
        tick: Callable[[], object] = lambda: None,
    ) -> tuple[Tensor, Walkers]:
        """Positions ``(B, frames, *event)`` every ``stride`` steps, and the walkers at the end."""
        seen = []
        for _ in range(frames):
            walkers = self.run(walkers, stride, temperature, generator)
            seen.append(walkers.x)
            tick()
        return torch.stack(seen, 1), walkers

    def kinetic_energy(self, walkers: Walkers) -> Tensor:
        """½ Σ m v² ``(B,)``: on average T/2 for each coordinate."""
        return 0.5 * (torch.as_tensor(self.masses).to(walkers.v) * walkers.v.square()).flatten(1).sum(1)

    def _spread(self, temperature: Tensor | float, x: Tensor) -> Tensor:
        """Standard deviation √(T/m) of a velocity."""
        t = torch.as_tensor(temperature, dtype=x.dtype, device=x.device)
        return (per_sample(t, x) / torch.as_tensor(self.masses, dtype=x.dtype, device=x.device)).sqrt()
