"""PaiNN: scalars and vectors on every point, made chiral by a cross product."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .point_cloud import PointCloudField, Radial, soften

__all__ = ["PaiNNField"]


class PaiNNField(PointCloudField):
    r"""Velocity of ``N`` points of R³ that turns with them, ignores their centre and their order, has zero mean.

    Each point carries scalars :math:`h_i` (type and time at first) and as many vectors :math:`v_i` (none at first).
    With :math:`\hat r_{ij}` the direction and :math:`R` functions of the distance, each layer computes

    .. math::
        h_i &\leftarrow h_i + \textstyle\sum_j R^1_{ij} \phi^1(h_j), \qquad
        v_i \leftarrow v_i + \sum_j R^2_{ij} \phi^2(h_j)\, \hat r_{ij} + R^3_{ij} \phi^3(h_j)\, v_j \\
        h_i &\leftarrow h_i + \psi^1_i + \psi^2_i\, \langle U v_i, V v_i \rangle, \qquad
        v_i \leftarrow v_i + \psi^3_i\, U v_i + \psi^4_i\, (U v_i \times V v_i) / \sqrt{1 + |U v_i|^2 + |V v_i|^2}

    with :math:`\psi` of :math:`h_i` and :math:`|V v_i|`; sums run over the other real points, divided by the square
    root of their number. The velocity is a sum of the vectors, weighted by the scalars. The cross product, which the
    paper lacks, is a pseudovector: the field is equivariant under rotations and not under reflections, so that it can
    tell a molecule from its mirror image. Points, types and masks are those of `PointCloudField`.

    Args:
        atom_types, n_types: see `PointCloudField`.
        width: of scalars and vectors.
        depth: number of layers.

    Source: Schütt, Unke, Gastegger 2021, arXiv:2102.03150.
    """

    def __init__(
        self, atom_types: Sequence[int] | None = None, width: int = 64, depth: int = 3, n_types: int | None = None
    ) -> None:
        super().__init__(atom_types, width, n_types)
        self.messages = nn.ModuleList(_Message(width, first=n == 0) for n in range(depth))
        self.updates = nn.ModuleList(_Update(width) for _ in range(depth))
        self.readout = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def displacement(self, x: Tensor, h: Tensor, others: Tensor) -> Tensor:
        r = x[:, :, None] - x[:, None]
        square = r.square().sum(-1)
        directions = soften(r, square) * others[..., None]
        v = None
        for message, update in zip(self.messages, self.updates, strict=True):
            h, v = message(h, v, square, directions, others)
            h, v = update(h, v)
        assert v is not None
        return torch.einsum("biw,bikw->bik", self.readout(h), v) / h.shape[-1] ** 0.5


class _Message(nn.Module):
    def __init__(self, width: int, first: bool) -> None:
        super().__init__()
        parts = 2 if first else 3  # there are no vectors to pass on at first
        self.phi = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, parts * width))
        self.radial = Radial(parts * width)
        nn.init.normal_(self.radial.linear.weight)  # of a factor: a message is as large as what is sent

    def forward(
        self, h: Tensor, v: Tensor | None, square: Tensor, directions: Tensor, others: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``v (B, N, 3, width)``; ``directions (B, N, N, 3)`` and ``others (B, N, N)`` are zero between strangers."""
        m = (self.radial(square) * self.phi(h)[:, None]).chunk(2 if v is None else 3, -1)
        h = h + torch.einsum("bijw,bij->biw", m[0], others)
        pulled = torch.einsum("bijw,bijk->bikw", m[1], directions)
        if v is None:
            return h, pulled
        return h, v + pulled + torch.einsum("bijw,bij,bjkw->bikw", m[2], others, v)


class _Update(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mixed = nn.Linear(width, 2 * width, bias=False)
        self.psi = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 4 * width))

    def forward(self, h: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.mixed(v).chunk(2, -1)
        squares = a.square().sum(-2), b.square().sum(-2)
        length = (squares[1] + 1e-8).sqrt()  # smooth where a vector vanishes
        alone, inner, own, cross = self.psi(torch.cat([h, length], -1)).chunk(4, -1)
        h = h + alone + inner * (a * b).sum(-2)
        chiral = torch.linalg.cross(a, b, dim=-2) / (1 + squares[0] + squares[1]).sqrt()[:, :, None]
        return h, v + own[:, :, None] * a + cross[:, :, None] * chiral
