"""The geometry of a triangle mesh, as tables that every operation on it gathers from."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ...errors import InputError

__all__ = ["Surface", "build_surface"]

_FLAT_AREA = 1e-12  # of the square of the mesh's size: below it a face has no plane
_SMOOTH_WALL = 0.5  # 1 − cosine of the turn of a wall at a vertex, above which the vertex is a corner


@dataclass(frozen=True)
class Surface:
    """An orientable, connected triangle mesh. Faces and their corners are named by index; λ are barycentric.

    The edge ``i`` of a face lies opposite its corner ``i``. Flattened into the plane of the next face, barycentric
    coordinates change by a 3×3 matrix, so a straight line over many faces is a product of such matrices.
    """

    faces: Tensor
    """Vertices of the corners ``(F, 3)``, all faces turning the same way."""
    corners: Tensor
    """Positions of the corners ``(F, 3, 3)``: corner, coordinate."""
    gradients: Tensor
    """Gradients of the barycentric coordinates ``(F, 3, 3)``: corner, coordinate."""
    areas: Tensor
    """``(F,)``."""
    normals: Tensor
    """Unit normals of the faces ``(F, 3)``."""
    neighbours: Tensor
    """The face across each edge ``(F, 3)``; the face itself at a wall."""
    entries: Tensor
    """Which edge of that face it is ``(F, 3)``."""
    walls: Tensor
    """Whether the edge is on the boundary ``(F, 3)``."""
    unfold: Tensor
    """``(F, 3, 3, 3)``: across edge ``i``, ``λ' = unfold[f, i] λ`` of the same point of the common plane. At a wall
    the orthogonal projection to its line."""
    vertex_normals: Tensor
    """``(V, 3)``: unit means of the normals around, weighted by angle; interpolated, a continuous normal field."""
    free: Tensor
    """``(V, 3, 3)``: projectors to the directions in which a flow may move there; less than all of them on walls."""

    def to(self, like: Tensor) -> "Surface":
        """The same tables beside ``like``: on its device, floats in its dtype."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Surface(**{k: part.to(like if part.is_floating_point() else like.device) for k, part in parts.items()})

    def barycentric(self, face: Tensor, x: Tensor) -> Tensor:
        """Barycentric coordinates ``(n, 3)`` of ``x (n, 3)`` in the planes of its faces ``(n,)``."""
        corners = self.corners[face]
        return 1 / 3 + self.components(face, x - corners.mean(1))

    def components(self, face: Tensor, u: Tensor) -> Tensor:
        """Rates of the barycentric coordinates ``(n, 3)`` along vectors ``u (n, 3)``, less what stands on the face."""
        return torch.einsum("nij,nj->ni", self.gradients[face], u)

    def ambient(self, face: Tensor, b: Tensor) -> Tensor:
        """Points, or vectors, ``(n, 3)`` from their barycentric coordinates or rates."""
        return torch.einsum("ni,nij->nj", b, self.corners[face])

    def conforming(self, face: Tensor, b: Tensor, w: Tensor) -> Tensor:
        """Tangents from ambient vectors ``w (*, n, 3)``: a continuous ``w`` gives a field of continuous flux.

        With the interpolated normal ``ñ`` and the face's own ``n``, ``v = (ñ·n) w − (w·n) ñ``: the vector of the face
        plane for which ``det(v, e, n) = det(w, e, ñ)`` for every ``e`` of that plane. What leaves one face through an
        edge ``e`` enters the next, because ``w`` and ``ñ`` are continuous there. (The contravariant Piola transform
        from the plane across ``ñ``; where ``ñ = n``, the orthogonal projection.)
        """
        n, smooth = self.normals[face], _interpolate(b, self.vertex_normals[self.faces[face]])
        return _dot(smooth, n) * w - _dot(w, n) * smooth

    def unwalled(self, face: Tensor, b: Tensor, w: Tensor) -> Tensor:
        """Ambient vectors ``w (*, n, 3)`` without their flux through the walls, continuously within a face of them."""
        if not self.walls.any():
            return w
        free = torch.einsum("ni,nijk->njk", b, self.free[self.faces[face]])
        return torch.einsum("njk,...nk->...nj", free, w)


