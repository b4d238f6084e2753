"""Rotations of three-dimensional space."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .arcs import arc_over_sine, cos_sinc
from .base import Manifold
from .priors import Uniform
from .quaternion import conjugate, multiply, rotate

__all__ = ["SO3"]


@dataclass(frozen=True)
class SO3(Manifold[Tensor]):
    """SO(3) as unit quaternions ``(…, 4)``, w first, where q and −q are one point.

    Tangents are body-frame rotation vectors ``(…, 3)`` [rad]: ``exp_q(u) = q·(cos|u|/2, sin(|u|/2) u/|u|)``. The metric
    is their dot product, so that the distance is the rotation angle in [0, π] and the volume is 8π². The logarithm
    takes 2·atan2(|v|, |w|) of ``q⁻¹·r = ±(w, v)``, exact to rounding up to and at π.
    """

    injectivity_radius = math.pi

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (4,)

    @property
    def tangent_shape(self) -> tuple[int, ...]:
        return (3,)

    @property
    def dim(self) -> int:
        return 3

    def expmap(self, x: Tensor, u: Tensor) -> Tensor:
        return multiply(x, _exp(u))

    def logmap(self, x: Tensor, y: Tensor) -> Tensor:
        cosine = (x * y).sum(-1, keepdim=True)
        nearer = torch.where(cosine < 0, -y, y)
        v = multiply(conjugate(x), nearer - x)[..., 1:]  # of the difference: close rotations keep their precision
        return 2 * arc_over_sine((v * v).sum(-1, keepdim=True), cosine.abs()) * v

    def transp_along(self, x: Tensor, w: Tensor, u: Tensor) -> Tensor:
        return rotate(_exp(-w / 2), u)

    def projx(self, x: Tensor) -> Tensor:
        return x / x.norm(dim=-1, keepdim=True)

    def proju(self, x: Tensor, u: Tensor) -> Tensor:
        return u

    def embed(self, x: Tensor, u: Tensor) -> Tensor:
        return multiply(x, torch.cat([torch.zeros_like(u[..., :1]), u / 2], dim=-1))

    def coordinates(self, x: Tensor) -> Tensor:
        i, j = torch.triu_indices(4, 4, device=x.device)
        return x[..., i] * x[..., j]  # even in q

    def cut_locus(self, x0: Tensor, x1: Tensor) -> Tensor:
        return (x0 * x1).sum(-1).abs() < 16 * torch.finfo(x0.dtype).eps

    def prior(self) -> Uniform:
        return Uniform(self, math.log(8 * math.pi**2))


def _exp(u: Tensor) -> Tensor:
    cos, sinc = cos_sinc((u * u).sum(-1, keepdim=True) / 4)
    return torch.cat([cos, sinc * u / 2], dim=-1)
