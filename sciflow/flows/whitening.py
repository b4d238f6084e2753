"""Whitening: data with unit covariance is what a flow from a normal base finds easiest."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import InputError
from ..manifolds import wrap
from .transform import ModuleTransform

__all__ = ["Whiten"]


class Whiten(ModuleTransform):
    r"""Decorrelates the real dimensions and turns the circular ones so that ±π falls where no data is.

    Real dimensions: the ZCA-correlation map :math:`y = P^{-1/2} V^{-1/2} (x - μ)` with V the variances and P the
    correlations; of all whitening maps it keeps each y most correlated with its own x. Angles: θ ↦ θ − c.
    Everything fitted is a buffer: a checkpoint carries its whitening.

    Args:
        circular: BoolTensor (D,), the dimensions that are angles.
        centre: (D,) means μ and rotations c.
        root, inverse_root: (D, D) matrices P^{-1/2} V^{-1/2} and V^{1/2} P^{1/2}, identity on angles.

    Source: Kessy, Lewin & Strimmer 2018 (arXiv:1512.00809).
    """

    circular: Tensor
    centre: Tensor
    root: Tensor
    inverse_root: Tensor
    ladj: Tensor

    def __init__(self, circular: Tensor, centre: Tensor, root: Tensor, inverse_root: Tensor) -> None:
        super().__init__()
        self.register_buffer("circular", circular)
        self.register_buffer("centre", centre)
        self.register_buffer("root", root)
        self.register_buffer("inverse_root", inverse_root)
        self.register_buffer("ladj", torch.linalg.slogdet(root).logabsdet)

    @classmethod
    def fit(cls, x: Tensor, circular: Tensor) -> "Whiten":
        """Whitening of frames ``x`` (n, D), in float64.

        The correlations count one more frame of uncorrelated data, so that fewer frames than dimensions still give an
        invertible map; at the usual thousands of frames it is not felt.

        Raises:
            InputError: for fewer than two frames, values that are not finite, or a real dimension that does not vary.
        """
        x = x.double()
        centre, deviation = _moments(x, circular)
        standard = torch.where(circular, 0.0, (x - centre) / deviation)
        correlation = (standard.T @ standard + torch.eye(len(centre)).to(x)) / len(x)
        correlation[circular, circular] = 1.0
        values, vectors = torch.linalg.eigh(correlation)
        root = (vectors * values.rsqrt()) @ vectors.T / deviation
        inverse_root = deviation[:, None] * ((vectors * values.sqrt()) @ vectors.T)
        return cls(circular, _wrap_angles(centre, circular), root, inverse_root)

    @classmethod
    def standardise(cls, x: Tensor, circular: Tensor) -> "Whiten":
        """The same without the correlations: real dimensions of frames ``x`` (n, D) get mean 0 and variance 1."""
        centre, deviation = _moments(x.double(), circular)
        return cls(circular, _wrap_angles(centre, circular), (1 / deviation).diag(), deviation.diag())

    def call_and_ladj(self, x: Float[Tensor, "*batch D"]) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        x = x.to(self.root.dtype) - self.centre
        return torch.where(self.circular, wrap(x), x @ self.root.T), self.ladj.expand(x.shape[:-1])

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        y = y.to(self.root.dtype)
        x = torch.where(self.circular, y, y @ self.inverse_root.T) + self.centre
        return _wrap_angles(x, self.circular), -self.ladj.expand(x.shape[:-1])


def _moments(x: Tensor, circular: Tensor) -> tuple[Tensor, Tensor]:
    """Means (angles: the middle of their data) and standard deviations (angles: 1) of ``x`` (n, D)."""
    if len(x) < 2:
        raise InputError(f"whitening has {len(x)} training frames: give at least 2, better thousands")
    if not x.isfinite().all():
        frame = int((~x.isfinite()).any(-1).nonzero()[0])
        raise InputError(f"training frame {frame} has coordinates that are not finite: remove it")
    centre = torch.where(circular, _emptiest(x) + math.pi, x.mean(0))
    deviation = x.std(0)
    still = (~circular & (deviation <= 1e-9 * (1 + centre.abs()))).nonzero().flatten().tolist()
    if still:
        raise InputError(f"coordinates {still} do not vary over {len(x)} frames: free or drop them")
    deviation[circular] = 1.0
    return centre, deviation


def _wrap_angles(x: Tensor, circular: Tensor) -> Tensor:
    """x (…, D) with its circular dimensions in (−π, π]."""
    return torch.where(circular, wrap(x), x)


def _emptiest(x: Tensor) -> Tensor:
    """Middle of the widest arc without data, for each column of x (n, D) taken as angles."""
    angles = wrap(x).sort(0).values
    gaps = torch.cat((angles[1:], angles[:1] + 2 * math.pi)) - angles
    widest, after = gaps.max(0)
    return angles.gather(0, after[None])[0] + widest / 2