def build_surface(vertices: np.ndarray, faces: np.ndarray) -> Surface:
    """Check a mesh and tabulate its geometry, in float64.

    Raises:
        InputError: without faces, with faces of no area, edges of more than two faces, several components, one side.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
        raise InputError(f"vertices of shape {vertices.shape}: give finite coordinates (V, 3)")
    if faces.ndim != 2 or faces.shape[1] != 3 or not len(faces):
        raise InputError(f"faces of shape {faces.shape}: give at least one triangle, as vertex indices (F, 3)")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"faces name vertices {faces.min()}…{faces.max()} of {len(vertices)}: number them from 0")
    unused = len(vertices) - len(np.unique(faces))
    if unused:
        raise InputError(f"{unused} vertices belong to no face: leave them out")
    area = np.linalg.norm(_double_area(vertices[faces]), axis=1) / 2
    flat = np.flatnonzero(area <= _FLAT_AREA * np.ptp(vertices, axis=0).max() ** 2)
    if len(flat):
        raise InputError(f"{len(flat)} faces have no area, first {flat[0]} {faces[flat[0]].tolist()}: remove them")
    across, same_turn = _across(faces)
    faces = _orient(faces, across, same_turn)
    return _tabulate(vertices, faces, _across(faces)[0])


def _double_area(corners: np.ndarray) -> np.ndarray:
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def _across(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every side ``3f + i`` the side across its edge, −1 at a wall, and whether both run in the same direction."""
    tail, head = faces[:, [1, 2, 0]].ravel(), faces[:, [2, 0, 1]].ravel()
    edges = np.stack([np.minimum(tail, head), np.maximum(tail, head)], 1)
    named, edge, count = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    edge = edge.ravel()
    if count.max() > 2:
        worst = named[count.argmax()].tolist()
        raise InputError(f"{(count > 2).sum()} edges join more than two faces, such as {worst}: give a manifold mesh")
    order = np.argsort(edge, kind="stable")
    first = np.flatnonzero(count[edge[order]] == 2)[::2]
    left, right = order[first], order[first + 1]
    across = np.full(len(edge), -1)
    across[left], across[right] = right, left
    return across, (across >= 0) & (tail == tail[across])


def _orient(faces: np.ndarray, across: np.ndarray, same_turn: np.ndarray) -> np.ndarray:
    """Turn faces so that neighbours run through their edge in opposite directions.

    On the double cover, whose sheets are a face and the same face turned, an orientable surface falls in two.
    """
    n = len(faces)
    side = np.flatnonzero(across >= 0)
    f, g, turn = side // 3, across[side] // 3, same_turn[side]
    pieces, _ = connected_components(coo_matrix((np.ones(len(f)), (f, g)), (n, n)), directed=False)
    if pieces > 1:
        raise InputError(f"the mesh has {pieces} components: keep one, or make one mesh of each")
    sheets = coo_matrix((np.ones(2 * len(f)), (np.r_[f, f + n], np.r_[g + n * turn, g + n * ~turn])), (2 * n, 2 * n))
    covers, sheet = connected_components(sheets, directed=False)
    if covers == 1:
        raise InputError("the mesh has one side only: it cannot be oriented")
    return np.where((sheet[:n] == sheet[0])[:, None], faces, faces[:, [0, 2, 1]])


