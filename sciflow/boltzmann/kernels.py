"""Markov kernels: moves that leave exp(−energy) as it is, or say by how much they do not."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple, TypeVar

import torch
from torch import Tensor

from ..manifolds import center
from ..rng import Generator, normal, uniform
from .potentials import Here, Potential, look, per_sample

__all__ = ["HMC", "MALA", "ULA", "Kernel", "Metropolis", "Move", "resized", "tune"]

K = TypeVar("K", bound="Kernel")


class Move(NamedTuple):
    """Points after one step or several.

    Args:
        x: ``(B, *event)``.
        here: energy and force at ``x``; give it to the next step with the same energy, which then saves an evaluation.
        logw: log-weight increment ``(B,)``, log[π(y) q(x|y) / (π(x) q(y|x))] with π = exp(−energy); 0 in detailed
            balance.
        accepted: share of the proposals that were accepted, ``(B,)``.
    """

    x: Tensor
    here: Here
    logw: Tensor
    accepted: Tensor

    @property
    def energy(self) -> Tensor:
        return self.here.energy


@dataclass(frozen=True, eq=False)
class Kernel(ABC):
    """A proposal q(y|x) with its ratio r = log[π(y) q(x|y) / (π(x) q(y|x))] for π = exp(−energy).

    A kernel in detailed balance accepts y with probability min(1, eʳ), and the weights stay; one that always accepts
    weighs by eʳ. A point of infinite energy is never reached; from one, any proposal of finite energy is accepted.

    With gradients on and an ``x`` that requires them, the move is differentiable in ``x`` (so must the energy be, twice
    for kernels that use forces); the decision to accept is not differentiated.

    Args:
        size: step size, one number or one per sample ``(B,)``.
        centred: moves keep the mean over the particles of ``x (B, *E, N, d)``, for densities without centre of mass.
    """

    size: float | Tensor
    centred: bool = field(default=False, kw_only=True)

    metropolised: ClassVar[bool] = True
    uses_force: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.size, Tensor) and not self.size > 0:
            raise ValueError(f"{type(self).__name__}: size={self.size} must be greater than 0")

    @abstractmethod
    def propose(self, x: Tensor, here: Here, energy: Potential, generator: Generator) -> tuple[Tensor, Here, Tensor]:
        """Proposal y, what is known of it, and the ratio r ``(B,)``."""

    def step(self, x: Tensor, energy: Potential, generator: Generator = None, here: Here | None = None) -> Move:
        """One move from ``x``; ``here`` is that of the move that led to ``x`` under the same energy."""
        here = here or self.look(x, energy)
        y, there, ratio = self.propose(x, here, energy, generator)
        if self.metropolised:
            moved = accept(ratio, generator)
            logw = torch.zeros_like(ratio)
        else:
            moved = here.energy.isfinite()  # a sample without weight stays where it is
            logw = torch.where(moved, ratio, 0)
        x = torch.where(per_sample(moved, x), y, x)
        return Move(x, there.where(moved, here), logw, moved.to(ratio.dtype))

    def run(
        self, x: Tensor, energy: Potential, steps: int, generator: Generator = None, here: Here | None = None
    ) -> Move:
        """Several steps; log-weights add up, ``accepted`` is the mean."""
        move = self.step(x, energy, generator, here)
        logw, accepted = move.logw, move.accepted
        for _ in range(steps - 1):
            move = self.step(move.x, energy, generator, move.here)
            logw, accepted = logw + move.logw, accepted + move.accepted
        return Move(move.x, move.here, logw, accepted / steps)

    def look(self, x: Tensor, energy: Potential) -> Here:
        """What this kernel needs to know of points."""
        return look(energy, x, self.uses_force)

    def noise(self, x: Tensor, generator: Generator) -> Tensor:
        """Standard normal, of the shape of ``x``."""
        drawn = normal(*x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return center(drawn) if self.centred else drawn

    def sizes(self, x: Tensor) -> Tensor:
        """Step sizes that broadcast against ``x``."""
        if isinstance(self.size, Tensor):
            return per_sample(self.size.to(x), x)
        return x.new_full((), self.size)


@dataclass(frozen=True, eq=False)
class Metropolis(Kernel):
    """Random walk: y = x + size·N(0, 1).

    Source: Metropolis et al. 1953, https://doi.org/10.1063/1.1699114.
    """

    uses_force: ClassVar[bool] = False

    def propose(self, x: Tensor, here: Here, energy: Potential, generator: Generator) -> tuple[Tensor, Here, Tensor]:
        y = x + self.sizes(x) * self.noise(x, generator)
        there = self.look(y, energy)
        return y, there, here.energy - there.energy


@dataclass(frozen=True, eq=False)
class ULA(Kernel):
    """Unadjusted Langevin: y = x + size·force + √(2·size)·N(0, 1), with the exact weight of its error.

    Source: Roberts, Tweedie 1996, https://doi.org/10.2307/3318418; the weight as in Nilmeier et al. 2011,
    arXiv:1105.2278.
    """

    metropolised: ClassVar[bool] = False

    def propose(self, x: Tensor, here: Here, energy: Potential, generator: Generator) -> tuple[Tensor, Here, Tensor]:
        return _langevin(self, x, here, energy, generator)


@dataclass(frozen=True, eq=False)
class MALA(Kernel):
    """Metropolis-adjusted Langevin: y = x + size·force + √(2·size)·N(0, 1), accepted or not.

    Source: Roberts, Tweedie 1996, https://doi.org/10.2307/3318418.
    """

    def propose(self, x: Tensor, here: Here, energy: Potential, generator: Generator) -> tuple[Tensor, Here, Tensor]:
        return _langevin(self, x, here, energy, generator)


@dataclass(frozen=True, eq=False)
class HMC(Kernel):
    """Hamiltonian Monte Carlo: ``leapfrogs`` steps of time ``size`` with unit masses and fresh momenta.

    Source: Duane et al. 1987, https://doi.org/10.1016/0370-2693(87)91197-X; Neal 2011, arXiv:1206.1901.
    """

    leapfrogs: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.leapfrogs < 1:
            raise ValueError(f"HMC: leapfrogs={self.leapfrogs} must be at least 1")

    def propose(self, x: Tensor, here: Here, energy: Potential, generator: Generator) -> tuple[Tensor, Here, Tensor]:
        size, momentum = self.sizes(x), self.noise(x, generator)
        y, p, there = x, momentum, here
        for _ in range(self.leapfrogs):
            assert there.force is not None
            p = p + size / 2 * there.force
            y = y + size * p
            there = self.look(y, energy)
            assert there.force is not None
            p = p + size / 2 * there.force
        return y, there, here.energy - there.energy + (square(momentum) - square(p)) / 2


def tune(
    kernel: K, x: Tensor, energy: Potential, steps: int, acceptance: float = 0.65, generator: Generator = None
) -> tuple[K, Tensor]:
    """The kernel with a step size at which this share of its proposals is accepted, and where the points ``x`` came to.

    Robbins–Monro on the logarithm of the size with the batch's mean acceptance. Moves then depend on earlier ones:
    measure with the tuned kernel, not while it is tuned. HMC does best at 0.65, MALA at 0.57, a random walk in many
    dimensions at 0.23.

    Raises:
        ValueError: for a kernel that accepts everything; tune MALA and use its size.

    Source: Andrieu, Thoms 2008, https://doi.org/10.1007/s11222-008-9110-y.
    """
    if not kernel.metropolised:
        raise ValueError(f"{type(kernel).__name__} accepts every move: tune MALA and use its size")
    here = None
    for n in range(steps):
        move = kernel.step(x, energy, generator, here)
        x, here = move.x, move.here
        kernel = resized(kernel, 2 * (n + 1) ** -0.6 * (move.accepted.mean() - acceptance))
    return kernel, x


def resized(kernel: K, log_factor: Tensor) -> K:
    """The kernel with its step size times exp(log_factor)."""
    return replace(
        kernel, size=torch.as_tensor(kernel.size, dtype=torch.float64).to(log_factor.device) * log_factor.exp()
    )


@torch.no_grad()
def accept(ratio: Tensor, generator: Generator) -> Tensor:
    """Where a move of log-ratio ``ratio (B, …)`` is accepted, with probability min(1, exp ratio); not where it is NaN,
    from one infinite energy to another."""
    u = uniform(*ratio.shape, generator=generator, dtype=ratio.dtype, device=ratio.device)
    # One draw in 2²⁴ (of float32) is zero, below any probability: it stands for the middle of what is rounded to it.
    return u.clamp(min=torch.finfo(u.dtype).eps / 4).log() < ratio


def _langevin(
    kernel: Kernel, x: Tensor, here: Here, energy: Potential, generator: Generator
) -> tuple[Tensor, Here, Tensor]:
    assert here.force is not None
    size, noise = kernel.sizes(x), kernel.noise(x, generator)
    y = x + size * here.force + (2 * size).sqrt() * noise
    there = kernel.look(y, energy)
    assert there.force is not None
    # The noise of the way back is −(noise + pull): half the difference of their squares, without cancellation.
    pull = (size / 2).sqrt() * (here.force + there.force)
    return y, there, here.energy - there.energy - (pull * (noise + pull / 2)).flatten(1).sum(-1)


def square(v: Tensor) -> Tensor:
    """|v|² ``(B,)`` of each sample."""
    return v.flatten(1).square().sum(-1)
