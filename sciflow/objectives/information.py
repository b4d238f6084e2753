"""A clock by which paths to letters tell as much in every part of their time."""

import math
from typing import Any

import torch
from torch import Tensor

from ..paths.categorical import CategoricalPath, state_at
from ..rng import step_generator

__all__ = ["InformationClock"]

_NUMBERS, _SITES = 16384, 256  # in the states, and of the sites at least, that the information is averaged over
_TIMES = 128  # at which it is
_LEAST = 1e-6  # of all that there is to tell: less is rounding


class InformationClock:
    r"""Times ``t`` at which a path has told the fraction u in [0, 1] of what it tells of a letter of chance:

    .. math:: I(t) = 1 - \mathbb E\, H(p(x_1 \mid x_t)) / \log k, \qquad \frac{I(t) - I(0)}{I(1) - I(0)} = u

    with all letters equally likely before. The entropy H is averaged over draws of the path (the same at all times),
    and I is inverted between 129 of them. On this clock schedules do not count: masking is uncovered evenly, a path
    that decides all in a short time gets as many training times and sampler steps there as others in theirs.

    Raises:
        ValueError: when the path tells nothing more as time goes, as the published Gumbel-softmax path.
    """

    def __init__(self, path: CategoricalPath) -> None:
        times = torch.linspace(0, 1, _TIMES + 1, dtype=torch.float64)
        rows = max(_SITES, _NUMBERS // path.k)
        told = torch.stack([_told(path, t, rows) for t in times]).cummax(0).values
        if told[-1] - told[0] < _LEAST:
            raise ValueError(f"{type(path).__name__} tells no more of a letter at t = 1 than at 0: use equal times")
        self.times, self.told = times, (told - told[0]) / (told[-1] - told[0])

    def __call__(self, u: Tensor) -> Tensor:
        """Times t, in the shape of ``u``."""
        return _interpolated(u, self.told, self.times)

    def fraction(self, t: Tensor) -> Tensor:
        """The inverse: what has been told at times ``t``."""
        return _interpolated(t, self.times, self.told)


def _told(path: CategoricalPath, t: Tensor, rows: int) -> Tensor:
    generator = step_generator(0)
    x1 = torch.randint(path.k, (rows, 1), generator=generator)
    x0: Any = path.prior.sample(rows, 1, generator=generator, dtype=torch.float64)
    at = t.expand(rows)
    evidence = path.log_conditional(state_at(path, x0, x1, at, generator), at)
    logp = evidence.clamp_min(torch.finfo(evidence.dtype).min).log_softmax(-1)
    return 1 + (logp.exp() * logp).sum(-1).mean() / math.log(path.k)


def _interpolated(x: Tensor, xs: Tensor, ys: Tensor) -> Tensor:
    """Between points whose ``xs`` rise, from 0 to 1; of several with one x, the first at 0 and the last at 1."""
    xs, ys, wide = xs.to(x.device), ys.to(x.device), x.double()
    right = torch.searchsorted(xs, wide.contiguous()).clamp(1, len(xs) - 1)
    x0, x1, y0, y1 = xs[right - 1], xs[right], ys[right - 1], ys[right]
    part = (wide - x0) / (x1 - x0).clamp_min(torch.finfo(torch.float64).tiny)
    inside = y0 + (y1 - y0) * part.clamp(0, 1)
    return torch.where(wide >= 1, torch.ones_like(inside), inside).to(x.dtype)
