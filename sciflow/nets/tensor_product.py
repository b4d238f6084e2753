"""Tensor products of spherical harmonics (e3nn): features of every degree on every point."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .point_cloud import PointCloudField, Radial, soften

__all__ = ["TensorProductField"]


class TensorProductField(PointCloudField):
    r"""Velocity of ``N`` points of R³ that turns with them, ignores their centre and their order, has zero mean.

    Each point carries :math:`h_i^{\ell}`, ``width`` irreducible tensors of every degree :math:`\ell \le` ``degree``
    (scalars of type and time at first). With spherical harmonics :math:`Y^{\ell}` of the directions and :math:`R`
    functions of the distance, each layer computes

    .. math::
        A_i^{\ell} = \textstyle\sum_j R^{\ell}_{ij}\, \phi^{\ell}(h_j^0)\, Y^{\ell}(\hat r_{ij})
            + \tilde R^{\ell}_{ij}\, h_j^{\ell}, \qquad
        h_i \leftarrow h_i + W_1 A_i + W_2 \bigl(A_i \otimes W_3 (A_i, h_i)\bigr)

    with the products of all degrees that end in a degree of ours, channel by channel, each weighted by what a network
    reads in the scalars; sums run over the other real points, divided by the square root of their number. The products
    are of atoms, not of pairs, as in MACE: N of them a layer, not N². The velocity is a sum of the vectors, weighted by
    the scalars. All parities are taken as even, so that :math:`1 \otimes 1 \to 1`, the cross product, is among the
    products: the field is equivariant under rotations and not under reflections. Points, types and masks are those of
    `PointCloudField`. The Clebsch–Gordan coefficients have the default dtype at construction: ``.double()`` adds no
    digits to them.

    Args:
        atom_types, n_types: see `PointCloudField`.
        width: tensors of every degree.
        depth: number of layers.
        degree: highest degree, at least 1.

    Source: Batzner et al. 2022, arXiv:2101.03164 (NequIP); Batatia et al. 2022, arXiv:2206.07697 (MACE); Geiger &
    Smidt 2022, arXiv:2207.09453 (e3nn).
    """

    def __init__(
        self,
        atom_types: Sequence[int] | None = None,
        width: int = 32,
        depth: int = 2,
        n_types: int | None = None,
        degree: int = 2,
    ) -> None:
        super().__init__(atom_types, width, n_types)
        self.degrees = list(range(degree + 1))
        self.layers = nn.ModuleList(_Layer(width, degree, first=n == 0) for n in range(depth))
        self.readout = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def displacement(self, x: Tensor, h: Tensor, others: Tensor) -> Tensor:
        from e3nn import o3

        r = x[:, :, None] - x[:, None]
        square = r.square().sum(-1)
        harmonics = o3.spherical_harmonics(self.degrees, soften(r, square), normalize=False, normalization="component")
        harmonics = harmonics * others[..., None]
        tensors = [h[..., None]]
        for layer in self.layers:
            tensors = layer(tensors, square, harmonics, others)
        gate = self.readout(tensors[0][..., 0])
        return torch.einsum("biw,biwk->bik", gate, tensors[1]) / gate.shape[-1] ** 0.5


class _Layer(nn.Module):
    """Tensors are lists by degree, ``(B, N, width, 2ℓ + 1)`` each; those that enter the first layer are scalars."""

    def __init__(self, width: int, degree: int, first: bool) -> None:
        from e3nn import o3

        super().__init__()
        self.width, self.sizes = width, [2 * l + 1 for l in range(degree + 1)]  # noqa: E741
        self.carried = 1 if first else degree + 1
        self.phi = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, len(self.sizes) * width))
        self.radial = Radial((len(self.sizes) + self.carried) * width)
        nn.init.normal_(self.radial.linear.weight)  # of a factor: a message is as large as what is sent
        irreps = o3.Irreps([(width, (l, 1)) for l in range(degree + 1)])  # noqa: E741
        self.factor = o3.Linear(irreps + irreps[: self.carried], irreps)
        paths = [
            (a, b, c, "uuu", True)
            for a in range(degree + 1)
            for b in range(degree + 1)
            for c in range(abs(a - b), min(a + b, degree) + 1)
        ]
        self.product = o3.TensorProduct(irreps, irreps, irreps, paths, internal_weights=False, shared_weights=False)
        self.weights = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, self.product.weight_numel))
        self.mix = o3.Linear(irreps + irreps, irreps)

    def forward(self, h: list[Tensor], square: Tensor, harmonics: Tensor, others: Tensor) -> list[Tensor]:
        scalars = h[0][..., 0]
        new, passed = self.radial(square).split((len(self.sizes) * self.width, self.carried * self.width), -1)
        new = (new * self.phi(scalars)[:, None]).chunk(len(self.sizes), -1)
        parts = zip(new, harmonics.split(self.sizes, -1), strict=True)
        gathered = [torch.einsum("bijw,bijk->biwk", r, y) for r, y in parts]
        for degree, (r, tensor) in enumerate(zip(passed.chunk(self.carried, -1), h, strict=True)):
            gathered[degree] = gathered[degree] + torch.einsum("bijw,bij,bjwk->biwk", r, others, tensor)
        a = _joined(gathered)
        product = self.product(a, self.factor(torch.cat([a, _joined(h)], -1)), self.weights(scalars))
        mixed = self.mix(torch.cat([a, product], -1)).split([self.width * size for size in self.sizes], -1)
        moved = [part.unflatten(-1, (self.width, -1)) for part in mixed]
        return [m + h[degree] if degree < self.carried else m for degree, m in enumerate(moved)]


def _joined(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten(-2) for tensor in tensors], -1)
