"""Superposition and the TM-score of chains whose residues correspond."""

import torch
from jaxtyping import Float
from torch import Tensor

from ..paths.alignment import kabsch

__all__ = ["ascend", "d0", "kernel", "superpose", "tm_score"]

_ROUNDS = 30  # of the ascent; a fixed point to 1e-3 takes a dozen


def d0(length: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The distance [nm] at which a pair of residues counts half: 0.124 (L − 15)^⅓ − 0.18, never below 0.05.

    Source: Zhang, Skolnick 2004 (Proteins 57).
    """
    return (0.124 * (length - 15).clamp_min(0).pow(1 / 3) - 0.18).clamp_min(0.05)


def superpose(
    x: Float[Tensor, "*batch N 3"], y: Float[Tensor, "*batch N 3"], weight: Float[Tensor, "*batch N"] | None = None
) -> tuple[Float[Tensor, "*batch N 3"], Float[Tensor, "*batch"]]:
    """All of ``x`` moved by the proper rigid motion that minimises ``Σ_i w_i |x_i − y_i|²``, and the RMSD it leaves.

    Points of weight zero move along and do not count, so weights align by a part, such as an interface. Never by
    reflection. ``weight`` defaults to one; where all are zero, ``x`` is centred on its frame's origin and the RMSD 0.

    Source: Kabsch 1976, 1978 (Acta Cryst. A32, A34).
    """
    w = (torch.ones_like(x[..., 0]) if weight is None else weight.to(x.dtype))[..., None]
    w = w / w.sum(-2, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    a, centre = x - (w * x).sum(-2, keepdim=True), (w * y).sum(-2, keepdim=True)
    moved = a @ kabsch(w * a, y - centre).mT + centre
    return moved, (w[..., 0] * (moved - y).square().sum(-1)).sum(-1).sqrt()


def kernel(square: Tensor, scale: Tensor) -> Tensor:
    """What a pair at a squared distance counts, ``1/(1 + d²/d0²)``; ``scale (…)`` is d0."""
    return 1 / (1 + square / scale.square())


def ascend(x: Tensor, y: Tensor, mask: Tensor, scale: Tensor, rounds: int = _ROUNDS) -> Tensor:
    """``x (…, N, 3)`` moved to a local maximum of ``Σ_i 1/(1 + |x_i − y_i|²/d0²)`` over rigid motions.

    The sum is convex in squared distances, so superposing by its slopes, ``w_i = 1/(1 + d_i²/d0²)²``, never lowers it.
    """
    for _ in range(rounds):
        weight = mask * kernel((x - y).square().sum(-1), scale[..., None]).square()
        x, _ = superpose(x, y, weight)
    return x


def tm_score(
    x: Float[Tensor, "B N 3"],
    y: Float[Tensor, "B N 3"],
    mask: Tensor | None = None,
    length: Tensor | None = None,
) -> Float[Tensor, "B"]:
    """TM-score ``(B,)`` of Cα traces [nm] whose residues correspond: ``max 1/L Σ_i 1/(1 + |g x_i − y_i|²/d0(L)²)``.

    The maximum over proper rigid motions g is sought from superpositions of the whole chain, of its halves, quarters …
    down to about eight residues: a lower bound, in practice the maximum. One for identical shapes; above 0.5 two chains
    mostly have the same fold.

    Args:
        mask: ``(B, N)``, the residues that correspond; all of them.
        length: L ``(B,)``; the number of residues in the mask.

    Source: Zhang, Skolnick 2004 (Proteins 57); Xu, Zhang 2010 (Bioinformatics 26).
    """
    here = torch.ones_like(x[..., 0]) if mask is None else mask.to(x.dtype)
    number = here.sum(-1) if length is None else length.to(x.dtype)
    place = (here.cumsum(-1) - here) / here.sum(-1, keepdim=True)  # in [0, 1) along what corresponds
    parts = [2**k for k in range(max(1, x.shape[1].bit_length() - 3))]  # of at least about eight residues
    start = torch.cat([torch.arange(2 * n - 1, device=x.device) / (2 * n) for n in parts])  # overlapping by half
    width = torch.cat([torch.full((2 * n - 1,), 1 / n, device=x.device) for n in parts])
    after = place[:, None] - start[:, None]
    window = here[:, None] * (after >= 0) * (after < width[:, None])
    scale, here, y = d0(number)[:, None], here[:, None], y[:, None].expand(-1, len(start), -1, -1)
    moved, _ = superpose(x[:, None].expand_as(y), y, window)
    square = (ascend(moved, y, here, scale) - y).square().sum(-1)
    return (here * kernel(square, scale[..., None])).sum(-1).amax(-1) / number
