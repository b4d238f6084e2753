"""Bounded convex domains of flat space, with walls that reflect."""

from abc import abstractmethod

import torch
from torch import Tensor

from .base import Manifold, scale

__all__ = ["ConvexDomain"]


class ConvexDomain(Manifold[Tensor]):
    """A bounded convex domain with the metric of flat space: reflected flow matching.

    Straight paths between points of a convex domain never leave it, so training is that of flat space. A learned field
    does not vanish at the walls to the last digit, so sampling follows the reflected equation
    ``dx = v dt + dL``, where L pushes inwards, at the wall alone and no more than needed (Skorokhod 1961). Euler and
    Midpoint move by ``expmap``, along billiard paths. RK4 and Dopri5 step in flat space, where they read the field at
    the nearest point of the domain, and end there (``projx``). Both are the Skorokhod solution: to first order while
    a trajectory is pressed against a wall, to the order of the step elsewhere. A density follows ``div v`` alone: it is
    that of the flow as long as the field does not press against a wall, where mass would pile up.

    Tangents are flat vectors; ``transp_along`` carries them through the reflections of the path.

    Source: Xie et al. 2024, arXiv:2405.16577; on reflected processes Lou, Ermon 2023, arXiv:2304.04740.
    """

    injectivity_radius = 0.0

    @abstractmethod
    def billiard(self, x: Tensor, w: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """End of the billiard path that leaves ``x`` with velocity ``w``, after unit time; ``u`` carried along it.

        A path that ends on a wall, to rounding, has not yet been reflected there.
        """

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return self.billiard(x, u, u)[0]

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        return y - x

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        return self.billiard(x, w, u)[1]

    def geodesic(self, x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The straight line; ``t`` in [0, 1], where it meets no wall."""
        velocity = x1 - x0
        return self.projx(x0 + scale(t, velocity)), velocity

    def cut_locus(self, x0: Tensor, x1: Tensor) -> Tensor:
        return torch.zeros_like((x0 - x1)[..., 0], dtype=torch.bool)
