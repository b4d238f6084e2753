"""Cartesian coordinates of a molecule in a frame that moves with it."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints

from ..errors import InputError
from .transform import ModuleTransform

__all__ = ["BodyFrame"]


class BodyFrame(ModuleTransform):
    r"""Cartesian (…, N, 3) in nm to the 3N−6 coordinates that rigid motions leave alone, three of them an atom.

    The first atom of ``order`` is the origin, the second lies on the positive x axis at distance b, the third in the xy
    plane at (c, s), s > 0. The coordinates are (log b, c, log s), then the positions of the other atoms in their order:
    every real vector is a molecule. Mirror images differ by the sign of the last coordinate of every atom.

    **Measure.** With x₀ the first atom and R the rotation of the frame, of total Haar volume 8π², Cartesian volume is

    .. math:: d^{3N}x = d^3x_0 \; dR \; b^3 s^2 \; d\log b \; dc \; d\log s \prod_{i \ge 3} d^3 p_i,

    so the log-determinant is :math:`-3 \log b - 2 \log s`, and the density of a flow through this map is with respect
    to Cartesian volume *modulo rigid motions*, as that of `InternalCoordinates`: weights against exp(−U/kT) are exact,
    with the normaliser Z_c / (8π² V). ``inv`` returns molecules in their frame.

    Computes in float64 whatever the dtype of x. The first three atoms must not lie on a line.

    Args:
        order: LongTensor (N,) of atoms; the first three stiff and central, as N − C − C of a backbone about its middle.
    """

    domain = constraints.independent(constraints.real, 2)

    order: Tensor
    places: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        order = torch.as_tensor(order, dtype=torch.long)
        if len(order) < 3 or sorted(order.tolist()) != list(range(len(order))):
            raise InputError(f"atom order {order.tolist()}: name each of at least 3 atoms once, from 0 on")
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("places", order.argsort(), persistent=False)

    def call_and_ladj(
        self, x: Float[Tensor, "*batch N 3"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        x = x.double().index_select(-2, self.order)
        x = x[..., 1:, :] - x[..., :1, :]
        b = torch.linalg.vector_norm(x[..., 0, :], dim=-1)
        first = x[..., 0, :] / b[..., None]
        c = (x[..., 1, :] * first).sum(-1)
        across = x[..., 1, :] - c[..., None] * first
        s = torch.linalg.vector_norm(across, dim=-1)
        second = across / s[..., None]
        frame = torch.stack((first, second, torch.linalg.cross(first, second)), -1)
        triangle = torch.stack((b.log(), c, s.log()), -1)
        return torch.cat((triangle, (x[..., 2:, :] @ frame).flatten(-2)), -1), -_log_volume(triangle)

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch N 3"], Float[Tensor, "*batch"]]:
        y = y.double()
        triangle, others = y[..., :3], y[..., 3:].unflatten(-1, (-1, 3))
        zero = torch.zeros_like(y[..., 0])
        corner = torch.stack((zero, zero, zero), -1)
        axis = torch.stack((triangle[..., 0].exp(), zero, zero), -1)
        plane = torch.stack((triangle[..., 1], triangle[..., 2].exp(), zero), -1)
        x = torch.cat((torch.stack((corner, axis, plane), -2), others), -2)
        return x.index_select(-2, self.places), _log_volume(triangle)


def _log_volume(triangle: Tensor) -> Tensor:
    return 3 * triangle[..., 0] + 2 * triangle[..., 2]
