"""Where the flow of a protein starts, and what a batch needs beside it: tasks and centres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

import torch
from torch import Tensor

from ..manifolds import Dirichlet, Normal, Prior, Product, ProductPrior, wrap
from ..manifolds.quaternion import from_matrix, multiply
from ..paths import kabsch
from ..rng import Generator
from .residues import AMINO_ACIDS, HAS_TORSION, SYMMETRIC
from .tasks import FACTORS, draw_motif, draw_tasks, known
from .tensors import padded

__all__ = ["Given", "ProteinCoupler", "ProteinPrior", "State", "hold", "origin"]

State = dict[str, Tensor]


class _Kind(TypedDict):
    dtype: torch.dtype
    device: torch.device


class ProteinPrior:
    """Frames uniform in rotation and normal in translation, angles uniform, probabilities uniform on the simplex.

    Translations of width ``scale`` [nm] are centred over the residues of a protein of which no frame is known, and
    relative to the centre of the known ones otherwise.
    """

    def __init__(self, manifold: Product, scale: float) -> None:
        own: dict[str, Prior[Tensor]] = {
            "translation": Normal(3, scale),
            "sequence": Dirichlet((1.0,) * len(AMINO_ACIDS)),
        }
        self.factors = {name: own.get(name, factor.prior()) for name, factor in manifold.factors.items()}

    def sample(self, mask: Tensor, frames: Tensor, generator: Generator, dtype: torch.dtype) -> State:
        """Sources of the residues in ``mask (B, N)``, of which those in ``frames (B, N)`` have known frames.

        With a sequence of generators, sample i depends on generator i and the number of its own residues alone.
        """
        prior, kwargs = ProductPrior(self.factors), _Kind(dtype=dtype, device=mask.device)
        if isinstance(generator, Sequence):
            rows = [
                prior.sample(1, length, generator=generator[i : i + 1], **kwargs)
                for i, length in enumerate(mask.sum(1).tolist())
            ]
            x = {name: _placed(torch.cat([row[name][0] for row in rows]), mask) for name in self.factors}
        else:
            x = prior.sample(*mask.shape, generator=generator, **kwargs)
        free = ~frames.any(1)[:, None, None]
        x["translation"] = x["translation"] - torch.where(free, _mean(x["translation"], mask), 0.0)
        return padded(x, mask)


@dataclass(frozen=True)
class ProteinCoupler:
    """Draws each protein's task and source; adds ``x0``, ``weight`` and the masks of what is known.

    Data are moved to the centre of the known frames, or to their own where none is known: sources are then turned
    towards them, which their law and that of the flow do not notice. An angle that is the same after half a turn ends
    at the nearer of its two values, and one that its residue does not have ends at 0: as part of a joint law, so that
    nothing tells residue types before they are there. Stored pairs bring their sources, and what was known of them.
    """

    prior: ProteinPrior
    tasks: Mapping[str, float] = field(default_factory=dict)

    def __call__(self, batch: Mapping[str, Any], generator: Generator) -> dict[str, Any]:
        mask, x1 = batch["mask"], dict(batch["x"])
        masks = self._known(batch, generator)
        frames = masks["known_frames"]
        free = ~frames.any(1)[:, None, None]
        x1["translation"] = x1["translation"] - origin(x1["translation"], frames, mask)
        x1 = padded(x1, mask)
        if "x0" in batch:
            x0 = dict(batch["x0"])
            x0["translation"] = x0["translation"] - origin(x0["translation"], frames, mask)
            x0 = padded(x0, mask)
        else:
            x0 = self.prior.sample(mask, frames, generator, x1["translation"].dtype)
            x0 |= {name: torch.where(free, turned, x0[name]) for name, turned in _turned(x0, x1).items()}
        coupled = {**batch, "x": x1, "x0": x0, "weight": x1["translation"].new_ones(len(mask)), **masks}
        if "torsions" not in x1:
            return coupled
        # the ends of stored pairs are where the flow went, which no symmetry may move
        return coupled | {"counted": torch.ones_like(x1["torsions"]).bool()} if "x0" in batch else _with_angles(coupled)

    def _known(self, batch: Mapping[str, Any], generator: Generator) -> dict[str, Tensor]:
        names = set(FACTORS.values())
        if "x0" in batch:  # stored pairs
            return {name: batch.get(name, torch.zeros_like(batch["mask"])) for name in names}
        context = batch.get("context", torch.zeros_like(batch["mask"]))
        design = batch["mask"] & ~context
        tasks = draw_tasks(self.tasks, len(design), generator)
        return known(tasks, design, context, draw_motif(design, generator))


class Given:
    """What of a batch of proteins is known: flows keep it, and run about its centre.

    ``cond``: ``mask (B, N)``; where something is known, masks ``known_…`` and the state ``x``, whose rest is not read.
    """

    def __init__(self, cond: Mapping[str, Any], manifold: Product, dtype: torch.dtype) -> None:
        self.mask: Tensor = cond["mask"]
        self.known = {name: self.mask & cond.get(name, False) for name in set(FACTORS.values())}
        empty = {
            name: torch.zeros(*self.mask.shape, *shape, dtype=dtype, device=self.mask.device)
            for name, shape in manifold.point_shape.items()
        }
        self.state = padded(empty, torch.zeros_like(self.mask))
        if "x" in cond:
            self.state = hold(self.state, {name: cond["x"][name].to(dtype) for name in empty}, self.known)
        self.centre = origin(self.state["translation"], self.known["known_frames"], self.mask)
        self.centred = self.state | {"translation": self.state["translation"] - self.centre}

    def kept(self, x: State) -> State:
        """A state about the centre, with what is known in its place."""
        return padded(hold(x, self.centred, self.known), self.mask)

    def absolute(self, x: State) -> State:
        """The same where the known part was given, bit by bit."""
        moved = x | {"translation": x["translation"] + self.centre}
        return padded(hold(moved, self.state, self.known), self.mask)

    def relative(self, x: State) -> State:
        """The way back from :meth:`absolute`."""
        return self.kept(x | {"translation": x["translation"] - self.centre})


def origin(translation: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """Centre ``(B, 1, 3)`` of the known frames' CA, or of all residues where none is known."""
    return _mean(translation, torch.where(frames.any(1, keepdim=True), frames, mask))


