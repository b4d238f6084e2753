"""The generators of vectors: spline couplings, alone and in turns with Metropolis steps."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..boltzmann import Metropolis
from ..boltzmann.losses import Losses, PathKL
from ..boltzmann.stochastic import StochasticFlow
from ..boltzmann.targets import Target
from ..errors import InputError, require_above
from ..flows import Composed, MixedBase, NormalizingFlow, Whiten, spline_couplings
from ..rng import Generator
from ..training import FlowModel, Model

__all__ = ["StochasticVectorFlow", "VectorFlow"]

_BOX, _MARGIN = 5.0, 1.1  # half-width in standard deviations at least, and beyond the farthest frame


@dataclass
class VectorFlow:
    """Rational-quadratic spline couplings on whitened vectors, the identity outside of a box that holds all training
    data (Durkan et al. 2019, arXiv:1906.04032).

    Attributes:
        couplings, width, bins, depth: of the flow.
        loss, losses: what it is trained by, and the settings of each.
    """

    couplings: int = 6
    width: int = 32
    bins: int = 16
    depth: int = 2
    loss: str = "forward_kl"
    losses: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "couplings", "width", "depth")
        require_above(1, "model.", self, "bins")
        self.losses.named(self.loss)

    def build(self, target: Target, frames: Tensor, seed: int = 0) -> Model:
        circular, whiten, bound = _box(target, frames)
        couplings = spline_couplings(
            circular, self.couplings, self.width, self.bins, bound=bound, depth=self.depth, seed=seed
        )
        flow = NormalizingFlow(MixedBase(circular), Composed(whiten, couplings))
        return FlowModel(flow, target, self.losses.named(self.loss))

    def baseline(self, target: Target, frames: Tensor, n: int, generator: Generator = None) -> Tensor:
        """Draws of the normal law with the mean and the covariance of the data: what no network is needed for."""
        circular = _numbers(target)
        base = MixedBase(circular).sample(n, generator=generator, dtype=torch.float64)
        return Whiten.fit(frames, circular).inverse_and_ladj(base)[0]


@dataclass
class StochasticVectorFlow:
    """Spline couplings on whitened vectors and Metropolis steps in turns, with exact path weights (Wu, Köhler & Noé
    2020, arXiv:2002.06707).

    Attributes:
        blocks: of two couplings each, followed by Metropolis steps under a mixture of base and target, from the one to
            the other.
        steps, size: of the Metropolis walk in a block, in standard deviations of the data.
        width, bins, depth: of the couplings, see `VectorFlow`.
        loss: of paths; ``loss.share`` is that of the energy, the rest is of the data.
    """

    blocks: int = 3
    steps: int = 10
    size: float = 0.1
    width: int = 64
    bins: int = 8
    depth: int = 1
    loss: PathKL = field(default_factory=PathKL)

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "blocks", "steps", "size", "width", "depth")
        require_above(1, "model.", self, "bins")

    def build(self, target: Target, frames: Tensor, seed: int = 0) -> Model:
        circular, whiten, bound = _box(target, frames)
        couplings = spline_couplings(
            circular, 2 * self.blocks, self.width, self.bins, bound=bound, depth=self.depth, seed=seed
        ).transforms
        blocks = [Composed(*couplings[2 * k : 2 * k + 2]) for k in range(self.blocks)]
        inside = Whitened(target, whiten)
        walk = StochasticFlow.between(MixedBase(circular), inside, blocks, Metropolis(self.size), self.steps)
        return FlowModel(StochasticFlow(walk.base, [whiten, *walk.layers]), target, replace(self.loss))

    def baseline(self, target: Target, frames: Tensor, n: int, generator: Generator = None) -> Tensor:
        """As of `VectorFlow`."""
        return VectorFlow().baseline(target, frames, n, generator)


@dataclass(frozen=True)
class Whitened:
    """A target in whitened coordinates, up to the constant that the volume changes by."""

    target: Target
    whiten: Whiten

    def energy(self, y: Tensor) -> Tensor:
        return self.target.energy(self.whiten.inverse_and_ladj(y)[0])

    def energy_and_force(self, y: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            energy = self.energy(y)
            (gradient,) = torch.autograd.grad(energy.sum(), y)
        return energy.detach(), -torch.where(gradient.isfinite(), gradient, 0)


def _box(target: Target, frames: Tensor) -> tuple[Tensor, Whiten, float]:
    """Which dimensions are angles (none), their whitening, and a box around the whitened frames, with a margin."""
    circular = _numbers(target)
    whiten = Whiten.fit(frames, circular)
    return circular, whiten, max(_BOX, _MARGIN * float(whiten(frames).abs().max()))


def _numbers(target: Target) -> Tensor:
    """None of a vector's dimensions is an angle. Raises InputError for other states, such as unit quaternions."""
    if target.event_shape != (target.dof,) or target.dof < 2:
        raise InputError(f"model: states of {type(target).__name__} are not vectors of 2 or more numbers")
    return torch.zeros(target.event_shape[0], dtype=torch.bool)
