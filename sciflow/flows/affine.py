"""Affine coupling layers: the flow of the first Boltzmann generators."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from .transform import ModuleTransform

__all__ = ["AffineCoupling"]

_LARGEST_LOG_SCALE = 3.0


class AffineCoupling(ModuleTransform):
    r"""Scales and shifts half of the dimensions by what a network reads in the other half: y = x ⊙ exp(s) + t.

    Log-scales are bounded, s = 3 tanh(raw/3): one layer stretches at most twentyfold. It starts as the identity.

    Args:
        mask: BoolTensor (D,), the dimensions that move, all real numbers; both kinds of mask value must occur.
        width, depth: hidden units and layers of the network.

    Source: Dinh, Sohl-Dickstein & Bengio 2017 (arXiv:1605.08803).
    """

    moved: Tensor
    fixed: Tensor

    def __init__(self, mask: Tensor, width: int = 64, depth: int = 2) -> None:
        super().__init__()
        if not (mask.any() and not mask.all()):
            raise ValueError(f"mask moves {int(mask.sum())} of {len(mask)} dimensions: move some and keep some")
        self.register_buffer("moved", mask.nonzero().flatten())
        self.register_buffer("fixed", (~mask).nonzero().flatten())
        sizes = [len(self.fixed), *[width] * depth]
        hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
        self.trunk, self.head = nn.Sequential(*hidden), nn.Linear(sizes[-1], 2 * len(self.moved))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def call_and_ladj(self, x: Float[Tensor, "*batch D"]) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        x, log_scale, shift = self._read(x)
        return self._join(x, x.index_select(-1, self.moved) * log_scale.exp() + shift), log_scale.sum(-1)

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        y, log_scale, shift = self._read(y)
        return self._join(y, (y.index_select(-1, self.moved) - shift) * (-log_scale).exp()), -log_scale.sum(-1)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = x.to(self.head.weight.dtype)
        raw, shift = self.head(self.trunk(x.index_select(-1, self.fixed))).chunk(2, -1)
        return x, _LARGEST_LOG_SCALE * (raw / _LARGEST_LOG_SCALE).tanh(), shift

    def _join(self, x: Tensor, moved: Tensor) -> Tensor:
        return x.index_copy(-1, self.moved, moved)
