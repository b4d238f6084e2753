"""Products of manifolds, whose states are dicts of tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..rng import Generator
from .base import Manifold
from .euclidean import Euclidean
from .priors import ProductPrior
from .so3 import SO3

__all__ = ["SE3", "Product"]

Point = dict[str, Tensor]


class Product(Manifold[Point]):
    """Cartesian product of named factors; a state maps each name to a tensor ``(B, *E, *point_shape)``, one E for all.

    The metric is the sum over the factors, so that ``dist² = Σ_k dist_k²``, and shapes are dicts of shapes.
    """

    def __init__(self, **factors: Manifold[Tensor]) -> None:
        nested = [name for name, factor in factors.items() if isinstance(factor, Product)]
        if nested or not factors:
            raise ValueError(f"a Product takes one or more plain manifolds: give the factors of {nested} directly")
        self.factors: Mapping[str, Manifold[Tensor]] = factors
        self.has_logmap = all(factor.has_logmap for factor in factors.values())
        self.smooth = all(factor.smooth for factor in factors.values())
        self.injectivity_radius = min(factor.injectivity_radius for factor in factors.values())

    def __repr__(self) -> str:
        return f"Product({', '.join(f'{name}={factor!r}' for name, factor in self.factors.items())})"

    @property
    def point_shape(self) -> dict[str, tuple[int, ...]]:
        return {name: factor.point_shape for name, factor in self.factors.items()}

    @property
    def tangent_shape(self) -> dict[str, tuple[int, ...]]:
        return {name: factor.tangent_shape for name, factor in self.factors.items()}

    @property
    def dim(self) -> int:
        return sum(factor.dim for factor in self.factors.values())

    def expmap(self, x: Point, u: Point) -> Point:
        return {name: factor.expmap(x[name], u[name]) for name, factor in self.factors.items()}

    def logmap(self, x: Point, y: Point) -> Point:
        return {name: factor.logmap(x[name], y[name]) for name, factor in self.factors.items()}

    def geodesic(self, x0: Point, x1: Point, t: Tensor) -> tuple[Point, Point]:
        parts = {name: factor.geodesic(x0[name], x1[name], t) for name, factor in self.factors.items()}
        return {name: x_t for name, (x_t, _) in parts.items()}, {name: u_t for name, (_, u_t) in parts.items()}

    def transp_along(self, x: Point, w: Point, u: Point) -> Point:
        return {name: factor.transp_along(x[name], w[name], u[name]) for name, factor in self.factors.items()}

    def projx(self, x: Point) -> Point:
        return {name: factor.projx(x[name]) for name, factor in self.factors.items()}

    def proju(self, x: Point, u: Point) -> Point:
        return {name: factor.proju(x[name], u[name]) for name, factor in self.factors.items()}

    def tangent(self, x: Point, w: Point) -> Point:
        return {name: factor.tangent(x[name], w[name]) for name, factor in self.factors.items()}

    def embed(self, x: Point, u: Point) -> Point:
        return {name: factor.embed(x[name], u[name]) for name, factor in self.factors.items()}

    def inner(self, x: Point, u: Point, v: Point) -> Tensor:
        terms = [factor.inner(x[name], u[name], v[name]) for name, factor in self.factors.items()]
        return torch.stack(terms).sum(0)

    def squared_distances(self, x: Point, y: Point) -> Tensor:
        terms = [factor.squared_distances(x[name], y[name]) for name, factor in self.factors.items()]
        return torch.stack(terms).sum(0)

    def dist(self, x: Point, y: Point) -> Tensor:
        square = torch.stack([factor.dist(x[name], y[name]).square() for name, factor in self.factors.items()]).sum(0)
        apart = square != 0
        return torch.where(apart, torch.where(apart, square, 1.0).sqrt(), 0.0)

    def coordinates(self, x: Point) -> Point:
        return {name: factor.coordinates(x[name]) for name, factor in self.factors.items()}

    def log_volume_rate(self, x: Point, u: Point) -> Tensor | float:
        return sum(factor.log_volume_rate(x[name], u[name]) for name, factor in self.factors.items())

    def cut_locus(self, x0: Point, x1: Point) -> Tensor:
        return torch.stack([factor.cut_locus(x0[name], x1[name]) for name, factor in self.factors.items()]).any(0)

    def prior(self) -> ProductPrior:
        return ProductPrior({name: factor.prior() for name, factor in self.factors.items()})

    def randn_tangent(self, x: Point, generator: Generator = None) -> Point:
        return {name: factor.randn_tangent(x[name], generator) for name, factor in self.factors.items()}


def SE3() -> Product:
    """Rigid frames, as the product of translations and rotations."""
    return Product(translation=Euclidean(3), rotation=SO3())
