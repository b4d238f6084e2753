"""Invertible residual networks: every dimension moves at once, and the inverse is a contraction."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..rng import normal, uniform
from .normalizing_flow import NormalizingFlow
from .transform import Composed, ModuleTransform

__all__ = ["ResidualBlock", "estimate_log_prob", "residual_blocks"]

_CONTRACTION = 1e-4


class ResidualBlock(ModuleTransform):
    r"""y = x + g(x) with g a network whose Lipschitz constant L is below one.

    Each layer of g is divided by its largest singular value where that exceeds :math:`L^{1/\text{layers}}`, exactly, by
    a singular value decomposition at every call; activations are LipSwish, x·sigmoid(βx)/1.1. Jacobians J of g are
    products of its layers, taken along with its values, so that everything can be differentiated as often as needed.

    ladj is log det(1 + J), exact, at the price of D directions and a determinant; in many dimensions train with
    `estimate_log_prob`. The inverse iterates x ← y − g(x) until Lⁿ < 10⁻⁴ and ends with Newton's method, whose last two
    steps carry gradients, exact up to the third derivative.

    Args:
        dim: D.
        width, depth: hidden units and hidden layers of g.
        lipschitz: L.

    Source: Behrmann et al. 2019 (arXiv:1811.00995); Chen et al. 2019 (arXiv:1906.02735).
    """

    def __init__(self, dim: int, width: int = 64, depth: int = 2, lipschitz: float = 0.9) -> None:
        super().__init__()
        if not 0 < lipschitz < 1:
            raise ValueError(f"lipschitz = {lipschitz}: a residual block is invertible between 0 and 1")
        sizes = [dim, *[width] * depth, dim]
        self.layers = cast(Sequence[nn.Linear], nn.ModuleList(nn.Linear(m, n) for m, n in pairwise(sizes)))
        self.beta = nn.Parameter(torch.full((depth,), math.log(math.expm1(1.0))))
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)
        self.lipschitz = lipschitz

    def call_and_ladj(self, x: Float[Tensor, "*batch D"]) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        batch, x = x.shape[:-1], self._flat(x)
        g, weights, slopes = self._residual(x)
        return (x + g).reshape(*batch, x.shape[-1]), _log_det(_jacobian(weights, slopes)).reshape(batch)

    def inverse_and_ladj(
        self, y: Float[Tensor, "*batch D"]
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        batch, y = y.shape[:-1], self._flat(y)
        with torch.no_grad():
            weights = self._weights()
            x = y
            for _ in range(math.ceil(math.log(_CONTRACTION) / math.log(self.lipschitz))):
                x = y - self._residual(x, weights)[0]
            x = self._newton(self._newton(x, y, weights), y, weights)
        weights = self._weights()
        x = self._newton(self._newton(x, y, weights), y, weights)
        _, _, slopes = self._residual(x, weights)
        return x.reshape(*batch, x.shape[-1]), -_log_det(_jacobian(weights, slopes)).reshape(batch)

    def estimate(
        self, x: Float[Tensor, "*batch D"], generator: torch.Generator | None = None, exact_terms: int = 4
    ) -> tuple[Float[Tensor, "*batch D"], Float[Tensor, "*batch"]]:
        r"""f(x) and an unbiased estimate of ladj, in one direction v ~ N(0, 1) a sample; so are its gradients.

        The series :math:`\sum_k (-1)^{k+1} v^T J^k v / k` ends after a random number of terms, ``exact_terms`` and a
        geometric number of further ones, each divided by the probability that it is reached: one more with probability
        L, so that terms stay bounded and the variance finite (halves, as in the paper, bound it for L² < ½ only).
        """
        batch, x = x.shape[:-1], self._flat(x)
        g, weights, slopes = self._residual(x)
        # One number of terms for the batch. P(at least n further terms) = Lⁿ.
        further = int((1 - uniform(1, generator=generator, dtype=torch.float64)).log() / math.log(self.lipschitz))
        v = normal(*x.shape, generator=generator, dtype=x.dtype, device=x.device)
        w, ladj = v, x.new_zeros(len(x))
        for k in range(1, exact_terms + further + 1):
            for n, weight in reversed(list(enumerate(weights))):
                w = w @ weight if n == len(weights) - 1 else (w * slopes[n]) @ weight
            ladj = ladj - (-1) ** k / k * self.lipschitz ** min(0, exact_terms - k) * (w * v).sum(-1)
        return (x + g).reshape(*batch, x.shape[-1]), ladj.reshape(batch)

    def _flat(self, x: Tensor) -> Tensor:
        return x.to(self.beta.dtype).reshape(-1, x.shape[-1])

    def _weights(self) -> list[Tensor]:
        bound = self.lipschitz ** (1 / len(self.layers))
        matrices = [layer.weight for layer in self.layers]
        return [w * (bound / torch.linalg.matrix_norm(w, 2).clamp(min=bound)) for w in matrices]

    def _residual(self, x: Tensor, weights: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """g(x), the weights of its layers, and the slopes of its activations at x."""
        weights = weights or self._weights()
        slopes = []
        for n, (weight, layer) in enumerate(zip(weights, self.layers, strict=True)):
            x = F.linear(x, weight, layer.bias)
            if n < len(self.beta):
                beta = F.softplus(self.beta[n])
                gate = (beta * x).sigmoid()
                slopes.append(gate * (1 + beta * x * (1 - gate)) / 1.1)
                x = x * gate / 1.1
        return x, weights, slopes

    def _newton(self, x: Tensor, y: Tensor, weights: list[Tensor]) -> Tensor:
        g, _, slopes = self._residual(x, weights)
        return x - torch.linalg.solve(_plus_one(_jacobian(weights, slopes)), (x + g - y)[..., None]).squeeze(-1)


def residual_blocks(dim: int, blocks: int = 8, width: int = 64, depth: int = 2, *, seed: int = 0) -> Composed:
    """A residual flow on real vectors (…, D), at first the identity; ``seed`` names the initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Composed(*(ResidualBlock(dim, width, depth) for _ in range(blocks)))


def estimate_log_prob(
    flow: NormalizingFlow, x: Float[Tensor, "B D"], generator: torch.Generator | None = None
) -> Float[Tensor, " B"]:
    """Unbiased estimate of ``flow.log_prob(x)``, and of its gradients, without a determinant: for training."""
    z, ladj = _estimated(flow.transform, x, generator)
    return flow.base.log_prob(z) + ladj


def _estimated(transform: Any, x: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    if isinstance(transform, ResidualBlock):
        return transform.estimate(x, generator)
    if not isinstance(transform, Composed):
        return transform.call_and_ladj(x)
    total = x.new_zeros(len(x))
    for part in transform.transforms:
        x, ladj = _estimated(part, x, generator)
        total = total + ladj
    return x, total


def _jacobian(weights: list[Tensor], slopes: list[Tensor]) -> Tensor:
    """Wₙ diag(sₙ₋₁) … diag(s₁) W₁ of each sample, (B, D, D)."""
    jacobian = slopes[0][..., None] * weights[0]
    for weight, slope in zip(weights[1:-1], slopes[1:], strict=True):
        jacobian = slope[..., None] * (weight @ jacobian)
    return weights[-1] @ jacobian


def _plus_one(jacobian: Tensor) -> Tensor:
    return jacobian + torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)


def _log_det(jacobian: Tensor) -> Tensor:
    return torch.linalg.slogdet(_plus_one(jacobian)).logabsdet
