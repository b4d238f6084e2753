"""The flat torus: vectors of angles."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..rng import uniform
from .base import Manifold
from .pairs import over_sites
from .priors import Uniform

__all__ = ["FlatTorus", "wrap"]


def wrap(angle: Tensor) -> Tensor:
    """Bring angles [rad] to (−π, π]; exact (the identity) for those already there, with unit derivative."""
    return angle - 2 * math.pi * torch.ceil(angle / (2 * math.pi) - 0.5)


@dataclass(frozen=True)
class FlatTorus(Manifold[Tensor]):
    """d angles [rad] in (−π, π], each on its own unit circle. A half turn is taken in the positive direction."""

    d: int
    injectivity_radius = math.pi

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.d,)

    @property
    def dim(self) -> int:
        return self.d

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return wrap(x + u)

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return wrap(y - x)

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        return u

    def projx(self, x: Tensor) -> Tensor:
        return wrap(x)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def coordinates(self, x: Tensor) -> Tensor:
        return torch.cat([x.sin(), x.cos()], -1)

    def preimages(self, x: Tensor, u: Tensor, reach: float) -> tuple[Tensor, Tensor]:
        most = math.ceil(reach / (2 * math.pi) + 0.5)
        turns = torch.arange(-most, most + 1, dtype=u.dtype, device=u.device).reshape(-1, *(1,) * u.ndim)
        square = (u + 2 * math.pi * turns) ** 2
        return square, torch.zeros_like(square)

    def squared_distances(self, x: Tensor, y: Tensor) -> Tensor:
        return over_sites(lambda a, b: wrap(b.mT - a).square(), *(z.flatten(1)[..., None] for z in (x, y)))

    def cut_locus(self, x0: Tensor, x1: Tensor) -> Tensor:
        turn = wrap(x1 - x0).abs()
        return (math.pi - turn < 32 * torch.finfo(turn.dtype).eps).any(-1)

    def prior(self) -> Uniform:
        return Uniform(self, self.d * math.log(2 * math.pi), _turns)


def _turns(*shape: int, **kwargs: object) -> Tensor:
    return 2 * math.pi * uniform(*shape, **kwargs)  # type: ignore[arg-type]
