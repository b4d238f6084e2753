"""Monotone maps without a kink: mixtures of the integrals of bump functions, on the circle and on the interval."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["SmoothBump"]

_SMALLEST_SLOPE = 0.01
_SMALLEST_WIDTH = 0.05
_NEAR = 1e-3  # exp(−1/_NEAR) is zero in float64, and so are all derivatives of the ramp
_STEPS = 20  # 18 sufficed for 10⁵ roots of maps with parameters of any size, 10 for tame ones


class SmoothBump:
    r"""C^∞ increasing map of [0, 1] onto itself, or of the circle of circumference 1 once round itself.

    With the ramp ρ(u) = exp(−1/u) of C^∞ and S = ρ(u) / (ρ(u) + ρ(1−u)), which rises from 0 to 1 with every derivative
    zero at both ends, a bump of weight w, start a and width s adds w S((x−a)/s):

    .. math:: f(x) = x + A \sum_k \Big( w_k S\big(\tfrac{x-a_k}{s_k}\big)
                                        - \tfrac1K S\big(\tfrac{x-a^0_k}{s^0}\big) \Big).

    The K bumps (a⁰, s⁰) at rest are spread evenly; f moves them, and A is such that all of them together leave a slope
    of at least 0.01, a positive density. Zero parameters give the identity. On [0, 1] the map joins identity tails with
    every derivative; on the circle a ramp rises once a turn, so that no point is a seam.

    There is no closed inverse: a root is found by Newton's method inside a bracket, bisected where it leaves it, in a
    fixed number of steps. Two more steps carry gradients: a step of Newton's doubles the number of correct derivatives,
    by y and by the parameters, so those of the inverse and its ladj are exact up to the third, without differentiating
    through the search.

    Args:
        weights, places, widths: unconstrained weights, positions and widths of the bumps, each (K, D, \*batch).
        angles: the first rows of D that are circles; the others are intervals.
        amplitude: A of each row, from `SmoothBump.amplitude_of`.

    Source: Köhler, Krämer & Noé 2021 (arXiv:2110.00351).
    """

    def __init__(
        self,
        weights: Float[Tensor, "K D *batch"],
        places: Float[Tensor, "K D *batch"],
        widths: Float[Tensor, "K D *batch"],
        angles: int,
        amplitude: Float[Tensor, " D"],
    ) -> None:
        rest = weights.new_zeros(*weights.shape[:2], *(1 for _ in weights.shape[2:]))
        self.bumps = _Bumps(weights, places, widths, angles)
        self.resting = _Bumps(rest, rest, rest, angles)
        self.angles = angles
        self.amplitude = amplitude.view(rest.shape[1:])

    @staticmethod
    def amplitude_of(bins: int, angles: int, numbers: int) -> Float[Tensor, " D"]:
        """Largest A of each row that keeps the slope above 0.01, whatever the parameters."""
        rest = torch.zeros(bins, 2, 1, dtype=torch.float64)
        slope = _Bumps(rest, rest, rest, 1)(torch.linspace(0, 1, 4097, dtype=torch.float64).expand(2, -1))[1]
        circle, interval = ((1 - _SMALLEST_SLOPE) / slope.amax(-1)).tolist()
        return torch.tensor([circle] * angles + [interval] * numbers)

    def call_and_ladj(
        self, x: Float[Tensor, "D *batch"]
    ) -> tuple[Float[Tensor, "D *batch"], Float[Tensor, "D *batch"]]:
        """f(x) and log f′(x), of the shape of x; intervals in [0, 1], circles on the line that covers them."""
        y, slope = self._evaluate(x)
        return y, slope.log()

    def inverse_and_ladj(
        self, y: Float[Tensor, "D *batch"]
    ) -> tuple[Float[Tensor, "D *batch"], Float[Tensor, "D *batch"]]:
        """f⁻¹(y) and the logarithm of its slope, of the shape of y."""
        with torch.no_grad():
            x = self._root(y)
        for _ in range(2):
            value, slope = self._evaluate(x)
            x = x - (value - y) / slope
        return x, -self._evaluate(x)[1].log()

    def _evaluate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        (rise, slope), (rest, rest_slope) = self.bumps(x), self.resting(x)
        return x + self.amplitude * (rise - rest), 1 + self.amplitude * (slope - rest_slope)

    def _root(self, y: Tensor) -> Tensor:
        """f moves no point of a circle by a turn or more, and none out of its interval."""
        low = torch.cat((y[: self.angles] - 1, torch.zeros_like(y[self.angles :])))
        high = torch.cat((y[: self.angles] + 1, torch.ones_like(y[self.angles :])))
        x, last, before = y, high - low, high - low
        for _ in range(_STEPS):
            value, slope = self._evaluate(x)
            error = value - y
            low, high = torch.where(error > 0, low, x), torch.where(error > 0, x, high)
            newton = x - error / slope
            # As in rtsafe of Numerical Recipes: a step that does not halve the one before it may go round for ever.
            safe = (newton > low) & (newton < high) & ((newton - x).abs() < before / 2)
            step = torch.where(safe, newton, (low + high) / 2) - x
            step = torch.where(error.abs() <= 32 * torch.finfo(y.dtype).eps, 0.0, step)
            x, last, before = x + step, step.abs(), last
        return x


class _Bumps:
    """K weighted bumps on each row."""

    def __init__(self, weights: Tensor, places: Tensor, widths: Tensor, angles: int) -> None:
        k = len(weights)
        grid = (torch.arange(k, dtype=weights.dtype, device=weights.device) + 0.5) / k
        grid = grid.view(-1, *(1 for _ in weights.shape[1:]))
        self.weights = weights.softmax(0)
        self.widths = _SMALLEST_WIDTH + (1 - _SMALLEST_WIDTH) * (widths + math.log(3 / k)).sigmoid()
        # Anywhere on the circle, but nowhere off the interval.
        centres = grid + places[:, :angles] / (2 * math.pi)
        self.centres = centres - centres.floor()
        inside = (places[:, angles:] + grid.logit()).sigmoid() * (1 - self.widths[:, angles:])
        self.starts = torch.cat((self.centres - self.widths[:, :angles] / 2, inside), 1)
        self.angles = angles

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Σ w S and its derivative at x (D, *batch); on a circle S rises by one a turn, and is c at a centre c."""
        offset = x - self.starts
        turns = offset[:, : self.angles].floor()
        within = torch.cat((offset[:, : self.angles] - turns, offset[:, self.angles :]), 1)
        u = (within / self.widths).clamp(_NEAR, 1 - _NEAR)
        up, down = 1 / u, 1 / (1 - u)
        ramp = (down - up).sigmoid()
        slope = self.weights * ramp * (1 - ramp) * (up * up + down * down) / self.widths
        ramp = torch.cat((ramp[:, : self.angles] + (turns + self.centres - 0.5), ramp[:, self.angles :]), 1)
        return (self.weights * ramp).sum(0), slope.sum(0)
