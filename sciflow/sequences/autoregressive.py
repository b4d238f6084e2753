"""Alignments without a network: columns of their own, or each column by logistic regression on those before it."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..rng import Generator, uniform

__all__ = ["Autoregressive"]

_STEPS = 40  # of L-BFGS


class Autoregressive:
    r"""A density of rows of an alignment, exact, from which drawing costs one pass over the columns.

    .. math:: \log p(x) = \sum_i \log \mathrm{softmax}\Big(h_i + \sum_{j<i} J_{ij} e_{x_j}\Big)_{x_i}

    It has the couplings of a Potts model, and a normalisation that costs nothing. Without J it is the site-independent
    profile.

    Args:
        bias: h (L, K).
        couplings: J (L·K, L·K), rows of what is seen, columns of what is predicted; zero unless j < i. None: no J.

    Source: Trinquier et al. 2021, arXiv:2103.03292.
    """

    def __init__(self, bias: Tensor, couplings: Tensor | None = None) -> None:
        self.bias, self.couplings = bias, couplings

    @classmethod
    def independent(cls, x: Tensor, k: int, pseudocount: float) -> "Autoregressive":
        """Columns by their frequencies, with ``pseudocount`` times the mean frequencies of all columns added."""
        counts = one_hot(x, k).double().sum(0)
        background = (counts.sum(0) + 1) / (counts.sum() + k)
        law = (counts + pseudocount * background) / (len(x) + pseudocount)
        return cls(law.log())

    @classmethod
    def fit(cls, x: Tensor, k: int, strength: float) -> "Autoregressive":
        """The minimum of −Σ log p(x) / n + strength·Σ J² (h: a hundredth of it): convex, by L-BFGS in float32."""
        start = cls.independent(x, k, 1.0)
        hot = one_hot(x, k).float().flatten(1)
        column = torch.arange(x.shape[1]).repeat_interleave(k)
        before = (column[:, None] < column).float()
        h, j = start.bias.float().requires_grad_(), torch.zeros_like(before).requires_grad_()
        solver = torch.optim.LBFGS([h, j], max_iter=_STEPS, history_size=5, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            solver.zero_grad()
            logits = h + (hot @ (j * before)).unflatten(1, (-1, k))
            found = -(logits.log_softmax(-1).flatten(1) * hot).sum(1).mean()
            found = found + strength * (j.square().sum() + h.square().sum() / 100)
            found.backward()
            return found

        solver.step(loss)
        return cls(h.detach().double(), (j * before).detach().double())

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probabilities (n,) of rows (n, L), in nats, float64."""
        hot = one_hot(x, self.bias.shape[1]).double().flatten(1)
        seen = 0 if self.couplings is None else (hot @ self.couplings).unflatten(1, self.bias.shape)
        logits = (self.bias + seen).expand(len(x), -1, -1)
        return (logits.log_softmax(-1).flatten(1) * hot).sum(1)

    def sample(self, n: int, generator: Generator = None) -> Tensor:
        """Rows (n, L)."""
        columns, k = self.bias.shape
        u = uniform(n, columns, generator=generator, dtype=torch.float64)
        x = torch.zeros(n, columns, dtype=torch.long)
        hot = torch.zeros(n, 0, dtype=torch.float64)
        for i in range(columns):
            seen = 0 if self.couplings is None else hot @ self.couplings[: i * k, i * k : (i + 1) * k]
            law = (self.bias[i] + seen).softmax(-1).expand(n, -1)
            x[:, i] = (law.cumsum(-1)[:, :-1] <= u[:, i, None]).sum(1)
            hot = torch.cat([hot, one_hot(x[:, i], k).double()], 1)
        return x
