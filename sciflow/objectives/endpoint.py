"""Errors of predicted endpoints of a path, as errors of its velocity."""

from typing import Any

from torch import Tensor

from ..manifolds import scale
from ..paths import GeodesicPath, PathSample

__all__ = ["endpoint_errors"]


def endpoint_errors(path: GeodesicPath, drawn: PathSample, x1_hat: Any, clip: float = 0.9) -> dict[str, Tensor]:
    """``|log_{x_t}(x̂1) − log_{x_t}(x1)|²_{x_t} / (1 − min(κ_k(t), clip))²`` of each factor, ``(B, *E)``.

    Where κ = t their sum is the loss of :class:`.FlowMatching` up to t = clip, beyond which the weight of an error
    grows no more. Errors themselves are not clamped: where they are large, so are their gradients. Off a product the
    one factor is called ``x``. What an error must not count (a given residue, an angle that a residue does not have) is
    left out by predicting it: ``x1_hat = torch.where(counted, x1_hat, x1)``.

    Source: Yim et al. 2023, arXiv:2310.05297.
    """

    def error(path: GeodesicPath, x_t: Tensor, x1: Tensor, x1_hat: Tensor) -> Tensor:
        off = path.manifold.logmap(x_t, x1_hat) - path.manifold.logmap(x_t, x1)
        behind = path.schedule.kappa(drawn.t).clamp_max(clip)  # type: ignore[union-attr]  # one factor has one
        return scale((1 - behind) ** -2, path.manifold.inner(x_t, off, off))

    if not path.factors:
        return {"x": error(path, drawn.x_t, drawn.x1, x1_hat)}
    return {k: error(part, drawn.x_t[k], drawn.x1[k], x1_hat[k]) for k, part in path.factors.items()}
