"""Coupling layers whose dimensions may be angles or real numbers."""

import math
from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from zuko.nn import Residual

from ..manifolds import wrap
from ..rng import Generator, uniform
from .bump import SmoothBump
from .spline import EqualEndsSpline
from .transform import ModuleTransform

__all__ = ["Coupling", "SmoothCoupling", "SplineCoupling"]


class Coupling(ModuleTransform):
    r"""Moves half of the dimensions by univariate maps that a network draws from the other half.

    An angle θ ∈ (−π, π] moves round the circle, from a seam drawn at random: θ → S(θ + φ) − φ. A real number moves
    inside [−bound, bound] and stays as it is outside. The network sees sin and cos of θ and 2θ, hence a function on the
    circle. It starts at zero parameters, the identity.

    Args:
        circular: BoolTensor (D,), the dimensions that are angles.
        mask: BoolTensor (D,), the dimensions that move; both kinds of mask value must occur.
        bins: pieces K of the univariate map.
        bound: half-width of the box in which real numbers move; give it in the units of the data (whitened: sigmas).
        width, depth: hidden units and residual blocks of the network.
        generator: draws the seams (the weights' initialisation draws from torch's default generator).
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
        self.head = nn.Linear(width, self.n_parameters())
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @abstractmethod
    def n_parameters(self) -> int:
        """Numbers that the network returns for one sample."""

    @abstractmethod
    def bijection(self, raw: Tensor) -> EqualEndsSpline | SmoothBump:
        """The univariate maps of the moved dimensions, angles first, from the network's output (n_parameters, B)."""

    def call_and_ladj(self, x: Float[Tensor, "*batch D"]) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        return self._move(x, inverse=False)

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        return self._move(y, inverse=True)

    def _move(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        batch, x = x.shape[:-1], x.to(self.head.weight.dtype).reshape(-1, x.shape[-1])
        bijection = self.bijection(self._network(x.index_select(-1, self.fixed)))
        # From here to the end of the map: dimensions first, samples last, as the network's output is laid out.
        before = x.index_select(-1, self.moved).T.contiguous()
        angles, numbers = before.split((self.angles_moved, len(self.moved) - self.angles_moved))
        unit = torch.cat((wrap(angles + self.shift) / math.pi, numbers / self.bound)) / 2 + 0.5
        unit, ladj = (bijection.inverse_and_ladj if inverse else bijection.call_and_ladj)(unit.clamp(0, 1))
        after = 2 * unit - 1
        inside = numbers.abs() < self.bound
        angles = wrap(math.pi * after[: self.angles_moved] - self.shift)
        numbers = torch.where(inside, self.bound * after[self.angles_moved :], numbers)
        ladj = ladj[: self.angles_moved].sum(0) + (ladj[self.angles_moved :] * inside).sum(0)
        y = x.index_copy(-1, self.moved, torch.cat((angles, numbers)).T)
        return y.reshape(*batch, x.shape[-1]), ladj.reshape(batch)

    def _network(self, fixed: Tensor) -> Tensor:
        angles, numbers = fixed.split((self.angles_fixed, len(self.fixed) - self.angles_fixed), -1)
        features = (angles.sin(), angles.cos(), (2 * angles).sin(), (2 * angles).cos(), numbers)
        hidden = self.trunk(torch.cat(features, -1))
        return torch.addmm(self.head.bias[:, None], self.head.weight, hidden.T)


class SplineCoupling(Coupling):
    """A coupling by rational-quadratic splines: once differentiable, closed inverse.

    Source: Durkan et al. 2019 (arXiv:1906.04032); Rezende et al. 2020 (arXiv:2002.02428).
    """

    def n_parameters(self) -> int:
        # Widths, heights, inner slopes of all, and the slope at the seam of angles only.
        return (3 * self.bins - 1) * len(self.moved) + self.angles_moved

    def bijection(self, raw: Tensor) -> EqualEndsSpline:
        size = self.bins * len(self.moved)
        widths, heights, slopes = raw.split((size, size, len(raw) - 2 * size))
        slopes = torch.cat((slopes, raw.new_zeros(3 * size - len(raw), raw.shape[-1])))
        return EqualEndsSpline(*(q.view(self.bins, len(self.moved), -1) for q in (widths, heights, slopes)))


class SmoothCoupling(Coupling):
    """A coupling by mixtures of bumps: every derivative is continuous, the inverse is a search for roots.

    For forces that are trained (force matching) or integrated (molecular dynamics in the flow's own energy).

    Source: Köhler, Krämer & Noé 2021 (arXiv:2110.00351).
    """

    amplitude: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        amplitude = SmoothBump.amplitude_of(self.bins, self.angles_moved, len(self.moved) - self.angles_moved)
        self.register_buffer("amplitude", amplitude, persistent=False)

    def n_parameters(self) -> int:
        return 3 * self.bins * len(self.moved)

    def bijection(self, raw: Tensor) -> SmoothBump:
        weights, places, widths = raw.view(3, self.bins, len(self.moved), -1)
        return SmoothBump(weights, places, widths, self.angles_moved, self.amplitude)
