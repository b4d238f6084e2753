"""What a Markov kernel needs of a target, and the targets between a proposal and an energy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Interpolated", "LogDensity", "Potential"]


class Potential(Protocol):
    """Density ∝ exp(−energy(x)); every ``Energy`` is one."""

    def energy(self, x: Tensor) -> Tensor:
        """Energy ``(B,)`` in kT; +∞ outside of the support."""

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energy ``(B,)`` and force ``−∂energy/∂x`` with the shape of ``x``, both detached."""


@dataclass(frozen=True)
class LogDensity:
    """A log-density as a potential: energy = −log_prob(x), forces by autograd.

    Args:
        log_prob: log-densities ``(B,)`` of ``x (B, *event)``, normalised or not; differentiable.
    """

    log_prob: Callable[[Tensor], Tensor]

    def energy(self, x: Tensor) -> Tensor:
        energy = -self.log_prob(x)
        return torch.where(energy.isnan(), torch.inf, energy)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = self.energy(x)
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        return energy.detach(), -torch.where(gradient.isfinite(), gradient, 0)


@dataclass(frozen=True)
class Interpolated:
    """A point of the geometric path between two densities: energy = (1−β)·start + β·end.

    Args:
        start, end: potentials at β = 0 and β = 1.
        beta: between 0 and 1; at the ends the other potential is not evaluated.
    """

    start: Potential
    end: Potential
    beta: float

    def energy(self, x: Tensor) -> Tensor:
        if self.beta in (0, 1):
            return (self.end if self.beta else self.start).energy(x)
        return (1 - self.beta) * self.start.energy(x) + self.beta * self.end.energy(x)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.beta in (0, 1):
            return (self.end if self.beta else self.start).energy_and_force(x)
        (u0, f0), (u1, f1) = self.start.energy_and_force(x), self.end.energy_and_force(x)
        return (1 - self.beta) * u0 + self.beta * u1, (1 - self.beta) * f0 + self.beta * f1
