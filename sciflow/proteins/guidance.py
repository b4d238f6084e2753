"""Velocities along a flow: each step tells the next what it saw, and a motif that is not held may pull."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..manifolds import tree_map
from ..paths import kabsch
from .frames import backbone
from .sources import State

__all__ = ["Motif", "Steered"]

_EDGE = 0.05  # of time, at both ends: the pull grows no more


@dataclass(frozen=True)
class Motif:
    """Frames to be found in a sample, wherever it puts them."""

    frames: State
    """``translation (B, N, 3)``, ``rotation (B, N, 4)``."""
    place: Tensor
    """The residues that hold them, bool ``(B, N)``."""
    strength: Tensor
    """How hard they pull, ``(B,)``; 0 is not at all."""

    def misfit(self, end: State) -> Tensor:
        """Half the squared distance ``(B,)`` [nm²] of N, CA, C from the motif's, superposed as well as can be."""
        place = self.place.repeat_interleave(3, 1)[..., None]
        count = place.sum(1, keepdim=True).clamp_min(1)
        found, true = (backbone(x["translation"], x["rotation"]).flatten(1, 2) for x in (end, self.frames))
        found, true = (place * (x - (place * x).sum(1, keepdim=True) / count) for x in (found, true))
        with torch.no_grad():  # at the best rotation the misfit has no slope along it
            fitted = true @ kabsch(true, found).mT
        return 0.5 * (found - fitted).square().sum((1, 2))


class Steered:
    r"""The velocity of a field that reads its own previous endpoint, and with a motif

    .. math:: u - s \, \frac{t^2 + (1 - t)^2}{t (1 - t)} \, \nabla_{x_t} \mathrm{misfit}(\hat x_1(x_t))

    For sources of normal law, of any width σ, the second term is what the score of N(motif; x̂₁, σ²(1−t)²/(t²+(1−t)²))
    adds. Velocities are twisted, no weights are carried: samples are drawn to the motif, not from the exact posterior.

    Source: Yim et al. 2024 (motif scaffolding), arXiv:2401.04082; Wu et al. 2023 (twisting), arXiv:2306.17775.
    """

    def __init__(self, field: Any, conditions: dict[str, Tensor], motif: Motif | None = None) -> None:
        self.field, self.conditions, self.motif = field, conditions, motif
        self.end: State | None = None

    def velocity(self, x: State, t: Tensor) -> State:
        """At states ``x`` and times ``t (B,)``, each call with the endpoints of the one before."""
        if self.motif is None:
            self.end = self.field.denoise(x, t, previous=self.end, **self.conditions)
            return self.field.towards(self.end, x, t, **self.conditions)
        factors = self.field.manifold.factors
        with torch.enable_grad():
            moves = {
                name: torch.zeros_like(x[name][..., :3], requires_grad=True) for name in ("translation", "rotation")
            }
            moved = {name: factors[name].expmap(x[name], move) for name, move in moves.items()}
            end = self.field.denoise(x | moved, t, previous=self.end, **self.conditions)
            slopes = torch.autograd.grad(self.motif.misfit(end).sum(), list(moves.values()))
        self.end = tree_map(Tensor.detach, end)
        u = self.field.towards(self.end, x, t, **self.conditions)
        t = t.clamp(_EDGE, 1 - _EDGE)
        pull = self.motif.strength * (t.square() + (1 - t).square()) / (t * (1 - t))
        return u | {name: u[name] - pull[:, None, None] * slope for name, slope in zip(moves, slopes, strict=True)}
