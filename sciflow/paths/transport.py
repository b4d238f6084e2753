"""Transport of a minibatch: permutations of the sources, exact or nearly so, from the matrix of costs."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ..manifolds import leaves
from .alignment import Alignment
from .auction import auction
from .costs import Cost, mismatch
from .couplings import Coupling, equal_numbers
from .potentials import centred, potentials

__all__ = ["OptimalTransport", "Sinkhorn", "Transport"]

_LARGE = 256  # points from which potentials cost less than the search they shorten
_ROUGH = 0.1  # entropy of those potentials, in spreads of the cost
_SLACK = 0.1  # of the auction, in units of ε; it is fast from there on


@dataclass(frozen=True)
class Transport(Coupling):
    """A permutation of the sources: every source and every data point is used exactly once.

    With ``condition_weight`` each source first takes the condition of the data it came with, and a pair of different
    conditions costs that much more (times the squared distance for real-valued conditions). A conditional flow needs
    this: plain transport ties the source to the condition, which sampling then breaks.

    Args:
        cost: ``(x0 (n, …), x1 (n, …)) -> (n, n)``; an :class:`Alignment` also rotates the matched sources. Costs count
            every point: a ragged batch (a condition ``mask (n, N)`` that is not all true) is refused.
        condition_weight: in the units of ``cost``; 0 ignores conditions.

    Source of the conditions: Cheng, Schwing 2025 (arXiv 2503.10636).
    """

    cost: Cost
    condition_weight: float = field(default=0.0, kw_only=True)

    def __call__(self, x0: Any, x1: Any, cond: dict[str, Tensor] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        first, n = leaves(x1)[0], equal_numbers(x0, x1, cond)
        cost = plain = self.cost(x0, x1).detach()
        spread = float(centred(plain).std()) if n > 1 else 0.0
        if self.condition_weight:
            for value in (cond or {}).values():
                cost = cost + self.condition_weight * mismatch(value)
        i1 = torch.arange(n, device=first.device)
        i0 = self._sources(cost, spread) if n > 1 else i1
        return i0.to(first.device), i1, first.new_ones(n)

    @abstractmethod
    def _sources(self, cost: Tensor, spread: float) -> Tensor:
        """The source of each data point, from the costs ``(n, n)`` and their spread without conditions."""

    def align(self, x0: Any, x1: Any) -> Any:
        return self.cost.align(x0, x1) if isinstance(self.cost, Alignment) else x0


@dataclass(frozen=True)
class OptimalTransport(Transport):
    """Minibatch optimal transport: the permutation of the sources with the least total cost.

    Large batches are searched faster, by an order of magnitude where points cluster, once the potentials of entropic
    transport are taken off rows and columns; which permutation is the best does not depend on them.

    Source: Tong et al. 2023 (arXiv 2302.00482), Pooladian et al. 2023 (arXiv 2304.14772).
    """

    def _sources(self, cost: Tensor, spread: float) -> Tensor:
        exact = cost.double()
        if len(cost) >= _LARGE and 0 < spread < torch.inf and not self.condition_weight:
            f, g = potentials(centred(cost), _ROUGH * spread)
            exact = centred(exact).sub_(f[:, None]).sub_(g)
        _, data = linear_sum_assignment(exact.cpu().numpy())
        return torch.as_tensor(data).argsort()


@dataclass(frozen=True)
class Sinkhorn(Transport):
    """Entropic optimal transport, rounded to a permutation, on the device of the points.

    The dual potentials of the plan that minimises ``⟨P, C⟩ + ε Σ P log P`` are the first prices of an auction whose
    bids rise by ε/10 at least. The mean cost of a pair is then at most ε/10 above the least one, wherever iterations
    ended; ``eps → 0`` is :class:`OptimalTransport`.

    Args:
        eps: ε as a fraction of the spread of the costs: their standard deviation once the means of rows and columns,
            which no permutation can change, are taken off. Time grows as it falls. Where the least cost is small
            beside the spread (many points in few dimensions), so should ε be.

    Raises:
        ValueError: when a cost is not finite.

    Source: Cuturi 2013 (arXiv 1306.0895); Schmitzer 2019 (arXiv 1610.06519); Bertsekas 1988 (Ann. Oper. Res. 14).
    """

    eps: float = 0.1

    def _sources(self, cost: Tensor, spread: float) -> Tensor:
        if not cost.isfinite().all():
            raise ValueError("Sinkhorn met a cost that is not finite: a pair cannot be forbidden")
        reduced = centred(cost)
        eps = self.eps * (spread or float(reduced.std()))
        if eps == 0:  # every permutation costs the same
            return torch.arange(len(cost))
        return auction(reduced, -potentials(reduced, eps)[1], _SLACK * eps)
