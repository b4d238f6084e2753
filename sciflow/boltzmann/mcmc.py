"""Markov chains that a flow helps: global proposals, latent coordinates, and how far apart their draws are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..flows import NormalizingFlow
from ..rng import Generator, uniform
from .kernels import Kernel, Move, accept
from .potentials import Here, Potential, look, per_sample

__all__ = ["ISIR", "Chains", "IndependentMH", "LocalGlobal", "NeuTra", "Pulled", "autocorrelation_time", "markov_chain"]


class Transition(Protocol):
    """A Markov transition that leaves exp(−energy) invariant; states keep the dtype of ``x``, whatever a flow's."""

    def step(self, x: Tensor, energy: Potential, generator: Generator = None, here: Here | None = None) -> Move:
        """One transition from ``x``; ``here`` is that of this transition's last move under this energy."""


class _Flow(Protocol):
    def sample(self, n: int, generator: Generator = None) -> tuple[Tensor, Tensor]: ...

    def log_prob(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class IndependentMH:
    """Metropolis–Hastings whose proposals are draws y of a flow: accepted with min(1, w(y)/w(x)), w = exp(−energy)/q.

    Source: Hastings 1970, https://doi.org/10.1093/biomet/57.1.97; with flows Albergo, Kanwar, Shanahan 2019,
    arXiv:1904.12072.
    """

    flow: _Flow

    @torch.no_grad()
    def step(self, x: Tensor, energy: Potential, generator: Generator = None, here: Here | None = None) -> Move:
        here = here or _weighed(energy, x, self.flow.log_prob(x))
        y, logq = self.flow.sample(len(x), generator=generator)
        y = y.to(x.dtype)
        there = _weighed(energy, y, logq)
        ratio = _log_weight(there) - _log_weight(here)
        moved = accept(ratio, generator)
        x = torch.where(per_sample(moved, x), y, x)
        return Move(x, there.where(moved, here), torch.zeros_like(ratio), moved.to(ratio.dtype))


@dataclass(frozen=True)
class ISIR:
    """Iterated sampling importance resampling: the next state is drawn by weight from the last one and fresh draws.

    A transition costs ``candidates`` draws and energies for each chain, all at once; with one of them it is Barker's.

    Source: Andrieu, Doucet, Holenstein 2010, https://doi.org/10.1111/j.1467-9868.2009.00736.x; with flows Samsonov et
    al. 2022, arXiv:2111.02702.
    """

    flow: _Flow
    candidates: int = 10

    @torch.no_grad()
    def step(self, x: Tensor, energy: Potential, generator: Generator = None, here: Here | None = None) -> Move:
        n, k = len(x), self.candidates
        here = here or _weighed(energy, x, self.flow.log_prob(x))
        own = generator if generator is None or isinstance(generator, torch.Generator) else _repeated(generator, k)
        y, logq = self.flow.sample(n * k, generator=own)
        y = y.to(x.dtype)
        there = _weighed(energy, y, logq)
        logw = torch.cat((_log_weight(here)[:, None], _log_weight(there).reshape(n, k)), 1)
        # From among states without any weight the last one stays.
        steps = torch.softmax(logw, 1).nan_to_num(nan=0).cumsum(1)
        u = uniform(n, 1, generator=generator, dtype=steps.dtype, device=x.device) * steps[:, -1:]
        chosen = torch.searchsorted(steps, u, right=True)[:, 0].clamp(max=k) * (steps[:, -1] > 0)
        moved = chosen > 0
        index = torch.arange(n, device=x.device) * k + (chosen - 1).clamp(min=0)
        x = torch.where(per_sample(moved, x), y[index], x)
        return Move(x, there.select(index).where(moved, here), torch.zeros_like(logw[:, 0]), moved.to(logw.dtype))


@dataclass(frozen=True)
class Pulled:
    """The energy in the latent coordinates of a flow: u(z) = energy(x(z)) − log|det ∂x/∂z|.

    Of any flow this is a density; of a perfect one it is the base. Forces go through the flow by autograd, and are the
    energy's own before it: it need not be differentiable by autograd.
    """

    flow: NormalizingFlow
    target: Potential

    def energy(self, z: Tensor) -> Tensor:
        x, ladj = self.flow.transform.inv.call_and_ladj(z)
        return self.target.energy(x) - ladj

    def energy_and_force(self, z: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            x, ladj = self.flow.transform.inv.call_and_ladj(z)
            energy, force = self.target.energy_and_force(x.detach())
            (pulled,) = torch.autograd.grad((force * x).sum() + ladj.sum(), z)
        return energy - ladj.detach(), torch.where(pulled.isfinite(), pulled, 0)


@dataclass(frozen=True)
class NeuTra:
    """A kernel in the latent space of a flow, where a well-trained one has made the target round.

    Args:
        flow: its transform gives the coordinates; its base is not used.
        kernel: in units of the latents; a step size of a tenth to one.
        moves: of the kernel in one transition, between one map there and one back.

    Source: Hoffman et al. 2019, arXiv:1903.03704.
    """

    flow: NormalizingFlow
    kernel: Kernel
    moves: int = 1

    def __post_init__(self) -> None:
        _check_invariant(self.kernel)

    def step(self, x: Tensor, energy: Potential, generator: Generator = None, here: Here | None = None) -> Move:
        with torch.no_grad():
            move = self.kernel.run(self.flow.transform(x), Pulled(self.flow, energy), self.moves, generator)
            y, ladj = self.flow.transform.inv.call_and_ladj(move.x)
            return Move(y.to(x.dtype), Here(move.energy + ladj), move.logw, move.accepted)


@dataclass(frozen=True)
class LocalGlobal:
    """Local moves that explore a mode and a global one that changes it, in turns.

    ``accepted`` is that of the global moves, whose rarity is what a chain suffers from.

    Source: Gabrié, Rotskoff, Vanden-Eijnden 2022, arXiv:2105.12603.
    """

    local: Kernel
    jump: IndependentMH | ISIR
    moves: int = 10

    def __post_init__(self) -> None:
        _check_invariant(self.local)

    def step(self, x: Tensor, energy: Potential, generator: Generator = None, here: Here | None = None) -> Move:
        with torch.no_grad():
            move = self.local.run(x, energy, self.moves, generator)
            return self.jump.step(move.x, energy, generator)


class Chains(NamedTuple):
    """Draws of B chains side by side.

    Args:
        x: ``(draws, B, *event)``.
        energy: ``(draws, B)``.
        accepted: share of the proposals accepted ``(B,)``, burn-in left out.
    """

    x: Tensor
    energy: Tensor
    accepted: Tensor


@torch.no_grad()
def markov_chain(
    transition: Transition,
    x: Tensor,
    energy: Potential,
    draws: int,
    *,
    burn_in: int = 0,
    thin: int = 1,
    generator: Generator = None,
) -> Chains:
    """Draws of the chains that start at ``x (B, *event)``: every ``thin``-th state after ``burn_in`` transitions.

    Raises:
        ValueError: for a kernel that does not leave the target invariant.
    """
    if isinstance(transition, Kernel):
        _check_invariant(transition)
    xs, energies, accepted, here = [], [], torch.zeros(len(x), device=x.device), None
    for n in range(burn_in + draws * thin):
        move = transition.step(x, energy, generator, here)
        x, here = move.x, move.here
        if n >= burn_in:
            accepted = accepted + move.accepted
            if (n - burn_in) % thin == thin - 1:
                xs.append(x)
                energies.append(move.energy)
    return Chains(torch.stack(xs), torch.stack(energies), accepted / (draws * thin))


def autocorrelation_time(f: Tensor, window: float = 5.0) -> float:
    """Integrated autocorrelation time τ = 1 + 2 Σ ρ(t) of ``f (draws, B)`` over all chains, in draws.

    draws·B/τ draws that are independent would know the mean of f as well. The sum ends at the first t ≥ window·τ(t);
    chains that have not met (a τ near the number of draws) are longer than it says.

    Source: Sokal 1997, https://doi.org/10.1007/978-1-4899-0319-8_6.
    """
    f = f.double() - f.double().mean()
    n = len(f)
    spectrum = torch.fft.rfft(f, 2 * n, 0).abs().square()
    covariance = torch.fft.irfft(spectrum, 2 * n, 0)[:n].mean(1) / torch.arange(n, 0, -1, device=f.device)
    tau = 2 * (covariance / covariance[0]).cumsum(0) - 1
    enough = torch.arange(n, device=f.device) >= window * tau
    return float(tau[int(enough.int().argmax())] if enough.any() else tau[-1])


def _check_invariant(kernel: Kernel) -> None:
    if not kernel.metropolised:
        raise ValueError(f"{type(kernel).__name__} does not leave its target invariant: use MALA")


def _weighed(energy: Potential, x: Tensor, logq: Tensor) -> Here:
    """What a global move knows of a point: its energy, and log q as the energy of the other end."""
    return Here(look(energy, x, force=False).energy, None, (Here(-logq),))


def _log_weight(here: Here) -> Tensor:
    logw = here.ends[0].energy.double() - here.energy.double()
    return torch.where(logw.isnan(), -torch.inf, logw)


def _repeated(generators: Sequence[torch.Generator], times: int) -> list[Any]:
    return [generator for generator in generators for _ in range(times)]