def _tabulate(vertices: np.ndarray, faces: np.ndarray, across: np.ndarray) -> Surface:
    corners = vertices[faces]
    double = _double_area(corners)
    areas = np.linalg.norm(double, axis=1) / 2
    normals = double / (2 * areas[:, None])
    opposite = np.roll(corners, -2, 1) - np.roll(corners, -1, 1)  # edge i from corner i+1 to corner i+2
    gradients = np.cross(normals[:, None], opposite) / (2 * areas[:, None, None])
    walls = (across < 0).reshape(-1, 3)
    side = np.arange(len(across))
    there = np.where(across < 0, side, across)
    neighbours, entries = (there // 3).reshape(-1, 3), (there % 3).reshape(-1, 3)
    tables = {
        "faces": faces,
        "corners": corners,
        "gradients": gradients,
        "areas": areas,
        "normals": normals,
        "neighbours": neighbours,
        "entries": entries,
        "walls": walls,
        "unfold": _unfold(corners, opposite, areas, neighbours, entries, walls),
        "vertex_normals": _vertex_normals(len(vertices), faces, opposite, normals),
        "free": _free(len(vertices), faces, opposite, normals, walls),
    }
    return Surface(**{name: torch.as_tensor(np.ascontiguousarray(table)) for name, table in tables.items()})


def _unfold(
    corners: np.ndarray,
    opposite: np.ndarray,
    areas: np.ndarray,
    neighbours: np.ndarray,
    entries: np.ndarray,
    walls: np.ndarray,
) -> np.ndarray:
    """Column ``j`` of ``unfold[f, i]``: corner ``j`` in the coordinates of the face across, corner ``i`` as turned."""
    n, rows = len(corners), np.arange(len(corners))
    square = (opposite**2).sum(-1)
    matrix = np.zeros((n, 3, 3, 3))
    for i in range(3):
        tail, head = (i + 1) % 3, (i + 2) % 3
        g, k = neighbours[:, i], entries[:, i]
        # feet of both apices on the edge, in its own length, from this face's tail to its head
        foot = ((corners[:, i] - corners[:, tail]) * opposite[:, i]).sum(-1) / square[:, i]
        foot_there = ((corners[g, k] - corners[:, tail]) * opposite[:, i]).sum(-1) / square[:, i]
        apex = np.where(walls[:, i], 0.0, -areas / areas[g])  # both heights stand on one edge
        to_head = np.where(walls[:, i], foot, foot - apex * foot_there)
        here_tail = np.where(walls[:, i], tail, (k + 2) % 3)  # the next face runs through the edge the other way
        here_head = np.where(walls[:, i], head, (k + 1) % 3)
        matrix[rows, i, here_tail, tail] = 1
        matrix[rows, i, here_head, head] = 1
        matrix[rows, i, here_tail, i] = 1 - apex - to_head
        matrix[rows, i, here_head, i] = to_head
        matrix[rows, i, k, i] = apex
    return matrix


def _vertex_normals(n: int, faces: np.ndarray, opposite: np.ndarray, normals: np.ndarray) -> np.ndarray:
    unit = opposite / np.linalg.norm(opposite, axis=-1, keepdims=True)
    angle = np.arccos(np.clip(-(np.roll(unit, -1, 1) * np.roll(unit, -2, 1)).sum(-1), -1, 1))
    total = np.zeros((n, 3))
    np.add.at(total, faces, angle[..., None] * normals[:, None])
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def _free(n: int, faces: np.ndarray, opposite: np.ndarray, normals: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """Projectors without the normals of the walls: of their mean where a wall bends a little, of both at a corner."""
    f, i = np.nonzero(walls)
    outward = np.cross(opposite[f, i], normals[f])
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True)
    spread = np.zeros((n, 3, 3))
    for end in (1, 2):
        np.add.at(spread, faces[f, (i + end) % 3], outward[:, :, None] * outward[:, None, :])
    values, vectors = np.linalg.eigh(spread)  # 1 ± cos of the turn of the wall
    kept = values < _SMOOTH_WALL
    kept[values.sum(-1) < 1] = True
    return np.einsum("nik,nk,njk->nij", vectors, kept.astype(float), vectors)


def _interpolate(b: Tensor, values: Tensor) -> Tensor:
    return torch.einsum("ni,nij->nj", b, values)


def _dot(u: Tensor, v: Tensor) -> Tensor:
    return (u * v).sum(-1, keepdim=True)
