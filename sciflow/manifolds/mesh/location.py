"""The closest point of a mesh: exactly, from a grid of cells that know which faces come into question."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .surface import Surface

__all__ = ["FaceGrid", "build_grid", "closest_in_face"]

_CELLS = 128  # along an edge of the box, at most
_CELL = 0.5  # of the mean length of an edge
_PAIRS = 2**20  # points times faces that are compared at once


def closest_in_face(x: Tensor, corners: Tensor, gradients: Tensor) -> Tensor:
    """Barycentric coordinates ``(…, 3)`` of the point of a triangle that is closest to ``x (…, 3)``.

    Inside the prism over the face the foot of the perpendicular, else the closest point of the closest edge.
    """
    inner = 1 / 3 + torch.einsum("...ij,...j->...i", gradients, x - corners.mean(-2))
    tail, head = corners.roll(-1, -2), corners.roll(-2, -2)
    edge = head - tail
    along = ((x[..., None, :] - tail) * edge).sum(-1) / edge.square().sum(-1)
    along = along.clamp(0.0, 1.0)
    gap = (tail + along[..., None] * edge - x[..., None, :]).square().sum(-1)
    side = torch.nn.functional.one_hot(gap.detach().argmin(-1), 3).to(x.dtype)
    on_edge = (side * (1 - along)).roll(1, -1) + (side * along).roll(2, -1)
    return torch.where((inner >= 0).all(-1, keepdim=True), inner, on_edge)


@dataclass(frozen=True)
class FaceGrid:
    """Cells near a surface and the faces that may be closest to a point in each.

    A face belongs to a cell of centre ``c`` and half diagonal ``h`` if its distance from ``c`` is at most ``d + 2h``,
    ``d`` that of the closest one: no other can be the closest to any point of the cell.
    """

    low: Tensor
    """Corner of the box of cells ``(3,)``."""
    cell: float
    """Edge of a cell."""
    rows: Tensor
    """``(n, n, n)``: the row of ``candidates`` of each cell, −1 far from the surface."""
    start: Tensor
    """Where in ``candidates`` the faces of a row begin ``(rows,)``."""
    count: Tensor
    """How many they are ``(rows,)``."""
    candidates: Tensor
    """Faces of all rows, one row after the other, each in rising order."""

    def to(self, like: Tensor) -> "FaceGrid":
        """The same grid beside ``like``."""
        tables = (part.to(like.device) for part in (self.rows, self.start, self.count, self.candidates))
        return FaceGrid(self.low.to(like), self.cell, *tables)

    def locate(self, surface: Surface, x: Tensor) -> Tensor:
        """The faces ``(n,)`` closest to ``x (n, 3)``; of several at the same distance the one of the least index."""
        n = len(self.rows)
        place = ((x - self.low) / self.cell).nan_to_num().clamp(-1, n).floor().long()
        known = ((place >= 0) & (place < n)).all(-1)
        row = torch.where(known, self.rows[place.clamp(0, n - 1).unbind(-1)], -1)
        face = torch.zeros_like(row)
        near, far = (row >= 0).nonzero()[:, 0], (row < 0).nonzero()[:, 0]
        for part in near.split(_PAIRS // 32):
            count = self.count[row[part]]
            owner = torch.arange(len(part), device=x.device).repeat_interleave(count)
            first = self.start[row[part]] - (count.cumsum(0) - count)
            faces = self.candidates[first[owner] + torch.arange(len(owner), device=x.device)]
            face[part] = _nearest(surface, x[part], owner, faces)
        if len(far):
            middle = surface.corners.mean(1)
            radius = (surface.corners - middle[:, None]).norm(dim=-1).amax(1)
            for part in far.split(max(1, _PAIRS // len(middle))):
                gap = torch.cdist(x[part], middle, compute_mode="donot_use_mm_for_euclid_dist")
                least = gap.amin(1, keepdim=True) * (1 + 1e-5)  # no face is nearer than its middle less its radius
                face[part] = _nearest(surface, x[part], *(gap - radius <= least).nonzero().unbind(1))
        return face


def _nearest(surface: Surface, x: Tensor, owner: Tensor, faces: Tensor) -> Tensor:
    """The closest to each of ``x (n, 3)`` among ``faces (pairs,)``, each named for the point ``owner (pairs,)``."""
    gap = _distances(surface, x[owner], faces)
    best = gap <= _least(gap, owner, len(x))[owner]
    found = torch.full((len(x),), len(surface.areas) - 1, device=x.device)  # a point that is not a number has none
    return found.scatter_reduce(0, owner[best], faces[best], "amin")


def _distances(surface: Surface, x: Tensor, faces: Tensor) -> Tensor:
    corners = surface.corners[faces]
    b = closest_in_face(x, corners, surface.gradients[faces])
    return (torch.einsum("...i,...ij->...j", b, corners) - x).norm(dim=-1)


def build_grid(surface: Surface) -> FaceGrid:
    """Lay cells over a mesh, and find for each that comes near it the faces that come into question."""
    points = surface.corners.flatten(0, 1)
    extent = float((points.amax(0) - points.amin(0)).max()) * 1.1
    low = (points.amax(0) + points.amin(0)) / 2 - extent / 2
    edge = float((surface.corners.roll(-1, 1) - surface.corners).norm(dim=-1).mean())
    n = min(_CELLS, max(1, math.ceil(extent / (_CELL * edge))))
    side = extent / n
    half = side * math.sqrt(3) / 2  # a point within h of the surface lies in a cell whose centre is within 2h of it
    cell, face, lower, upper = _nearby(surface, low, side, n, 4 * half)
    kept = lower <= upper[cell].clamp_max(2 * half) + 2 * half
    cell, face = cell[kept], face[kept]
    gap = torch.cat(
        [
            _distances(surface, _centres(c, low, side, n), f)
            for c, f in zip(cell.split(_PAIRS // 16), face.split(_PAIRS // 16), strict=True)
        ]
    )
    closest = _least(gap, cell, n**3)
    kept = (gap <= (closest[cell] + 2 * half) * (1 + 1e-6)) & (closest[cell] <= 2 * half)
    cell, face = cell[kept], face[kept]
    order = torch.argsort(cell * len(surface.areas) + face)
    named, count = cell[order].unique_consecutive(return_counts=True)
    rows = torch.full((n**3,), -1)
    rows[named] = torch.arange(len(named))
    return FaceGrid(low, side, rows.reshape(n, n, n), count.cumsum(0) - count, count, face[order])


def _nearby(surface: Surface, low: Tensor, side: float, n: int, reach: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cells and faces that may be within ``reach``, with lower bounds of their distances; upper ones of all cells."""
    middle = surface.corners.mean(1)
    radius = (surface.corners - middle[:, None]).norm(dim=-1).amax(1)
    first = ((surface.corners.amin(1) - reach - low) / side).floor().long().clamp(0, n - 1)
    width = ((surface.corners.amax(1) + reach - low) / side).floor().long().clamp(0, n - 1) - first + 1
    upper = torch.full((n**3,), math.inf, dtype=middle.dtype)
    found = []
    share = (width.prod(1).cumsum(0) - 1) // (_PAIRS // 4)
    for faces in torch.arange(len(middle)).split(share.unique_consecutive(return_counts=True)[1].tolist()):
        size = width[faces].prod(1)
        face = faces.repeat_interleave(size)
        step = torch.arange(len(face)) - (size.cumsum(0) - size).repeat_interleave(size)
        w, start = width[face], first[face]
        cell = ((start[:, 0] + step // (w[:, 1] * w[:, 2])) * n + start[:, 1] + step // w[:, 2] % w[:, 1]) * n
        cell += start[:, 2] + step % w[:, 2]
        away = _centres(cell, low, side, n) - middle[face]
        length, height = away.norm(dim=-1), (away * surface.normals[face]).sum(-1).abs()
        lower = torch.maximum(length - radius[face], height)
        near = lower <= reach
        upper.scatter_reduce_(0, cell, length, "amin")
        found.append((cell[near], face[near], lower[near]))
    cell, face, lower = (torch.cat(parts) for parts in zip(*found, strict=True))
    return cell, face, lower, upper


def _centres(cell: Tensor, low: Tensor, side: float, n: int) -> Tensor:
    return low + side * (torch.stack([cell // n**2, cell // n % n, cell % n], -1) + 0.5)


def _least(values: Tensor, owner: Tensor, n: int) -> Tensor:
    return values.new_full((n,), math.inf).scatter_reduce(0, owner, values, "amin")
