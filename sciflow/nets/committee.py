"""Several fields as one: their mean."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..manifolds import State, scale, tree_map
from .field import Field

__all__ = ["Committee"]


class Committee(Field):
    """The mean of the members' velocities; in training each member answers for its own share of the batch alone.

    Members that learn from few data err differently where there are none: their mean errs less than any of them
    (Lakshminarayanan et al. 2017, arXiv:1612.01474, by the mean of densities). A step costs as much as that of one
    field on the same batch, an evaluation as much as all members together.

    Member k takes the rows k, k + K, …: objectives sort a batch by its times, and every member needs them all.

    Raises:
        ValueError: no members, or not of one manifold.
    """

    def __init__(self, members: Sequence[Field]) -> None:
        if not members or any(member.manifold != members[0].manifold for member in members):
            raise ValueError(f"{len(members)} members: give one or more, all of one manifold")
        super().__init__(members[0].manifold)
        self.members = nn.ModuleList(members)

    def velocity(self, x: State, t: Tensor, **cond: Tensor) -> State:
        if not self.training:
            answers = [member.velocity(x, t, **cond) for member in self._fields()]
            total = tree_map(lambda *parts: torch.stack(parts).sum(0), *answers)
            return scale(t.new_full(t.shape, 1 / len(answers)), total)
        count, order = len(self.members), torch.arange(len(t), device=t.device)
        shares = [order[k::count] for k in range(count)]
        answers = [
            member.velocity(
                tree_map(lambda leaf, rows=rows: leaf[rows], x), t[rows], **{k: c[rows] for k, c in cond.items()}
            )
            for member, rows in zip(self._fields(), shares, strict=True)
        ]
        back = torch.cat(shares).argsort()
        return tree_map(lambda *parts: torch.cat(parts)[back], *answers)

    def _fields(self) -> list[Any]:
        return list(self.members)