def hold(x: State, given: State, masks: Mapping[str, Tensor]) -> State:
    """A state with what is known as given, bit by bit."""
    return {name: torch.where(masks[FACTORS[name]][..., None], given[name], x[name]) for name in x}


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    return (x * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None].clamp_min(1)


def _turned(x0: State, x1: State) -> State:
    """Frames rotated as a whole so that their origins lie closest to those of ``x1``."""
    rotation = kabsch(x0["translation"], x1["translation"])
    turn = from_matrix(rotation)[:, None]
    return {"translation": x0["translation"] @ rotation.mT, "rotation": multiply(turn, x0["rotation"])}


def _with_angles(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with ends of all hidden angles, and ``counted (B, N, 5)``: those that the loss looks at."""
    source, angle = batch["x0"]["torsions"], batch["x"]["torsions"]
    has, symmetric = (table.to(angle.device)[batch["aatype"]] for table in (HAS_TORSION, SYMMETRIC))
    far = (wrap(angle - source).abs() > torch.pi / 2) & symmetric
    end = torch.where(far, wrap(angle + torch.pi), angle) * has
    missing = has & ~batch["torsion_mask"]  # not seen in the structure: the source stays, and says nothing
    end = torch.where(missing, source, end)
    kept = batch["known_torsions"][..., None]
    torsions = torch.where(kept, angle, end)
    return {**batch, "x": batch["x"] | {"torsions": torsions}, "counted": ~missing}


def _placed(rows: Tensor, mask: Tensor) -> Tensor:
    """The rows of all proteins, one after the other, at the places of ``mask (B, N)``."""
    x = rows.new_zeros(*mask.shape, *rows.shape[1:])
    x[mask] = rows
    return x
