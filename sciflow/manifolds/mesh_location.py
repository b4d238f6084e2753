"""The closest point of a mesh: exactly, from a grid of cells that know which faces come into question."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .mesh_surface import Surface

__all__ = ["FaceGrid", "build_grid", "closest_in_face"]

_LEVELS = 7  # at most 128³ cells
_CELL = 0.6  # of the mean length of an edge
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
        everything = torch.arange(len(surface.areas), device=x.device)
        for part in far.split(max(1, _PAIRS // len(everything))):
            owner = torch.arange(len(part), device=x.device).repeat_interleave(len(everything))
            face[part] = _nearest(surface, x[part], owner, everything.repeat(len(part)))
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
    """Divide the box of a mesh into cells, eight for one, each keeping of its parent's faces what it still needs."""
    points = surface.corners.flatten(0, 1)
    extent = float((points.amax(0) - points.amin(0)).max()) * 1.1
    low = (points.amax(0) + points.amin(0)) / 2 - extent / 2
    edge = float((surface.corners.roll(-1, 1) - surface.corners).norm(dim=-1).mean())
    levels = min(_LEVELS, max(1, math.ceil(math.log2(extent / (_CELL * edge)))))
    middle = surface.corners.mean(1)
    radius = (surface.corners - middle[:, None]).norm(dim=-1).amax(1)
    octants = torch.cartesian_prod(*[torch.arange(2)] * 3)
    place, cell = torch.zeros(1, 3, dtype=torch.long), extent
    owner, face = torch.zeros(len(middle), dtype=torch.long), torch.arange(len(middle))
    for level in range(levels):
        cell /= 2
        half = cell * math.sqrt(3) / 2
        place = (2 * place[:, None] + octants).flatten(0, 1)
        owner = (8 * owner[:, None] + torch.arange(8)).flatten()
        face = face[:, None].expand(-1, 8).flatten()
        centre = low + (place[owner] + 0.5) * cell
        # bounds from spheres about the faces; on the last level the distances themselves, where the bounds allow
        upper = (centre - middle[face]).norm(dim=-1)
        lower = (upper - radius[face]).clamp_min(0)
        kept = lower <= _least(upper, owner, len(place))[owner] + 2 * half
        if level == levels - 1:
            owner, face = owner[kept], face[kept]
            lower = _in_parts(surface, centre[kept], face)
            kept = lower <= (_least(lower, owner, len(place))[owner] + 2 * half) * (1 + 1e-6)
        reach = _least(lower, owner, len(place)) <= 2 * half  # a point within h of the surface is within 2h of here
        kept &= reach[owner]
        row = torch.where(reach, reach.cumsum(0) - 1, -1)
        place, owner, face = place[reach], row[owner[kept]], face[kept]
    rows = torch.full((2**levels,) * 3, -1)
    rows[tuple(place.T)] = torch.arange(len(place))
    order = torch.argsort(owner * len(middle) + face)
    count = owner.bincount(minlength=len(place))
    return FaceGrid(low, cell, rows, count.cumsum(0) - count, count, face[order])


def _least(values: Tensor, owner: Tensor, n: int) -> Tensor:
    return values.new_full((n,), math.inf).scatter_reduce(0, owner, values, "amin")


def _in_parts(surface: Surface, x: Tensor, face: Tensor) -> Tensor:
    return torch.cat([_distances(surface, p, f) for p, f in zip(x.split(2**16), face.split(2**16), strict=True)])
