"""Monotonic rational-quadratic splines, laid out for speed: bins first."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

__all__ = ["EqualEndsSpline"]

_SMALLEST_BIN = 1e-3
_SMALLEST_SLOPE = 1e-3
_SLOPE_OF_ZERO = math.log(math.expm1(1 - _SMALLEST_SLOPE))


class EqualEndsSpline:
    r"""Increasing rational-quadratic spline of [0, 1] onto itself whose slope is the same at both ends.

    In a bin of width w and height h with s = h/w, end slopes d₀, d₁ and ξ = (x − x₀)/w,

    .. math:: y = y_0 + h \frac{s ξ^2 + d_0 ξ(1-ξ)}{s + (d_0 + d_1 - 2s) ξ(1-ξ)}.

    Equal ends close a circle smoothly, and a free end slope fixed at one joins identity tails: one spline serves both.
    Unlike `zuko.transforms.MonotonicRQSTransform` the bins are the *first* dimension, which makes every reduction over
    them contiguous: several times faster on a CPU.

    Args:
        widths: unconstrained bin widths (K, *shape).
        heights: unconstrained bin heights (K, *shape).
        slopes: unconstrained slopes (K, *shape) at knots 1 … K; that of knot K is also that of knot 0. Zero gives one.

    Source: Durkan et al. 2019 (arXiv:1906.04032); Rezende et al. 2020 (arXiv:2002.02428) for the circle.
    """

    def __init__(
        self,
        widths: Float[Tensor, "K *shape"],
        heights: Float[Tensor, "K *shape"],
        slopes: Float[Tensor, "K *shape"],
    ) -> None:
        self.widths = widths.softmax(0)
        self.heights = heights.softmax(0)
        self.slopes = slopes

    def call_and_ladj(self, x: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """y in [0, 1] and log dy/dx, both of the shape of x in [0, 1]."""
        edges = _left_edges(self.widths)
        k = _bin(edges, x)
        x0, y0 = _take(edges, k), _take(_left_edges(self.heights), k)
        w, h, s, d0, d1 = self._pieces(k)
        xi = ((x - x0) / w).clamp(0, 1)  # outside by rounding only
        return _evaluate(xi, y0, h, s, d0, d1)

    def inverse_and_ladj(self, y: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
        """x in [0, 1] and log dx/dy, both of the shape of y in [0, 1]."""
        edges = _left_edges(self.heights)
        k = _bin(edges, y)
        y0, x0 = _take(edges, k), _take(_left_edges(self.widths), k)
        w, h, s, d0, d1 = self._pieces(k)
        rise = y - y0
        bend = rise * (d0 + d1 - 2 * s)
        a, b, c = h * (s - d0) + bend, h * d0 - bend, s * rise
        root = (b * b + 4 * a * c).clamp(min=torch.finfo(y.dtype).tiny).sqrt()  # tiny by rounding only
        xi = (2 * c / (b + root)).clamp(0, 1)
        return x0 + w * xi, -_evaluate(xi, y0, h, s, d0, d1)[1]

    def _pieces(self, k: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        w, h = (_SMALLEST_BIN + (1 - _SMALLEST_BIN * len(p)) * _take(p, k) for p in (self.widths, self.heights))
        raw = self.slopes.gather(0, torch.cat(((k - 1) % len(self.slopes), k)))
        d0, d1 = _SMALLEST_SLOPE + F.softplus(raw + _SLOPE_OF_ZERO)
        return w, h, h / w, d0, d1


def _evaluate(xi: Tensor, y0: Tensor, h: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    rest = 1 - xi
    both = xi * rest
    xi2 = xi * xi
    denominator = s + (d0 + d1 - 2 * s) * both
    y = y0 + h * (s * xi2 + d0 * both) / denominator
    numerator = d1 * xi2 + 2 * s * both + d0 * rest * rest
    return y, (numerator * (s / denominator) ** 2).log()


def _left_edges(bins: Tensor) -> Tensor:
    # The cumulative sum as a product with a triangle of ones, which BLAS does, forward and backward. As the bins add up
    # to one, the smallest bin can be added to the matrix instead of to every bin.
    k = len(bins)
    below = torch.ones(k, k, dtype=bins.dtype, device=bins.device).tril(-1)
    smallest = _SMALLEST_BIN * torch.arange(k, dtype=bins.dtype, device=bins.device)[:, None]
    return (((1 - _SMALLEST_BIN * k) * below + smallest) @ bins.flatten(1)).view_as(bins)


def _bin(edges: Tensor, x: Tensor) -> Tensor:
    return (x >= edges[1:]).sum(0, keepdim=True)


def _take(values: Tensor, k: Tensor) -> Tensor:
    return values.gather(0, k).squeeze(0)
