"""Steps of tokens: leaping with noise, correcting, and choosing which places come first."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..paths import RatesPath
from ..rng import Generator, uniform
from .posterior import Denoise, PosteriorStep

__all__ = ["Confidence", "Corrector", "Staggered", "TauLeap"]


@dataclass(frozen=True)
class TauLeap:
    """The process of the path with noise η: beside the path's jumps, every place is drawn anew at rate η(t).

    A jump of rate λ happens with probability ``1 − exp(−∫λ)``: the step has the exact law of the chain whose posterior
    stays what it is at ``t``, and the last one ends in letters. What is drawn anew follows ``κ posterior + (1 − κ) π``,
    in detailed balance with the path's law at its time, so the laws at all times stay and mistakes are mended, the more
    the larger η. That rate has no pole at either end; of masks, the η of Campbell et al., by which letters are covered,
    is ``(1 − κ) η``. Places whose letter was given, not drawn, may be covered as well.

    Source: Campbell et al. 2022, arXiv:2205.14987; Campbell et al. 2024, arXiv:2402.04997.
    """

    path: RatesPath
    noise: float | Callable[[Tensor], Tensor] = 0.0

    def __call__(self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, generator: Generator) -> Tensor:
        posterior = denoise(x, t)
        x = self.path.advance(posterior, x, t, s, generator)
        if self.noise == 0:
            return x
        noise = self.noise((t + s) / 2) if callable(self.noise) else self.noise
        return self.path.redraw(posterior, x, s, -torch.expm1(-noise * (s - t)), generator)


@dataclass(frozen=True)
class Corrector:
    """``times`` corrections at ``t``, then the step: each asks the network anew and redraws a ``share`` of the places.

    It leaves the path's law at ``t`` as it is, up to the places that change together: keep their share small. As it
    comes before the step, the last step decides what is left.

    Source: Campbell et al. 2022, arXiv:2205.14987; Gat et al. 2024, arXiv:2407.15595.
    """

    step: PosteriorStep
    path: RatesPath
    share: float
    times: int = 1

    def __call__(self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, generator: Generator) -> Tensor:
        for _ in range(self.times):
            x = self.path.redraw(denoise(x, t), x, t, torch.full_like(t, self.share), generator)
        return self.step(denoise, x, t, s, generator)


@dataclass(frozen=True)
class Confidence:
    """As many masks as the path uncovers, but the most certain places first: by the largest probability of a letter.

    A place's certainty depends on the letters that are known, not on the one it draws, so with an exact posterior and
    one place a step the law of the samples is exact. (Chang et al. rank by the letter drawn, which favours the frequent
    ones.) ``temperature`` adds Gumbel noise of that scale to the logarithms: at 0 the order is strict, if large
    random, as the path's. Letters that are known from the start are kept.

    Raises:
        ValueError: for a path without masks.

    Source: Chang et al. 2022, arXiv:2202.04200.
    """

    path: RatesPath
    temperature: float = 0.0

    def __post_init__(self) -> None:
        _needs_masks(self.path)

    def __call__(self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, generator: Generator) -> Tensor:
        posterior, masked = denoise(x, t), self.path.uncertain(x)
        left = masked.sum(-1) * (self.path.schedule.ahead(s) / self.path.schedule.ahead(t))
        left = (left + uniform(len(x), generator=generator, dtype=t.dtype, device=t.device)).floor()  # whole, same mean
        certainty = posterior.amax(-1).log()
        if self.temperature:
            u = uniform(*x.shape, generator=generator, dtype=t.dtype, device=t.device)
            certainty = certainty - self.temperature * (-u.log()).log()
        # the least certain first, and last of all what is known already
        rank = certainty.where(masked, torch.inf).argsort(stable=True, dim=-1).argsort(-1)
        drawn = self.path.advance(posterior, x, t, torch.ones_like(s), generator)
        return torch.where(rank < left[:, None], x, drawn)


@dataclass(frozen=True)
class Staggered:
    """Left to right, ``width`` of the time for every place: uncovered one after another at 0, all in parallel at 1.

    Place i runs through its whole schedule while t goes from ``(1 − w) i/(L − 1)`` to w later, w the width, or 1/L if
    that is more; L equal steps of width 0 are an autoregressive model. Posteriors of masks do not depend on the time,
    so a network that was trained on masks serves any order.

    Raises:
        ValueError: for a path without masks.

    Source: Ou et al. 2024, arXiv:2406.03736 (posteriors without time); Arriola et al. 2025, arXiv:2503.09573 (between
    autoregressive and parallel).
    """

    path: RatesPath
    width: float = 0.0

    def __post_init__(self) -> None:
        _needs_masks(self.path)

    def __call__(self, denoise: Denoise, x: Tensor, t: Tensor, s: Tensor, generator: Generator) -> Tensor:
        places = x.shape[1]
        width = max(self.width, 1 / places)
        # counted from the end, so that the last place's is 1 at 1 to the last bit
        after = (1 - width) * torch.linspace(1, 0, places, dtype=t.dtype, device=t.device)
        own_t, own_s = ((1 - (1 - time[:, None] - after) / width).clamp(0, 1) for time in (t, s))
        return self.path.advance(denoise(x, t), x, own_t, own_s, generator)


def _needs_masks(path: RatesPath) -> None:
    if path.prior.probabilities[..., : path.k].any():
        raise ValueError("an order of places needs a path that masks them: use MaskingPath")
