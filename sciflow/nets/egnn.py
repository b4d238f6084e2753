"""E(n) graph network with a chiral term: the field for molecules without internal coordinates."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .point_cloud import PointCloudField, Radial

__all__ = ["EGNNField"]


class EGNNField(PointCloudField):
    r"""Velocity of ``N`` points of R³ that turns with them, ignores their centre and their order, has zero mean.

    With :math:`r_{ij} = x_i - x_j` and types and time in :math:`h_i^0`, each layer computes

    .. math::
        m_{ij} &= \phi_m(h_i, h_j, |r_{ij}|), \qquad h_i \leftarrow h_i + \phi_h(h_i, \textstyle\sum_j m_{ij}) \\
        a_i &= \textstyle\sum_j \alpha(m_{ij})\, r_{ij}, \qquad b_i = \sum_j \beta(m_{ij})\, r_{ij} \\
        x_i &\leftarrow x_i + a_i + (a_i \times b_i) / \sqrt{1 + |a_i|^2 + |b_i|^2}

    and the velocity is the total displacement without its mean; sums run over the other real points, divided by
    the square root of their number. The cross product is a pseudovector: the field is equivariant under rotations
    and not under reflections, so that it can tell a molecule from its mirror image.

    Points are dense, ``(B, N, 3)``, with ``mask (B, N)`` for ragged batches: padding neither moves nor acts.

    Args:
        atom_types: one integer per point when all samples are the same molecule; points of one type are
            interchangeable. Without it, types may come with the samples, as the condition ``atom_types (B, N)``.
        width: of scalar features and messages.
        depth: number of layers.
        n_types: number of types; by default what ``atom_types`` holds, or 1.

    Source: Satorras, Hoogeboom, Welling 2021, arXiv:2102.09844; the cross product after Schneuing et al. 2022,
    arXiv:2210.13695, here local to each point.
    """

    def __init__(
        self, atom_types: Sequence[int] | None = None, width: int = 64, depth: int = 4, n_types: int | None = None
    ) -> None:
        super().__init__(atom_types, width, n_types)
        self.layers = nn.ModuleList(_Layer(width, last=n == depth - 1) for n in range(depth))

    def displacement(self, x: Tensor, h: Tensor, others: Tensor) -> Tensor:
        y = x
        for layer in self.layers:
            h, y = layer(h, y, others)
        return y - x


class _Layer(nn.Module):
    def __init__(self, width: int, last: bool) -> None:
        super().__init__()
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.distance = Radial(width)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.weights = nn.Linear(width, 2)
        # nothing reads the scalars behind the last layer, and distributed training refuses idle parameters
        self.update = None if last else nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Tensor, x: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        r = x[:, :, None] - x[:, None]
        # the first linear map of φ_m, split by argument: no (B, N, N, 2·width) concatenation
        m = self.message(self.receiver(h)[:, :, None] + self.sender(h)[:, None] + self.distance(r.square().sum(-1)))
        a, b = torch.einsum("bijk,bijc,bij->kbic", self.weights(m), r, others)
        chiral = torch.linalg.cross(a, b) / (1 + a.square().sum(-1, True) + b.square().sum(-1, True)).sqrt()
        if self.update is not None:
            h = h + self.update(torch.cat([h, torch.einsum("bijw,bij->biw", m, others)], -1))
        return h, x + a + chiral
