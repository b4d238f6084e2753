"""Regress the endpoint of a path."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..manifolds import scale, tree_map
from ..nets import Field
from ..paths import GeodesicPath, Pair, PathSample
from ..rng import Generator
from .times import EQUAL, stratified

__all__ = ["EndpointMatching", "endpoint_errors"]


@dataclass(frozen=True)
class EndpointMatching:
    r"""Flow matching of a field that predicts endpoints (``denoise``), bounded near the data.

    .. math:: \ell_b = w_b \sum_k w_k \sum_E \frac{\lVert \log_{x_t} \hat x_1 - \log_{x_t} x_1 \rVert^2_{x_t}}
              {(1 - \min(\kappa_k(t), c))^2}, \qquad t \sim \text{time}(U[0, 1))

    over the factors k of a product. Where κ = t it is the loss of :class:`FlowMatching` up to t = c, beyond which the
    weight of an error grows no more. Errors themselves are not clamped: where they are large, so are their gradients.

    Args:
        weights: ``w_k`` by name; those of factors that are not named are 1.
        clip: c.
        time: as in :class:`FlowMatching`.

    Where the conditions hold ``mask (B, N)``, E is its real points. Source: Yim et al. 2023, arXiv:2310.05297.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    clip: float = 0.9
    time: Callable[[Tensor], Tensor] = EQUAL

    def __call__(self, field: Field, path: GeodesicPath, pair: Pair, generator: Generator = None) -> Tensor:
        """Losses ``(B,)``, weighted sample by sample and not reduced; conditions go to the field by name."""
        weight = pair.weight
        t = self.time(stratified(weight, generator))
        with torch.autocast(weight.device.type, enabled=False):  # mixed precision is for networks, not for geodesics
            drawn = path.sample(pair.x0, pair.x1, t, generator)
        x1_hat = field.denoise(drawn.x_t, t, **pair.cond)
        with torch.autocast(weight.device.type, enabled=False):
            errors = endpoint_errors(path, drawn, tree_map(lambda x: x.to(weight.dtype), x1_hat), self.clip)
        squared: Any = sum(self.weights.get(name, 1.0) * error for name, error in errors.items())
        if "mask" in pair.cond:
            squared = squared * pair.cond["mask"]
        return weight * squared.reshape(len(weight), -1).sum(-1)


def endpoint_errors(path: GeodesicPath, drawn: PathSample, x1_hat: Any, clip: float = 0.9) -> dict[str, Tensor]:
    """``|log_{x_t}(x̂1) − log_{x_t}(x1)|²_{x_t} / (1 − min(κ_k(t), clip))²`` of each factor, ``(B, *E)``.

    Off a product the one factor is called ``x``. What an error must not count (a given residue, an angle that a residue
    does not have) is left out by predicting it: ``x1_hat = torch.where(counted, x1_hat, x1)``.
    """

    def error(path: GeodesicPath, x_t: Tensor, x1: Tensor, x1_hat: Tensor) -> Tensor:
        off = path.manifold.logmap(x_t, x1_hat) - path.manifold.logmap(x_t, x1)
        behind = path.schedule.kappa(drawn.t).clamp_max(clip)  # type: ignore[union-attr]  # one factor has one
        return scale((1 - behind) ** -2, path.manifold.inner(x_t, off, off))

    if not path.factors:
        return {"x": error(path, drawn.x_t, drawn.x1, x1_hat)}
    return {k: error(part, drawn.x_t[k], drawn.x1[k], x1_hat[k]) for k, part in path.factors.items()}
