"""Tasks as masks: what of a protein is given, and what is generated."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import InputError
from ..rng import Generator, uniform

__all__ = ["FACTORS", "TASKS", "check_tasks", "draw_motif", "draw_tasks", "known"]

#: What each task gives of the designed residues; ``motif`` gives the frames of some of them.
TASKS: dict[str, tuple[str, ...]] = {
    "backbone": (),
    "motif": (),
    "codesign": (),
    "fixbb": ("frames",),
    "packing": ("frames", "sequence"),
    "docking": ("sequence",),
}
#: The mask that holds each factor of a state.
FACTORS = {
    "translation": "known_frames",
    "rotation": "known_frames",
    "torsions": "known_torsions",
    "sequence": "known_sequence",
}

_SEGMENTS = 3  # of a motif, at most
_PARTS = 4  # a segment is at most this part of the chain, so that some of it remains


def check_tasks(weights: Mapping[str, float], name: str = "study.tasks") -> None:
    """Refuse weights that are no lottery over :data:`TASKS`. Raises InputError."""
    for task, weight in weights.items():
        if task not in TASKS:
            raise InputError(f"{name}.{task}: no such task; use {', '.join(TASKS)}")
        if not 0 <= weight < float("inf"):
            raise InputError(f"{name}.{task}={weight} must be 0 or more")
    if not sum(weights.values()):
        raise InputError(f"{name}: every weight is 0; give one of {', '.join(TASKS)} a positive weight")


def draw_tasks(weights: Mapping[str, float], n: int, generator: Generator = None) -> list[str]:
    """A task for each of ``n`` samples, with probabilities proportional to ``weights``."""
    bounds = torch.tensor(list(weights.values()), dtype=torch.float64).cumsum(0)
    u = uniform(n, generator=generator, dtype=torch.float64).cpu() * bounds[-1]
    names = list(weights)
    return [names[k] for k in torch.searchsorted(bounds, u, right=True).tolist()]


def draw_motif(design: Tensor, generator: Generator = None) -> Tensor:
    """One to three segments of the designed residues ``design (B, N)``, each up to a quarter of them: bool ``(B, N)``.

    They may overlap; of four residues or more, some remain to be generated.
    """
    start, length, number = uniform(
        len(design), 3, _SEGMENTS, 1, generator=generator, dtype=torch.float64, device=design.device
    ).unbind(1)
    rank = design.cumsum(1) - 1  # places count along what is designed
    size = design.sum(1)[:, None, None]
    length = (length * (size // _PARTS)).floor() + 1
    start = (start * (size - length + 1)).floor()
    used = torch.arange(_SEGMENTS, device=design.device)[:, None] <= (number[:, :1] * _SEGMENTS).floor()
    inside = (rank[:, None] >= start) & (rank[:, None] < start + length) & used
    return inside.any(1) & design


def known(tasks: Sequence[str], design: Tensor, context: Tensor, motif: Tensor | None = None) -> dict[str, Tensor]:
    """Masks ``known_frames``, ``known_torsions``, ``known_sequence`` ``(B, N)`` of a task a sample.

    ``context (B, N)``: residues of which everything is given; ``design``: the others; ``motif``: those of them whose
    frames the task ``motif`` gives.
    """

    def rows(chosen: list[bool]) -> Tensor:
        return torch.tensor(chosen, device=design.device)[:, None]

    masks = {
        f"known_{part}": context | design & rows([part in TASKS[task] for task in tasks])
        for part in ("frames", "torsions", "sequence")
    }
    if motif is not None:
        masks["known_frames"] = masks["known_frames"] | motif & rows([task == "motif" for task in tasks])
    return masks
