"""What the network of a protein regresses: velocities of four factors, and the backbone that they make."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds.pairs import EXACT
from ..objectives.endpoint import endpoint_errors
from ..paths import GeodesicPath, PathSample
from .frames import backbone
from .tasks import FACTORS

__all__ = ["ProteinLoss"]

_LATEST = 0.9  # errors weigh 1/(1 − t) up to here
_NEAR = 0.6  # nm: atoms closer than this hold their distance


@dataclass
class ProteinLoss:
    r"""Errors of the velocities that predicted endpoints imply, and of the backbone they make.

    .. math:: \ell = \frac{w_k}{N_k (1 - \min(t, 0.9))^2} \sum_i
              \lVert \log_{x_t} \hat x_1 - \log_{x_t} x_1 \rVert_i^2 + \dots

    over the hidden residues of each factor k (translation in nm); for the sequence −log p̂ of the true type. Beyond
    time ``after`` the same weight of time has the squared errors [nm²] of N, CA, C, and of their distances to atoms
    that are within 0.6 nm of them. Nothing is clamped: where an error is large, so is its gradient. Where many ends are
    possible the velocity of an angle has the mean of the turns to all of them; ``angles`` weighs the chords
    ``2 − 2 cos(τ̂ − τ)`` instead, at all times alike, whose best answer is the circular mean.

    Source: Yim et al. 2023, arXiv:2310.05297; Li et al. 2024 (full-atom peptides), arXiv:2406.00735.
    """

    translation: float = 2.0
    rotation: float = 1.0
    torsions: float = 0.5
    angles: float = 0.0
    sequence: float = 1.0
    atoms: float = 1.0
    pairs: float = 1.0
    after: float = 0.25

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value < float("inf"):
                raise InputError(f"model.loss.{name}={value} must be 0 or more")

    def __call__(
        self, path: GeodesicPath, end: dict[str, Tensor], drawn: PathSample, masks: Mapping[str, Tensor]
    ) -> Tensor:
        """Losses ``(B,)`` of endpoints ``end`` predicted at ``drawn``.

        ``masks``: ``mask`` and those of ``FACTORS`` ``(B, N)``; where there are torsions, ``counted (B, N, 5)``.
        """
        loss, x1 = torch.zeros_like(drawn.t), drawn.x1
        if "torsions" in end:  # what is not counted is predicted
            end = end | {"torsions": torch.where(masks["counted"], end["torsions"], x1["torsions"])}
        for name, squared in endpoint_errors(path, drawn, end, _LATEST).items():
            if name != "sequence":
                hidden = masks["mask"] & ~masks[FACTORS[name]]
                loss = loss + getattr(self, name) * _mean(squared, hidden)
        if "torsions" in end:
            hidden = masks["mask"] & ~masks["known_torsions"]
            chords = 2 - 2 * (end["torsions"] - x1["torsions"]).cos()
            loss = loss + self.angles * _mean(chords.sum(-1), hidden)
        if "sequence" in end:
            hidden = masks["mask"] & ~masks["known_sequence"]
            logits = end["sequence"].clamp_min(torch.finfo(loss.dtype).tiny).log()
            loss = loss - self.sequence * _mean((x1["sequence"] * logits).sum(-1), hidden)
        hidden = masks["mask"] & ~masks["known_frames"]
        bound = 1 / (1 - drawn.t.clamp_max(_LATEST)).square()
        return loss + bound * (drawn.t > self.after) * self._backbone(end, x1, hidden, masks["mask"])

    def _backbone(self, end: dict[str, Tensor], x1: dict[str, Tensor], hidden: Tensor, mask: Tensor) -> Tensor:
        found, true = (backbone(x["translation"], x["rotation"]) for x in (end, x1))
        atoms = _mean((found - true).square().sum(-1).mean(-1), hidden)
        hidden, mask = (m.repeat_interleave(3, 1) for m in (hidden, mask))
        found, true = found.flatten(1, 2), true.flatten(1, 2)
        near, far = (torch.cdist(x, x, compute_mode=EXACT) for x in (true, found))
        counted = hidden[:, :, None] & mask[:, None] & (near < _NEAR) & (near > 0)
        pairs = _mean((far - near).square().flatten(1), counted.flatten(1))
        return self.atoms * atoms + self.pairs * pairs


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    """Of each sample's ``x (B, N)`` where ``mask``; 0 where there is none."""
    return torch.where(mask, x, 0.0).sum(1) / mask.sum(1).clamp_min(1)
