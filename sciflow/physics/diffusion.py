"""Diffusion samplers of analytic targets: trained by energies alone."""

from dataclasses import dataclass, field, replace

from torch import Tensor

from ..boltzmann.diffusion_sampler import DiffusionSampler
from ..boltzmann.losses import TrajectoryBalance
from ..boltzmann.targets import Target
from ..errors import InputError, require_above
from ..rng import Generator
from ..training import FlowModel, Model
from .architectures import VectorFlow

__all__ = ["DiffusionVectors"]


@dataclass
class DiffusionVectors:
    """A stochastic differential equation from a normal law to a target over vectors, trained by trajectory balance
    (Vargas, Grathwohl & Doucet 2023, arXiv:2302.13834; Zhang et al. 2023, arXiv:2310.02679).

    Of the data it sees only how far from the origin they reach.

    Attributes:
        steps: of a path, each of which asks for a force.
        width, depth: of the network.
        reach: standard deviation of the prior, as a multiple of the root mean square of the widest dimension.
        loss: settings of trajectory balance.
    """

    steps: int = 32
    width: int = 64
    depth: int = 2
    reach: float = 1.0
    loss: TrajectoryBalance = field(default_factory=TrajectoryBalance)

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "steps", "width", "depth", "reach")

    def build(self, target: Target, frames: Tensor, seed: int = 0) -> Model:
        if target.event_shape != (target.dof,):
            raise InputError(f"model: states of {type(target).__name__} are not vectors")
        scale = self.reach * float(frames.double().square().mean(0).sqrt().max())
        sampler = DiffusionSampler(target.event_shape[0], target, self.steps, scale, self.width, self.depth)
        return FlowModel(sampler, target, replace(self.loss))

    def baseline(self, target: Target, frames: Tensor, n: int, generator: Generator = None) -> Tensor:
        """As of `VectorFlow`."""
        return VectorFlow().baseline(target, frames, n, generator)
