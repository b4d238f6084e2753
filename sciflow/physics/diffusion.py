"""Diffusion samplers of analytic targets: trained by energies alone."""

from dataclasses import dataclass, field, replace

from torch import Tensor

from ..boltzmann.diffusion_sampler import DiffusionSampler
from ..boltzmann.flow_function import DiffusionGFlowNet
from ..boltzmann.losses import Loss, SubTrajectoryBalance, TrajectoryBalance
from ..boltzmann.targets import Target
from ..errors import InputError, require_above
from ..rng import Generator
from ..training import FlowModel, Model
from .architectures import VectorFlow

__all__ = ["DiffusionVectors"]


@dataclass
class DiffusionVectors:
    """A stochastic differential equation from a normal law to a target over vectors, trained by the balance of paths
    or of their pieces (Vargas, Grathwohl & Doucet 2023, arXiv:2302.13834; Zhang et al. 2023, arXiv:2310.02679).

    Of the data it sees only how far from the origin they reach.

    Attributes:
        steps: of a path, each of which asks for a force.
        width, depth: of the network.
        reach: standard deviation of the prior, as a multiple of the root mean square of the widest dimension.
        balance: ``trajectory``, or ``subtrajectory`` with a learnt flow function.
        trajectory, subtrajectory: settings of the two losses.
    """

    steps: int = 32
    width: int = 64
    depth: int = 2
    reach: float = 1.0
    balance: str = "trajectory"
    trajectory: TrajectoryBalance = field(default_factory=TrajectoryBalance)
    subtrajectory: SubTrajectoryBalance = field(default_factory=SubTrajectoryBalance)

    def __post_init__(self) -> None:
        if self.balance not in ("trajectory", "subtrajectory"):
            raise InputError(f"model.balance={self.balance!r} is not a balance: use trajectory or subtrajectory")
        require_above(0, "model.", self, "steps", "width", "depth", "reach")

    def build(self, target: Target, frames: Tensor, seed: int = 0) -> Model:
        if target.event_shape != (target.dof,):
            raise InputError(f"model: states of {type(target).__name__} are not vectors")
        scale = self.reach * float(frames.double().square().mean(0).sqrt().max())
        sampler: type[DiffusionSampler]
        loss: Loss
        if self.balance == "subtrajectory":
            sampler, loss = DiffusionGFlowNet, replace(self.subtrajectory)
        else:
            sampler, loss = DiffusionSampler, replace(self.trajectory)
        return FlowModel(
            sampler(target.event_shape[0], target, self.steps, scale, self.width, self.depth), target, loss
        )

    def baseline(self, target: Target, frames: Tensor, n: int, generator: Generator = None) -> Tensor:
        """As of `VectorFlow`."""
        return VectorFlow().baseline(target, frames, n, generator)
