"""Stochastic normalizing flows: invertible maps and Markov kernels in turns, with exact weights of the paths."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..flows import ModuleTransform
from ..manifolds import Prior
from ..rng import Generator
from .kernels import Kernel
from .potentials import Interpolated, LogDensity, Potential

__all__ = ["StochasticFlow", "StochasticLayer"]


@dataclass(frozen=True)
class StochasticLayer:
    """Some steps of a Markov kernel under a potential; it has no parameters."""

    kernel: Kernel
    potential: Potential
    steps: int = 1

    def __call__(self, x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Where ``x`` goes, and log q̃(x|y)/q(y|x) of the way back over the way there ``(B,)``."""
        here = self.kernel.look(x, self.potential)
        move = self.kernel.run(x, self.potential, self.steps, generator, here)
        change = torch.where(move.energy == here.energy, 0.0, move.energy - here.energy)  # ∞ − ∞ where nothing moved
        return move.x, move.logw + change


class StochasticFlow(nn.Module):
    r"""A flow some of whose layers are moves of a Markov chain; log-densities are those of whole paths.

    A path z = y₀ → … → y_K = x leaves the base, and each layer adds to log q what its way there is more probable than
    its way back: :math:`\log q = \log p(y_0) + \sum_k \log q_k(y_k|y_{k-1}) - \log \tilde q_k(y_{k-1}|y_k)`. For an
    invertible layer that is its log-determinant, for a kernel in detailed balance under u it is u(y_{k−1}) − u(y_k).
    Then ⟨exp(−energy(x) − log q)⟩ = Z at any parameters, and weights are exact, though no density of x is known.

    It is trained by `PathKL`. Gradients pass through the moves with the noise held and the decisions to accept as they
    fell, as in the paper.

    Args:
        base: prior of the latents.
        layers: from data to latents, as in `Composed`: module transforms and `StochasticLayer`.

    Source: Wu, Köhler & Noé 2020 (arXiv:2002.06707).
    """

    def __init__(self, base: Prior[Tensor], layers: Sequence[Any]) -> None:
        super().__init__()
        self.base = base
        self.layers = tuple(layers)
        self.transforms = nn.ModuleList(layer for layer in layers if isinstance(layer, nn.Module))

    @classmethod
    def between(
        cls,
        base: Prior[Tensor],
        energy: Potential,
        blocks: Sequence[ModuleTransform],
        kernel: Kernel,
        steps: int,
    ) -> "StochasticFlow":
        """Each of K blocks (from data to latents) followed, on the way to the data, by ``steps`` of the kernel.

        Their potentials lead from the base to the energy: β = 1/K after the first block from the base, 1 at the data.
        """
        start, layers = LogDensity(base.log_prob), []
        for n, block in enumerate(blocks):
            layers += [StochasticLayer(kernel, Interpolated(start, energy, 1 - n / len(blocks)), steps), block]
        return cls(base, layers)

    def sample(self, n: int, generator: Generator = None) -> tuple[Tensor, Tensor]:
        """n samples and the log-densities (n,) of their paths; differentiable, so draw large n under `torch.no_grad`.

        With a sequence of n generators sample i depends on generator i alone.
        """
        parameter = next(self.parameters(), torch.empty(0))
        x = self.base.sample(n, generator=generator, dtype=parameter.dtype, device=parameter.device)
        logq = self.base.log_prob(x)
        for layer in reversed(self.layers):
            x, back = layer(x, generator) if isinstance(layer, StochasticLayer) else layer.inv.call_and_ladj(x)
            logq = logq - back
        return x, logq

    def path_log_prob(self, x: Tensor, generator: Generator = None) -> Tensor:
        """Log-density (B,) of one path that ends in ``x``, drawn backwards; its mean is at most log q(x).

        For samples of the target, −energy(x) − path_log_prob(x) are log-weights of ``forward_ess`` and ``eubo``.
        """
        total = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        for layer in self.layers:
            x, forth = layer(x, generator) if isinstance(layer, StochasticLayer) else layer.call_and_ladj(x)
            total = total + forth
        return self.base.log_prob(x) + total
