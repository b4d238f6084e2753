"""Invariant point attention, in one fused call."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["InvariantPointAttention"]

_NEVER = -1e9  # finite: a sample that is all padding gets numbers, which nobody reads, and not NaN


class InvariantPointAttention(nn.Module):
    r"""What N residues with frames :math:`T_i = (R_i, t_i)` tell each other, unchanged when all frames move as one.

    Each head attends by scalars, by pairs, and by points that residues carry in their own frames:

    .. math::
        a_{ij} = \text{softmax}_j \sqrt{\tfrac13} \Big(\frac{q_i \cdot k_j}{\sqrt c} + b_{ij}
            - \frac{\gamma}{2}\sqrt{\frac{2}{9P}} \sum_p \lVert T_i \vec q_{ip} - T_j \vec k_{jp} \rVert^2 \Big), \qquad
        o_i = \Big(\sum_j a_{ij} v_j,\; \vec o_{ip} = T_i^{-1} \sum_j a_{ij} T_j \vec v_{jp},\; |\vec o_{ip}|\Big)

    with :math:`b` a linear map of the pairs. As :math:`-\frac w2 |q - k|^2 = w\, q \cdot k - \frac w2 |k|^2` up to what
    is the same for all j, this is one ``scaled_dot_product_attention``: queries :math:`(q, w \vec q, 1)`, keys
    :math:`(k, \vec k, -\frac w2 |\vec k|^2)`, values :math:`(v, \vec v)`, and :math:`b` as an additive mask. No
    displacement of N² points is ever stored, nor are the weights: the mean of the pairs that the paper adds to
    :math:`o_i` would need them, and is left out.

    Points are in float32 or better, under autocast too, and about the centre of the residues: squares cancel.

    Args:
        width: of the residues' features, and of the result; a multiple of ``heads``.
        pair_width: of the pairs' features.
        points, value_points: that a head compares, and sends.

    Source: Jumper et al. 2021, doi:10.1038/s41586-021-03819-2, supplementary algorithm 22.
    """

    def __init__(self, width: int, pair_width: int, heads: int = 8, points: int = 4, value_points: int = 8) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width} is not a multiple of heads={heads}")
        self.heads, self.points, self.value_points = heads, points, value_points
        self.scalars = nn.Linear(width, 3 * width)
        self.local = nn.Linear(width, heads * (2 * points + value_points) * 3)
        self.bias = nn.Linear(pair_width, heads, bias=False)
        self.gamma = nn.Parameter(torch.full((heads,), math.log(math.e - 1)))  # softplus of it is 1
        self.out = nn.Linear(width + heads * 4 * value_points, width)

    def forward(
        self,
        h: Float[Tensor, "B N width"],
        z: Float[Tensor, "B N N pair_width"],
        translation: Float[Tensor, "B N 3"],
        rotation: Float[Tensor, "B N 3 3"],
        mask: Bool[Tensor, "B N"],
    ) -> Float[Tensor, "B N width"]:
        """Of frames in nm, rotations as matrices; padding (``mask`` false) is not attended to, and must be finite."""
        q, k, v = self.scalars(h).to(translation.dtype).unflatten(-1, (self.heads, -1)).chunk(3, -1)
        local = self.local(h).to(translation.dtype).unflatten(-1, (self.heads, -1, 3))
        bias = self.bias(z).to(translation.dtype).permute(0, 3, 1, 2).contiguous()
        with torch.autocast(h.device.type, enabled=False):
            real = mask[..., None].to(translation.dtype)
            centre = (translation * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp_min(1)
            origin = (translation - centre)[:, :, None, None]
            mean, far = self._attend(q, k, v, torch.einsum("bnij,bnhpj->bnhpi", rotation, local) + origin, bias, mask)
            near = torch.einsum("bnji,bnhpj->bnhpi", rotation, far - origin)
            length = (near.square().sum(-1) + 1e-8).sqrt()  # smooth where a point meets its origin
        return self.out(torch.cat([mean.flatten(2), near.flatten(2), length.flatten(2)], -1))

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, points: Tensor, bias: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attended scalars (B, N, H, c) and points (B, N, H, P, 3), of those of queries, keys and values in one."""
        size, third = v.shape[-1], math.sqrt(1 / 3)
        weight = third * math.sqrt(2 / (9 * self.points)) * nn.functional.softplus(self.gamma)[:, None]
        there, here, sent = points.split([self.points, self.points, self.value_points], 3)
        square = here.square().sum((-1, -2))[..., None]
        query = torch.cat([third / math.sqrt(size) * q, weight * there.flatten(-2), torch.ones_like(square)], -1)
        key = torch.cat([k, here.flatten(-2), -0.5 * weight * square], -1)
        value = torch.cat([v, sent.flatten(-2)], -1)
        common = 8 * math.ceil(max(query.shape[-1], value.shape[-1]) / 8)  # one size, as the fast kernels want it
        query, key, value = (
            nn.functional.pad(part, (0, common - part.shape[-1])).transpose(1, 2) for part in (query, key, value)
        )
        bias = (third * bias).masked_fill(~mask[:, None, None], _NEVER)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0).transpose(1, 2)
        return seen[..., :size], seen[..., size : size + 3 * self.value_points].unflatten(-1, (-1, 3))
