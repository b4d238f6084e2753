"""Invertible maps that carry parameters or buffers: `nn.Module` and `torch.distributions.Transform` in one."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn
from torch.distributions import Transform, constraints

__all__ = ["Composed", "ModuleTransform"]


class ModuleTransform(nn.Module, Transform):
    """A bijection in the manner of `zuko.transforms`, whose tensors are saved, moved and trained with their flow.

    A subclass states the map and its inverse, each with its log-determinant (an inverse evaluated alone would pay its
    network twice). Vectors (…, D) unless ``domain`` and ``codomain`` say otherwise; ladj has shape (…,).
    Each map computes in the dtype of its own tensors, so that a flow may keep its coordinates in float64 and its
    networks in float32.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True
    __hash__ = nn.Module.__hash__

    def __init__(self) -> None:
        nn.Module.__init__(self)
        Transform.__init__(self)

    @abstractmethod
    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y = f(x) and log|det ∂f/∂x|."""

    @abstractmethod
    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x = f⁻¹(y) and log|det ∂f⁻¹/∂y|."""

    def forward(self, x: Tensor) -> Tensor:
        """y = f(x)."""
        return self.call_and_ladj(x)[0]

    @property
    def inv(self) -> Transform:
        """The inverse, as a transform."""
        return _Inverse(self)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log|det ∂f/∂x| at ``x``."""
        return self.call_and_ladj(x)[1]


class _Inverse(Transform):
    bijective = True

    def __init__(self, base: ModuleTransform) -> None:
        super().__init__()
        self.base = base
        self.domain, self.codomain = base.codomain, base.domain

    @property
    def inv(self) -> ModuleTransform:
        return self.base

    def _call(self, y: Tensor) -> Tensor:
        return self.base.inverse_and_ladj(y)[0]

    def call_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.base.inverse_and_ladj(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self.base.inverse_and_ladj(x)[1]


class Composed(ModuleTransform):
    """f = fₙ ∘ … ∘ f₁ of module transforms, applied from left to right."""

    def __init__(self, *transforms: ModuleTransform) -> None:
        super().__init__()
        self.transforms = cast(Sequence[ModuleTransform], nn.ModuleList(transforms))
        self.domain = transforms[0].domain
        self.codomain = transforms[-1].codomain

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x, total = self.transforms[0].call_and_ladj(x)
        for transform in self.transforms[1:]:
            x, ladj = transform.call_and_ladj(x)
            total = total + ladj
        return x, total

    def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
        y, total = self.transforms[-1].inverse_and_ladj(y)
        for transform in reversed(self.transforms[:-1]):
            y, ladj = transform.inverse_and_ladj(y)
            total = total + ladj
        return y, total
