"""The geodesic path to a vertex of the simplex, in the Fisher–Rao metric."""

import math

import torch
from torch import Tensor

from ..manifolds import Simplex, scale
from ..manifolds.arcs import arc_over_sine
from ..rng import Generator
from .categorical import floored_ahead, over_sites, vertices
from .geodesic import GeodesicPath
from .path import PathSample
from .schedules import Linear, Schedule

__all__ = ["FisherPath"]


class FisherPath:
    """Great circles of ``√p`` from uniform noise on :class:`Simplex` to the vertex of a letter, ``GeodesicPath``.

    ``θ_k = arccos √x_k`` falls as ``(1 − κ) θ_k(x0)``. The field of a posterior p is the mean of the logarithms,
    ``κ̇/(1 − κ) Σ p_k log_x(e_k) = κ̇/(1 − κ) (w − ⟨w, √x⟩√x)`` with ``w_k = 2 p_k θ_k/sin θ_k``, in O(k).

    ``OptimalTransport(path.cost)`` couples sources to tokens; ``OptimalTransport(GeodesicCost(path.manifold))`` does
    the same with vertices, and costs k times as much.

    Source: Davis et al. 2024 (arXiv:2405.14664); Cheng et al. 2024 (arXiv:2405.16441).
    """

    discrete = False

    def __init__(self, k: int, schedule: Schedule = Linear()) -> None:
        self.k = k
        self.manifold = Simplex(k)
        self.prior = self.manifold.prior()
        self.schedule = schedule

    def sample(self, x0: Tensor, x1: Tensor, t: Tensor, generator: Generator = None) -> PathSample:
        """Point and velocity at times ``t (B,)`` of the geodesic from ``x0 (B, L, k)`` to letters ``x1``."""
        end = vertices(x1, self.k, x0.dtype)
        along = GeodesicPath(self.manifold, self.schedule).sample(x0, end, t)
        return PathSample(along.x_t, along.u_t, x0, x1, t)

    def velocity(self, posterior: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The posterior's mean of the velocities; 1 − κ is floored at t = 1, as that of :class:`GeodesicPath`."""
        return scale(self.schedule.dkappa(t) / floored_ahead(self.schedule, t), self._mean_log(posterior, x_t))

    def advance(self, posterior: Tensor, x_t: Tensor, t: Tensor, s: Tensor, generator: Generator = None) -> Tensor:
        """``exp_x`` of the fraction ``(κ_s − κ_t)/(1 − κ_t)`` of the mean logarithm: exact for a certain posterior.

        For others of order 1. The logarithms of the simplex at one of its points are a convex set: no step leaves it.
        """
        part = 1 - self.schedule.ahead(s) / floored_ahead(self.schedule, t)
        return self.manifold.projx(self.manifold.expmap(x_t, scale(part, self._mean_log(posterior, x_t))))

    def log_conditional(self, x_t: Tensor, t: Tensor) -> Tensor:
        """``−log vol − (k − 1) log(1 − κ) + (k − 2) log(sinc θ_0/sinc θ_t)``, ``θ_0 = θ_t/(1 − κ) ≤ π/2``.

        Outside of that, in place of −∞, it falls by 1 with each rounding of distance (as ``LinearSimplexPath``).
        """
        ahead = floored_ahead(self.schedule, t)
        angle = self._angles(x_t)
        first = scale(1 / ahead, angle)
        beyond = scale(ahead, (first - math.pi / 2).clamp_min(0))
        sincs = torch.sinc(first.clamp_max(math.pi / 2) / math.pi).log() - torch.sinc(angle / math.pi).log()
        inside = -self.prior.log_volume - (self.k - 1) * ahead.log()
        return over_sites(inside, x_t) + (self.k - 2) * sincs - beyond / torch.finfo(x_t.dtype).eps

    def cost(self, x0: Tensor, x1: Tensor) -> Tensor:
        """Squared geodesic distances ``(n, m)`` of sources ``x0 (n, L, k)`` to letters ``x1 (m, L)``, summed over L."""
        return (2 * self._angles(x0)).square().flatten(1) @ vertices(x1, self.k, x0.dtype).flatten(1).mT

    def _angles(self, x: Tensor) -> Tensor:
        """``arccos √x_k``, half the distance to every vertex."""
        return torch.atan2((1 - x).clamp_min(0).sqrt(), x.clamp_min(0).sqrt())

    def _mean_log(self, posterior: Tensor, x: Tensor) -> Tensor:
        root = self.manifold.coordinates(x)
        return self.manifold.proju(x, 2 * posterior * arc_over_sine((1 - x).clamp_min(0), root))
