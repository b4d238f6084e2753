"""Geodesic paths: Riemannian flow matching."""

from typing import Any

import torch
from torch import Tensor

from ..manifolds import Manifold, Product, scale
from ..rng import Generator
from .path import PathSample
from .schedules import Linear, Schedule

__all__ = ["GeodesicPath"]


class GeodesicPath:
    """``x_t = exp_{x0}(κ(t) log_{x0} x1)``, with velocity ``u_t = κ̇ log_{x_t}(x1) / (1 − κ)``.

    The velocity is computed as κ̇ times the geodesic's own, the same vector without the 0/0 at t = 1. On a product
    each factor may keep its own schedule, given as a dict; ``factors`` are the paths of the factors.

    Source: Chen, Lipman 2023 (arXiv 2302.03660).
    """

    def __init__(self, manifold: Manifold[Any], schedule: Schedule | dict[str, Schedule] = Linear()) -> None:
        self.manifold = manifold
        self.schedule = schedule
        names = list(manifold.factors) if isinstance(manifold, Product) else []
        if isinstance(schedule, dict) and set(schedule) != set(names):
            raise ValueError(f"schedules {list(schedule)} do not match {manifold}: give one schedule a factor")
        self.factors: dict[str, GeodesicPath] = {}
        if isinstance(manifold, Product):
            each = schedule if isinstance(schedule, dict) else dict.fromkeys(names, schedule)
            self.factors = {name: GeodesicPath(manifold.factors[name], each[name]) for name in names}

    def sample(self, x0: Any, x1: Any, t: Tensor, generator: Generator = None) -> PathSample:
        """Point and velocity at times ``t (B,)``; the path is fixed by its ends, so ``generator`` goes unused."""
        if isinstance(self.schedule, dict):
            parts = {name: path.sample(x0[name], x1[name], t) for name, path in self.factors.items()}
            x_t = {name: part.x_t for name, part in parts.items()}
            return PathSample(x_t, {name: part.u_t for name, part in parts.items()}, x0, x1, t)
        x_t, along = self.manifold.geodesic(x0, x1, self.schedule.kappa(t))
        return PathSample(x_t, scale(self.schedule.dkappa(t), along), x0, x1, t)

    def velocity(self, x1_hat: Any, x_t: Any, t: Tensor) -> Any:
        """``κ̇ log_{x_t}(x1_hat) / (1 − κ)`` at times ``t (B,)``.

        Singular at t = 1 unless ``x1_hat = x_t``; 1 − κ is floored there at the square of the dtype's epsilon, which
        keeps it finite but not meaningful: follow an endpoint-predicting field by steps that do not ask at 1.
        """
        if isinstance(self.schedule, dict):
            return {name: path.velocity(x1_hat[name], x_t[name], t) for name, path in self.factors.items()}
        ahead = self.schedule.ahead(t).clamp_min(torch.finfo(t.dtype).eps ** 2)
        return scale(self.schedule.dkappa(t) / ahead, self.manifold.logmap(x_t, x1_hat))
