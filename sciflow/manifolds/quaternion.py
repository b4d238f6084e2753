"""Unit quaternions ``(…, 4)`` in the order w, x, y, z: products, and the way to and from rotation matrices."""

import torch
from torch import Tensor

__all__ = ["about", "conjugate", "from_matrix", "multiply", "rotate", "to_matrix"]


def about(angle: Tensor, axis: int) -> Tensor:
    """Turns (…, 4) by ``angle (…)`` about the x, y or z axis: 1, 2 or 3."""
    q = angle.new_zeros(*angle.shape, 4)
    q[..., 0], q[..., axis] = (angle / 2).cos(), (angle / 2).sin()
    return q


def multiply(p: Tensor, q: Tensor) -> Tensor:
    """Hamilton product ``p·q``: rotate by ``q``, then by ``p``."""
    a, u, b, v = p[..., :1], p[..., 1:], q[..., :1], q[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    scalar = a * b - (u * v).sum(-1, keepdim=True)
    return torch.cat([scalar, a * v + b * u + torch.linalg.cross(u, v)], dim=-1)


def conjugate(q: Tensor) -> Tensor:
    """``(w, −x, −y, −z)``: the inverse of a unit quaternion."""
    return torch.cat([q[..., :1], -q[..., 1:]], dim=-1)


def rotate(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors ``v (…, 3)`` by ``q (…, 4)``: ``v + 2w a×v + 2 a×(a×v)``."""
    axis, v = torch.broadcast_tensors(q[..., 1:], v)
    twice = 2 * torch.linalg.cross(axis, v)
    return v + q[..., :1] * twice + torch.linalg.cross(axis, twice)


def to_matrix(q: Tensor) -> Tensor:
    """Rotation matrices ``(…, 3, 3)`` whose columns are the rotated axes."""
    columns = [rotate(q, axis) for axis in torch.eye(3, dtype=q.dtype, device=q.device)]
    return torch.stack(columns, dim=-1)


def from_matrix(matrix: Tensor) -> Tensor:
    """Unit quaternions of rotation matrices ``(…, 3, 3)``, divided by their largest component (Shepperd 1978)."""
    xx, yy, zz = matrix.diagonal(dim1=-2, dim2=-1).unbind(-1)
    xy, xz, yz = (matrix[..., i, j] + matrix[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    wx, wy, wz = (matrix[..., i, j] - matrix[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    rows = [
        torch.stack([1 + xx + yy + zz, wx, wy, wz], dim=-1),
        torch.stack([wx, 1 + xx - yy - zz, xy, xz], dim=-1),
        torch.stack([wy, xy, 1 - xx + yy - zz, yz], dim=-1),
        torch.stack([wz, xz, yz, 1 - xx - yy + zz], dim=-1),
    ]
    outer = torch.stack(rows, dim=-2)  # 4 q qᵀ
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None].expand(*outer.shape[:-2], 1, 4)
    row = outer.gather(-2, largest).squeeze(-2)
    return row / row.norm(dim=-1, keepdim=True)
