"""The laws of volume: what a likelihood on a manifold rests on."""

import math
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Manifold, Product
from ..rng import normal, step_generator, uniform
from ..sampling import divergence
from .zero import assert_zero

__all__ = ["assert_volume_laws"]

_DRAWS = 4096
_DEVIATIONS = 5.0  # of a mean of that many draws: none in a million goes beyond
_SAMPLED = 4  # dimensions up to which a ball of the injectivity radius catches enough of the prior's draws


def assert_volume_laws(manifold: Manifold[Any], x: Any, tol: float, seed: int = 0) -> None:
    """Hold ``dim``, ``randn_tangent``, the volume terms and the prior to each other, factor by factor, at ``x[0]``.

    Nothing is known of the manifold but its exponential map and its transport, which other laws hold. Particles with
    a common centre are left out: their dimension is not that of one of them.

    Raises:
        AssertionError: naming the broken law.
    """
    factors = manifold.factors if isinstance(manifold, Product) else {"": manifold}
    for name, factor in factors.items():
        if getattr(factor, "centered", False):
            continue
        point = (x[name] if isinstance(x, dict) else x).reshape(-1, *factor.point_shape)[:1]
        _dimension(factor, point, tol, seed)
        _divergence(factor, point, tol, seed)
        if factor.has_logmap and factor.injectivity_radius > 0:
            _stretch_of_exp(factor, point, tol, seed)
            if factor.dim <= _SAMPLED:
                _prior_integrates_to_one(factor, point, seed)


def _dimension(manifold: Manifold[Any], x: Tensor, tol: float, seed: int) -> None:
    size = math.prod(manifold.tangent_shape)
    basis = torch.eye(size, dtype=x.dtype).reshape(size, *manifold.tangent_shape)
    rank = (manifold.proju(x.expand(size, *x.shape[1:]), basis) * basis).sum()
    assert_zero("dim is the trace of proju", rank - manifold.dim, tol * size)
    at = x.expand(_DRAWS, *x.shape[1:])
    v = manifold.randn_tangent(at, step_generator(seed, 1))
    mean = manifold.inner(at, v, v).mean()
    bound = _DEVIATIONS * math.sqrt(2 * manifold.dim / _DRAWS)
    assert_zero("randn_tangent is standard normal: E|v|² = dim", mean - manifold.dim, bound)


def _divergence(manifold: Manifold[Any], x: Tensor, tol: float, seed: int) -> None:
    """``tr(P Dv P) + log_volume_rate`` of the field of one ambient vector is the trace of its covariant derivative."""
    ambient = normal(1, *manifold.tangent_shape, generator=step_generator(seed, 2), dtype=x.dtype)
    field = lambda y: manifold.proju(y, ambient + 0 * manifold.coordinates(y).sum())  # noqa: E731  # never constant

    def brought_back(e: Tensor, step: Tensor) -> Tensor:
        y, way = manifold.expmap(x, step * e), manifold.transp_along(x, step * e, step * e)
        return manifold.transp_along(y, -way, field(y))

    zero, one = torch.zeros((), dtype=x.dtype), torch.ones((), dtype=x.dtype)
    basis = manifold.randn_tangent(x.expand(manifold.dim, *x.shape[1:]), step_generator(seed, 3))
    rates = [torch.func.jvp(lambda s, e=e: brought_back(e[None], s), (zero,), (one,))[1] for e in basis]
    products = [torch.stack([manifold.inner(x, v, e[None]) for e in basis]) for v in (*basis[:, None], *rates)]
    gram, form = torch.stack(products)[..., 0].split(manifold.dim)
    trace = torch.linalg.solve(gram, form).trace()
    found = divergence(lambda y, t: field(y), manifold, x, torch.zeros(1, dtype=x.dtype))[0]
    amplified = tol * manifold.dim * float(torch.linalg.cond(gram))
    assert_zero("log_volume_rate: the divergence is the trace of the covariant derivative", found - trace, amplified)


def _stretch_of_exp(manifold: Manifold[Any], x: Tensor, tol: float, seed: int) -> None:
    """``log_det_exp`` against the determinant of the derivative, in a basis and its transport along the way."""
    at = x.expand(manifold.dim, *x.shape[1:])
    u = manifold.randn_tangent(x, step_generator(seed, 4))
    u = u * (min(1.0, manifold.injectivity_radius / 2) / manifold.inner(x, u, u).sqrt())
    basis = manifold.randn_tangent(at, step_generator(seed, 5))
    moved = torch.stack([torch.func.jvp(lambda w: manifold.expmap(x, w), (u,), (e[None],))[1] for e in basis])
    y, along = manifold.expmap(x, u), u.expand(basis.shape)
    frame = manifold.embed(y.expand(at.shape), manifold.transp_along(at, along, basis))
    matrix = torch.linalg.lstsq(frame.flatten(1).mT, moved.flatten(1).mT).solution
    log_det = torch.linalg.slogdet(matrix).logabsdet
    amplified = 10 * tol * manifold.dim * float(torch.linalg.cond(frame.flatten(1)))
    assert_zero("log_det_exp = log|det d exp|", manifold.log_det_exp(x, u) - log_det, amplified)


def _prior_integrates_to_one(manifold: Manifold[Any], x: Tensor, seed: int) -> None:
    """``E[1/p(y)]`` over the prior's draws y in a ball is the volume of the ball, ``∫ |det d exp|``."""
    prior, radius, d = manifold.prior(), min(1.0, manifold.injectivity_radius), manifold.dim
    y = prior.sample(_DRAWS, generator=step_generator(seed, 6), dtype=x.dtype)
    at = x.expand(y.shape)
    caught = torch.where(manifold.dist(at, y) < radius, (-prior.log_prob(y)).exp(), 0.0)
    u = manifold.randn_tangent(at, step_generator(seed, 7))
    r = radius * uniform(_DRAWS, generator=step_generator(seed, 8), dtype=x.dtype) ** (1 / d)
    u = u * (r / manifold.inner(at, u, u).sqrt()).reshape(-1, *(1,) * (u.ndim - 1))
    flat = math.pi ** (d / 2) / math.gamma(d / 2 + 1) * radius**d
    filled = flat * manifold.log_det_exp(at, u).exp()
    bound = _DEVIATIONS * math.sqrt((float(caught.var()) + float(filled.var())) / _DRAWS)
    assert_zero("the prior integrates to one: E[1/p] in a ball is its volume", caught.mean() - filled.mean(), bound)
