"""The simplex of probabilities with the metric of flat space."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..rng import uniform
from .domain import ConvexDomain
from .priors import Uniform

__all__ = ["FlatSimplex"]

# Measured: paths shorter than the simplex meet at most 13 faces at k = 5. At k = 20, where many faces meet in a corner,
# steps of 0.1 meet 12 at most from inside, and up to 90 beside a vertex.
BOUNCES = 64


@dataclass(frozen=True)
class FlatSimplex(ConvexDomain):
    """Probabilities ``(…, k)`` of k categories with the metric ``Σ dp_i²`` of the hyperplane ``Σ p_i = 1``.

    Billiard paths go from face to face, ``w ↦ w − 2 ⟨w, n_i⟩ n_i`` with the normal ``n_i ∝ e_i − 1/k``; what is
    left after ``BOUNCES`` of them is projected, which takes a long path, or a corner of many faces.

    The Riemannian volume is √k times Lebesgue measure ``dp_1 ⋯ dp_{k−1}``: add ½ log k to the log-density of a point
    for the usual one.
    """

    k: int

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.k,)

    @property
    def dim(self) -> int:
        return self.k - 1

    def billiard(self, x: Tensor, w: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        x, w, u = torch.broadcast_tensors(x, w, u)
        for _ in range(BOUNCES):
            outside = x + w < -32 * torch.finfo(x.dtype).eps
            leaves = outside.any(-1, keepdim=True)
            if not leaves.any():
                break
            times = torch.where(outside, x.clamp_min(0) / torch.where(outside, -w, 1.0), torch.inf)
            time, face = times.min(-1, keepdim=True)
            time = torch.where(leaves, time, 0.0)
            x = x + time * w
            w = torch.where(leaves, (1 - time) * self._reflect(w, face), w)
            u = torch.where(leaves, self._reflect(u, face), u)
        return self.projx(x + w), u

    def _reflect(self, u: Tensor, face: Tensor) -> Tensor:
        share = 2 * u.gather(-1, face) / (self.k - 1)
        return (u + share).scatter_add(-1, face, -self.k * share)

    def projx(self, x: Tensor) -> Tensor:
        """The nearest point, ``max(x − τ, 0)`` with the τ that makes it sum to one (Held, Wolfe, Crowder 1974)."""
        ordered = x.sort(-1, descending=True).values
        top = ordered[..., :1]  # τ moves with it: far points keep their precision
        excess = ((ordered - top).cumsum(-1) - 1) / torch.arange(1, self.k + 1, dtype=x.dtype, device=x.device)
        support = (ordered - top > excess).sum(-1, keepdim=True).clamp_min(1)  # none where x is not a number
        return (x - top - excess.gather(-1, support - 1)).clamp_min(0)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u - u.mean(-1, keepdim=True)

    def prior(self) -> Uniform:
        """Uniform in the volume ``√k/(k−1)!``: ``Dirichlet(1, …, 1)``."""
        return Uniform(self, math.log(self.k) / 2 - math.lgamma(self.k), _spacings)


def _spacings(*shape: int, **kwargs: object) -> Tensor:
    waits = -torch.log1p(-uniform(*shape, **kwargs))  # type: ignore[arg-type]
    return waits / waits.sum(-1, keepdim=True)
