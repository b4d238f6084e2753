"""Straightest geodesics: straight lines over the faces of a mesh, unfolded one after the other."""

import torch
from torch import Tensor

from .surface import Surface

__all__ = ["trace"]

_CROSSINGS = 10_000
_PATIENCE = 3  # walls met in one place: two make a corner, a third one has nothing new to say


@torch.no_grad()
def trace(surface: Surface, face: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Follow lines in the planes of their first faces ``(n,)``, over the edges they meet.

    ``start`` and ``end (n, 3)`` are barycentric in the first face; the end may lie outside of it. Each crossed edge
    unfolds the next face into the plane, in which the line goes on straight (through a vertex, on one side of it). A
    line that meets a wall slides: its end is projected to the wall's line; in a corner that holds it, it rests.

    Returns:
        The last faces ``(n,)``; matrices ``(n, 3, 3)`` that take the barycentric coordinates of the end in the first
        face to those in the last; and matrices that do the same to vectors, without the slides: isometries.

    Raises:
        ArithmeticError: when a line crosses more than 10 000 edges.

    Source: Polthier, Schmies 1998 (straightest geodesics on polyhedral surfaces).
    """
    n = len(face)
    face, start, end = face.clone(), start.clone(), end.clone()
    to_end = torch.eye(3, dtype=start.dtype, device=start.device).repeat(n, 1, 1)
    carry = to_end.clone()
    entry, rests = torch.full_like(face, -1), torch.zeros_like(face)
    moving = torch.arange(n, device=face.device)
    edges = torch.arange(3, device=face.device)
    for _ in range(_CROSSINGS):
        b, p = start[moving], end[moving]
        leaves = (p < 0) & (edges != entry[moving, None])
        share = torch.where(leaves, b.clamp_min(0) / torch.where(leaves, b.clamp_min(0) - p, 1.0), torch.inf)
        share, edge = share.min(-1)
        on = share < torch.inf
        moving, b, p, share, edge = moving[on], b[on], p[on], share[on], edge[on]
        if not len(moving):
            return face, to_end, carry
        here = face[moving]
        turn, wall = surface.unfold[here, edge], surface.walls[here, edge]
        end[moving] = _apply(turn, p)
        to_end[moving] = turn @ to_end[moving]
        met = b + share[:, None] * (p - b)
        start[moving] = torch.where(wall[:, None], met, _apply(turn, b))
        carry[moving] = torch.where(wall[:, None, None], carry[moving], turn @ carry[moving])
        entry[moving], face[moving] = surface.entries[here, edge], surface.neighbours[here, edge]
        if wall.any():
            held = (met - b).abs().amax(-1) <= torch.finfo(b.dtype).eps ** 0.5
            rests[moving] = torch.where(wall, torch.where(held, rests[moving] + 1, 0), rests[moving])
            stop = wall & (rests[moving] >= _PATIENCE)
            stay = met[stop].clamp_min(0)
            end[moving[stop]] = stay
            to_end[moving[stop]] = stay[:, :, None].expand(-1, -1, 3)  # coordinates add up to one
    longest = float(surface.ambient(face[moving], end[moving] - start[moving]).norm(dim=-1).max())
    raise ArithmeticError(f"a geodesic of length {longest:.3g} crosses over {_CROSSINGS} edges: is the field finite?")


def _apply(matrix: Tensor, b: Tensor) -> Tensor:
    return torch.einsum("nij,nj->ni", matrix, b)
