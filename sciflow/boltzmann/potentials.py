"""What a Markov kernel needs of a target, and the targets between a proposal and an energy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..errors import InputError

__all__ = ["Here", "Interpolated", "LogDensity", "Potential", "look"]


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
            if not energy.requires_grad:  # a uniform density
                return energy, torch.zeros_like(x)
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        return energy.detach(), -torch.where(gradient.isfinite(), gradient, 0)


class Here(NamedTuple):
    """What is known of points: energy ``(B,)``, force where it is used, and both ends of an interpolation."""

    energy: Tensor
    force: Tensor | None = None
    ends: "tuple[Here, ...]" = ()

    def select(self, index: Tensor | slice) -> "Here":
        """What is known of some of the points."""
        force = None if self.force is None else self.force[index]
        return Here(self.energy[index], force, tuple(end.select(index) for end in self.ends))

    @staticmethod
    def cat(parts: "Sequence[Here]") -> "Here":
        """What is known of the points of all parts."""
        forces = [part.force for part in parts if part.force is not None]
        ends = tuple(Here.cat(end) for end in zip(*(part.ends for part in parts), strict=True))
        return Here(torch.cat([part.energy for part in parts]), torch.cat(forces) if forces else None, ends)

    def where(self, mask: Tensor, other: "Here") -> "Here":
        """This where ``mask (B,)`` is true, ``other`` elsewhere."""
        force = None
        if self.force is not None and other.force is not None:
            force = torch.where(per_sample(mask, self.force), self.force, other.force)
        ends = tuple(a.where(mask, b) for a, b in zip(self.ends, other.ends, strict=True))
        return Here(torch.where(mask, self.energy, other.energy), force, ends)


def require_energy(energy: object) -> None:
    """Refuse what is no ``Potential``, such as a plain function."""
    if not callable(getattr(energy, "energy", None)):
        raise ValueError(
            f"{getattr(energy, '__name__', type(energy).__name__)} has no method energy(x): "
            "wrap the function of a log-density in LogDensity"
        )


def look(energy: Potential, x: Tensor, force: bool = True) -> Here:
    """Energy, and force if asked for, at ``x``; differentiable with gradients on and an ``x`` that requires them.

    An energy that autograd does not know, such as OpenMM's, is differentiable once, by its force.

    Raises:
        InputError: where the derivative of such a force is wanted.
        ValueError: for an energy that is none.
    """
    require_energy(energy)
    if isinstance(energy, Interpolated):
        return energy.mix(look(energy.start, x, force), look(energy.end, x, force))
    if not (torch.is_grad_enabled() and x.requires_grad):
        return Here(*energy.energy_and_force(x)) if force else Here(energy.energy(x))
    x = _finite_gradients(x)
    u = energy.energy(x)
    if u.requires_grad:
        if not force:
            return Here(u)
        (gradient,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        return Here(u, -gradient)
    u, known = energy.energy_and_force(x.detach())
    if force and known.any():
        raise InputError(f"forces of {type(energy).__name__} have no derivative: train with Metropolis moves")
    along = (known * x).flatten(1).sum(1)  # its derivative is the force
    return Here(u - along + along.detach(), known if force else None)


def _finite_gradients(x: Tensor) -> Tensor:
    """The same, but derivatives that are not finite count as zero.

    A rejected proposal, deep in a wall, has a gradient of zero, which its own derivative of ∞ would make NaN.
    """
    x = x.view_as(x)
    x.register_hook(lambda g: g if g is None else torch.where(g.isfinite(), g, 0))
    return x


def per_sample(values: Tensor, x: Tensor) -> Tensor:
    """``values (B,)``, or one for all, with the axes that let it broadcast against ``x (B, *event)``."""
    return values if values.ndim == 0 else values.reshape(-1, *(1,) * (x.ndim - 1))


@dataclass(frozen=True)
class Interpolated:
    """A point of the geometric path between two densities: energy = (1−β)·start + β·end.

    Args:
        start, end: potentials at β = 0 and β = 1.
        beta: between 0 and 1; at 0 and 1 the other end does not count, even where its energy is infinite.
    """

    start: Potential
    end: Potential
    beta: float

    def energy(self, x: Tensor) -> Tensor:
        if self.beta in (0, 1):
            return (self.end if self.beta else self.start).energy(x)
        return self._between(self.start.energy(x), self.end.energy(x))

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        (u0, f0), (u1, f1) = self.start.energy_and_force(x), self.end.energy_and_force(x)
        return self._between(u0, u1), self._between(f0, f1)

    def mix(self, start: Here, end: Here) -> Here:
        """What is known here of points from what is known of them at both ends, without an evaluation."""
        force = None if start.force is None or end.force is None else self._between(start.force, end.force)
        return Here(self._between(start.energy, end.energy), force, (start, end))

    def _between(self, start: Tensor, end: Tensor) -> Tensor:
        if self.beta in (0, 1):
            return end if self.beta else start
        return (1 - self.beta) * start + self.beta * end
