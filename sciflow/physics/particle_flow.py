"""The generator of clusters: equivariant flow matching, and Markov moves after it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..boltzmann import HMC, Metropolis
from ..boltzmann.stochastic import StochasticLayer
from ..boltzmann.targets import Particles, Target
from ..errors import InputError, require_above
from ..manifolds import Euclidean, Normal
from ..nets import EGNNField, Field
from ..objectives import FlowMatching, Late
from ..paths import Alignment, Coupling, GeodesicPath, Independent
from ..rng import Generator
from ..training import FieldModel, Model, Progress, Samples
from ..training.models import Coupler

__all__ = ["ParticleFlow"]


@dataclass
class ParticleFlow:
    """Equivariant flow matching of clusters of like particles, from sources turned and relabelled towards their data
    (Klein, Krämer & Noé 2023, arXiv:2306.15030; Satorras et al. 2021, arXiv:2102.09844).

    Attributes:
        width, depth: of the graph network.
        lateness: of the training times 1 − (1 − u)^lateness; above 1 they crowd near the data.
        relax: rounds of Markov moves under the target after the flow, see `Relaxed`; 0 for the flow alone.
        size: step size of those moves, in units of length.
    """

    width: int = 32
    depth: int = 3
    lateness: float = 1.5
    relax: int = 0
    size: float = 0.025

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "width", "depth", "lateness", "size")
        require_above(-1, "model.", self, "relax")

    def build(self, target: Target, frames: Tensor, seed: int = 0) -> Model:
        if not isinstance(target, Particles):
            raise InputError(f"model=particle_flow: {type(target).__name__} is no cluster of like particles")
        n, d = target.space
        if d not in (2, 3):
            raise InputError(f"model=particle_flow: particles in {d} dimensions, where 2 and 3 are known")
        network = EGNNField(width=self.width, depth=self.depth)
        flow = FieldModel(
            field=network if d == 3 else Planar(network),
            path=GeodesicPath(Euclidean(d, centered=True)),
            coupling=Aligned(Alignment(permutable=[range(n)])),
            objective=FlowMatching(time=Late(self.lateness)),
            prior=Normal(d, scale=float(frames.std()), centered=True),
            event_shape=(n,),
            clock=Late(self.lateness),
        )
        return Relaxed(flow, moves(target, self.relax, self.size)) if self.relax else flow

    def baseline(self, target: Target, frames: Tensor, n: int, generator: Generator = None) -> Tensor:
        """Draws of the prior after the same Markov moves: what no network is needed for."""
        scale = float(frames.std())
        x = Normal(frames.shape[-1], scale, centered=True).sample(
            n, frames.shape[-2], generator=generator, dtype=torch.float64
        )
        layers = moves(target, self.relax, self.size)
        with Progress("floor", len(layers)) as progress:
            for layer in layers:
                x, _ = layer(x, generator)
                progress.advance()
        return x


def moves(target: Target, rounds: int, size: float) -> list[StochasticLayer]:
    """``rounds`` of ten steps of a random walk and one proposal of Hamiltonian Monte Carlo under the target.

    The walk takes apart what lies on top of each other, where forces lead nowhere.
    """
    centred = isinstance(target, Particles)
    walk, flight = Metropolis(size, centred=centred), HMC(size, centred=centred, leapfrogs=8)
    return [StochasticLayer(walk, target, 10), StochasticLayer(flight, target, 1)] * rounds


class Relaxed(Model):
    """A model followed by Markov moves under its target: the last layers of a stochastic normalizing flow.

    Samples come nearer to the target, and their weights stay what they were before the moves: ``logq`` is that of the
    whole path. Read the result beside the same moves from draws of the prior.

    Source: Wu, Köhler & Noé 2020 (arXiv:2002.06707).
    """

    def __init__(self, model: Model, layers: Sequence[StochasticLayer]) -> None:
        super().__init__()
        self.model = model
        self.layers = tuple(layers)

    @property
    def coupler(self) -> Coupler | None:  # type: ignore[override]
        return self.model.coupler

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        return self.model.loss(batch, generator)

    def check(self, likelihood: bool = False, drawing: bool = True, **sampler: Any) -> None:
        super().check(likelihood)
        self.model.check(False, drawing, **sampler)

    @torch.no_grad()
    def sample(
        self, n: int, cond: dict[str, Tensor] | None = None, generator: Generator = None, **sampler: Any
    ) -> Samples:
        drawn = self.model.sample(n, cond, generator, **sampler)
        assert isinstance(drawn.x, Tensor)
        x, logq = drawn.x.double(), None if drawn.logq is None else drawn.logq.double()
        for layer in self.layers:
            x, back = layer(x, generator)
            logq = None if logq is None else logq - back
        return Samples(x, logq, drawn.nfe)


@dataclass(frozen=True)
class Aligned(Coupling):
    """Pairs as they come, each source turned and relabelled to its data: for a prior and a field with that symmetry."""

    alignment: Alignment

    def __call__(self, x0: Tensor, x1: Tensor, cond: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        return Independent()(x0, x1, cond)

    def align(self, x0: Tensor, x1: Tensor) -> Tensor:
        return self.alignment.align(x0, x1)


class Planar(Field):
    """A field of points in space, for points of the plane: they lie in it, and move along it."""

    def __init__(self, space: Field) -> None:
        super().__init__(Euclidean(2, centered=True))
        self.space = space

    def velocity(self, x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:  # type: ignore[override]  # tensors only
        lifted = torch.nn.functional.pad(x, (0, 1))
        moved = self.space.velocity(lifted, t, **cond)
        assert isinstance(moved, Tensor)
        return moved[..., :2]
