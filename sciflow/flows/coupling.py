"""Coupling layers whose dimensions may be angles or real numbers."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from zuko.nn import Residual

from ..manifolds import wrap
from ..rng import Generator, uniform
from .spline import EqualEndsSpline
from .transform import ModuleTransform

__all__ = ["SplineCoupling"]

Direction = Callable[[EqualEndsSpline, Tensor], tuple[Tensor, Tensor]]


class SplineCoupling(ModuleTransform):
    r"""Moves half of the dimensions by rational-quadratic splines that a network draws from the other half.

    An angle θ ∈ (−π, π] moves by a periodic spline that starts at a seam drawn at random, so that no angle is a fixed
    point of every layer: θ → S(θ + φ) − φ. A real number moves inside [−bound, bound] and stays as it is outside. The
    network sees sin and cos of θ and 2θ, hence a function on the circle. It starts as the identity.

    Args:
        circular: BoolTensor (D,), the dimensions that are angles.
        mask: BoolTensor (D,), the dimensions that move; both kinds of mask value must occur.
        bins: spline bins K.
        bound: half-width of the box in which real numbers move; give it in the units of the data (whitened: sigmas).
        width, depth: hidden units and residual blocks of the network.
        generator: draws the seams (the weights' initialisation draws from torch's default generator).

    Source: Durkan et al. 2019 (arXiv:1906.04032); Rezende et al. 2020 (arXiv:2002.02428).
    """

    moved: Tensor
    fixed: Tensor
    shift: Tensor

    def __init__(
        self,
        circular: Tensor,
        mask: Tensor,
        bins: int = 8,
        bound: float = 8.0,
        width: int = 96,
        depth: int = 2,
        generator: Generator = None,
    ) -> None:
        super().__init__()
        if not (mask.any() and not mask.all()):
            raise ValueError(f"mask moves {int(mask.sum())} of {len(mask)} dimensions: move some and keep some")
        self.bins, self.bound = bins, bound
        # Angles first, in both halves: then the two kinds are two slices.
        angles_first = torch.cat((circular.nonzero(), (~circular).nonzero())).flatten()
        self.register_buffer("moved", angles_first[mask[angles_first]])
        self.register_buffer("fixed", angles_first[~mask[angles_first]])
        self.angles_moved, self.angles_fixed = int((circular & mask).sum()), int((circular & ~mask).sum())
        self.register_buffer("shift", math.pi * (2 * uniform(self.angles_moved, 1, generator=generator) - 1))
        self.trunk = nn.Sequential(
            nn.Linear(len(self.fixed) + 3 * self.angles_fixed, width),
            *(Residual(nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)) for _ in range(depth)),
            nn.SiLU(),
        )
        # Widths, heights, inner slopes of all, and the slope at the seam of angles only.
        self.head = nn.Linear(width, (3 * bins - 1) * len(self.moved) + self.angles_moved)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def call_and_ladj(self, x: Float[Tensor, "*batch D"]) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        return self._move(x, EqualEndsSpline.call_and_ladj)

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        return self._move(y, EqualEndsSpline.inverse_and_ladj)

    def _move(self, x: Tensor, direction: Direction) -> tuple[Tensor, Tensor]:
        batch, x = x.shape[:-1], x.to(self.head.weight.dtype).reshape(-1, x.shape[-1])
        spline = self._spline(x.index_select(-1, self.fixed))
        # From here to the end of the spline: dimensions first, samples last, as the network's output is laid out.
        before = x.index_select(-1, self.moved).T.contiguous()
        angles, numbers = before.split((self.angles_moved, len(self.moved) - self.angles_moved))
        unit = torch.cat((wrap(angles + self.shift) / math.pi, numbers / self.bound)) / 2 + 0.5
        unit, ladj = direction(spline, unit.clamp(0, 1))
        after = 2 * unit - 1
        inside = numbers.abs() < self.bound
        angles = wrap(math.pi * after[: self.angles_moved] - self.shift)
        numbers = torch.where(inside, self.bound * after[self.angles_moved :], numbers)
        ladj = ladj[: self.angles_moved].sum(0) + (ladj[self.angles_moved :] * inside).sum(0)
        y = x.index_copy(-1, self.moved, torch.cat((angles, numbers)).T)
        return y.reshape(*batch, -1), ladj.reshape(batch)

    def _spline(self, fixed: Tensor) -> EqualEndsSpline:
        angles, numbers = fixed.split((self.angles_fixed, len(self.fixed) - self.angles_fixed), -1)
        features = (angles.sin(), angles.cos(), (2 * angles).sin(), (2 * angles).cos(), numbers)
        hidden = self.trunk(torch.cat(features, -1))
        raw = torch.addmm(self.head.bias[:, None], self.head.weight, hidden.T)
        size = self.bins * len(self.moved)
        widths, heights, slopes = raw.split((size, size, len(raw) - 2 * size))
        slopes = torch.cat((slopes, raw.new_zeros(3 * size - len(raw), raw.shape[-1])))
        return EqualEndsSpline(*(q.view(self.bins, len(self.moved), -1) for q in (widths, heights, slopes)))
