"""Nearly optimal assignment by auction, whole rounds of bids at once, on any device."""

import torch
from torch import Tensor

__all__ = ["auction"]


def auction(cost: Tensor, prices: Tensor, slack: float) -> Tensor:
    """Assign each column of ``cost (n, n)``, n > 1, to one row: row indices ``(n,)``, a permutation.

    Rows without a column bid for the one of least ``cost + price``, as much as leaves it only ``slack`` better than
    the second; the highest bid wins and the former owner is free again. When all rows have a column, the mean cost of
    a pair is at most ``slack`` above the least one, whatever the first prices; good ones save rounds. Half of
    ``slack`` goes to a fixed pattern added to the costs, without which equal rows would bid for the same of equal
    columns, one after the other.

    Source: Bertsekas 1988 (Ann. Oper. Res. 14, 105), the Jacobi form.
    """
    n = len(cost)
    index = torch.arange(n, device=cost.device)
    golden = 0.6180339887498949
    pattern = ((golden * index.double())[:, None] + (golden**2 * 7.0 * index.double())).frac()
    cost = cost + slack / 2 * pattern.to(cost.dtype)
    step = max(slack / 2, 16 * torch.finfo(cost.dtype).eps * float(cost.abs().max() + prices.abs().max()))
    owner = torch.full_like(index, -1)
    free = index
    while len(free):
        least, column = (cost[free] + prices).topk(2, 1, largest=False)
        wanted = column[:, 0]
        bid = prices[wanted] + (least[:, 1] - least[:, 0]) + step
        prices = prices.scatter_reduce(0, wanted, bid, "amax")
        winning = bid == prices[wanted]
        winner = torch.full_like(owner, -1).scatter_reduce(0, wanted[winning], free[winning], "amax")
        owner = torch.where(winner >= 0, winner, owner)
        bidding = torch.ones_like(index, dtype=torch.bool)
        bidding[owner[owner >= 0]] = False
        free = index[bidding]
    return owner
