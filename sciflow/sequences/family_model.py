"""Families of sequences as a model: a loss, samples and densities, each given homologues of the training set."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, require_above
from ..rng import Generator, step_generator, uniform
from ..training import Model, Samples
from .alphabet import alphabet
from .family_network import Memory, SequenceSetTransformer

__all__ = ["FamilyModel", "FamilyTransformer"]

_SCORED = 64  # sequences that are scored at once
_ASKED = 16  # places between two looks at whether all samples have ended


class FamilyModel(Model):
    """Sequences of families, letter by letter, given some of their homologues.

    Args:
        network: of the next letter.
        known: the training set: ``x`` (N, L), ``family`` (N,), ``cluster`` (N,).
        context: homologues that a sequence is given.
        longest: letters after which a sample is ended.
    """

    known_x: Tensor
    known_family: Tensor
    known_cluster: Tensor

    def __init__(
        self, network: SequenceSetTransformer, known: Mapping[str, Tensor], context: int, longest: int
    ) -> None:
        super().__init__()
        self.network, self.context, self.longest = network, context, longest
        for name in ("x", "family", "cluster"):
            self.register_buffer(f"known_{name}", known[name], persistent=False)

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        """−log p(x | homologues) in nats a letter (the end counts as one), (B,).

        The homologues are drawn for the whole batch. A sequence sees a share of them that is drawn too, and none of its
        own cluster, as held-out sequences have none there.
        """
        pool = self._pool(batch["family"], generator)
        share = torch.rand(len(batch["x"]), 1, generator=generator, device=generator.device)
        drawn = torch.rand(len(share), len(pool), generator=generator, device=generator.device) < share
        visible = self._related(batch, pool) & drawn.to(pool.device)
        logp = self._log_prob(batch["x"], self.network.remember(self.known_x[pool][None]), visible)
        return -logp / ((batch["x"] < self.network.end).sum(1) + 1)

    @torch.no_grad()
    def sample(  # type: ignore[override]  # it has no solver to set
        self, n: int, cond: dict[str, Tensor] | None = None, generator: Generator = None
    ) -> Samples:
        """Sequences ``x (n, longest + 1)``, numbers of letters and then ``end``; ``logq`` given their homologues.

        The homologues of a sample are drawn from its own stream; ``cond["family"] (n,)`` says of which family, without
        it those of the first.
        """
        device = self.known_x.device
        family = torch.zeros(n, dtype=torch.long, device=device) if cond is None else cond["family"]
        score = uniform(n, len(self.known_x), generator=generator, dtype=torch.float64, device=device)
        score = score + (self.known_family != family[:, None])
        chosen = score.topk(min(self.context, len(self.known_x)), largest=False)
        memory, visible = self.network.remember(self.known_x[chosen.indices]), chosen.values < 1
        u = uniform(n, self.longest, generator=generator, dtype=torch.float64, device=device)
        room = self.network.room(n, self.longest, memory)
        x = torch.full((n, self.longest + 1), self.network.end, device=device)
        logq, before, ended = u.new_zeros(n), None, torch.zeros(n, dtype=torch.bool, device=device)
        for place in range(self.longest):
            logp = self.network.resume(before, place, memory, visible, room).double()
            total = logp.exp().cumsum(-1)
            before = (total / total[:, -1:] <= u[:, place, None]).sum(-1)
            logq += logp.gather(1, before[:, None])[:, 0].masked_fill(ended, 0)
            ended = ended | (before == self.network.end)
            x[:, place] = before.masked_fill(ended, self.network.end)
            if place % _ASKED == _ASKED - 1 and ended.all():
                break
        return Samples(x, logq, nfe=place + 1)

    def log_prob(self, x: Any, cond: dict[str, Tensor] | None = None, tolerance: float = 1e-5) -> Tensor:
        """Log-densities (B,) in nats, given homologues that are always the same.

        ``cond["family"] (B,)`` as in :meth:`sample`. Exact but for rounding: ``tolerance`` is of other models.
        """
        cond = cond or {"family": torch.zeros(len(x), dtype=torch.long, device=x.device)}
        pool = self._pool(cond["family"], step_generator(0, device=x.device))
        memory, visible = self.network.remember(self.known_x[pool][None]), self._related(cond, pool)
        rows = zip(x.split(_SCORED), visible.split(_SCORED), strict=True)
        return torch.cat([self._log_prob(part, memory, seen) for part, seen in rows])

    def _log_prob(self, x: Tensor, memory: Memory, visible: Tensor) -> Tensor:
        logp = self.network(x, memory, visible).double()
        counted = torch.nn.functional.pad(x < self.network.end, (1, 0), value=True)[:, : x.shape[1]]  # and one end
        return logp.gather(2, x[..., None])[..., 0].masked_fill(~counted, 0).sum(1)

    def _pool(self, family: Tensor, generator: torch.Generator) -> Tensor:
        """Numbers of ``context`` training sequences of each family that occurs, in an order of chance."""
        order = torch.rand(len(self.known_x), generator=generator, device=generator.device).argsort()
        order = order.to(family.device)
        chosen = [order[self.known_family[order] == one][: self.context] for one in family.unique()]
        return torch.cat(chosen)

    def _related(self, rows: Mapping[str, Tensor], pool: Tensor) -> Tensor:
        """(B, n) which of the pool are of the family of a sequence, but not of its cluster."""
        related = self.known_family[pool] == rows["family"][:, None]
        return related & (self.known_cluster[pool] != rows["cluster"][:, None]) if "cluster" in rows else related


@dataclass
class FamilyTransformer:
    """A transformer of sets of sequences, in the manner of PoET (Truong & Bepler 2023, arXiv:2306.06156).

    Attributes:
        width, depth, heads, dropout: of the network.
        context: homologues that a sequence is given.
    """

    width: int = 64
    depth: int = 3
    heads: int = 4
    dropout: float = 0.1
    context: int = 8

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "width", "depth", "heads", "context")
        if self.width % (2 * self.heads):
            raise InputError(f"model.width={self.width} must be a multiple of 2·model.heads={2 * self.heads}")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout={self.dropout} must be at least 0 and less than 1")

    def build(self, known: Mapping[str, Tensor]) -> FamilyModel:
        """An untrained model of the training set; samples are ended at one and a half times its longest sequence."""
        network = SequenceSetTransformer(alphabet(known["x"]), self.width, self.depth, self.heads, self.dropout)
        return FamilyModel(network, known, self.context, int(1.5 * known["x"].shape[1]))
