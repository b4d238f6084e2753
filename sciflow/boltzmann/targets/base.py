"""Analytic Boltzmann targets in reduced units."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from ...errors import InputError
from ...rng import Generator, normal

__all__ = ["ExactTarget", "Target"]


@dataclass(frozen=True)
class Target(ABC):
    """Density ∝ exp(−energy(x)) with energy = potential / temperature.

    ``potential(x)`` of ``x (B, *event_shape)`` is ``(B,)`` in units of kT at temperature 1. An energy that is not a
    number counts as +∞: such a point has no weight.
    """

    temperature: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"temperature = {self.temperature}: set it above 0")

    @abstractmethod
    def potential(self, x: Tensor) -> Tensor: ...

    @property
    @abstractmethod
    def event_shape(self) -> tuple[int, ...]: ...

    @property
    def log_z(self) -> float | None:
        """ln ∫ exp(−energy) at this temperature, where it is known; the measure is stated by the target."""
        return None

    @property
    def dof(self) -> int:
        """Dimensions of the space that the density lives on."""
        return torch.Size(self.event_shape).numel()

    def start(self, n: int, generator: Generator = None) -> Tensor:
        """Points ``(n, *event_shape)`` in float64 where Markov chains may begin."""
        return normal(n, *self.event_shape, generator=generator, dtype=torch.float64)

    def energy(self, x: Tensor) -> Tensor:
        energy = self.potential(x) / self.temperature
        return torch.where(energy.isnan(), torch.inf, energy)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energy ``(B,)`` and force −∂energy/∂x, zero where the energy is not finite."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = self.energy(x)
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        return energy.detach(), -torch.where(gradient.isfinite(), gradient, 0)

    def states(self, x: Tensor) -> dict[str, Tensor]:
        """Named observables between 0 and 1 of ``x``, ``(B,)`` each, whose means say how states are populated."""
        return {}

    def free_energy(self, x1: Tensor) -> Tensor | None:
        """−ln p of the first coordinate at the values ``x1``, up to a constant, where it is known."""
        return None

    def at(self, temperature: float) -> Self:
        return replace(self, temperature=temperature)


@dataclass(frozen=True)
class ExactTarget(Target):
    """A target whose law can be drawn from, without a Markov chain."""

    @abstractmethod
    def sample(self, n: int, generator: Generator = None) -> Tensor:
        """Independent draws ``(n, *event_shape)`` in float64."""
