"""A transformer of sets of sequences: the next letter of one, from those before it and from its homologues."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..nets.rotary import Rotary, turned

__all__ = ["Memory", "SequenceSetTransformer"]

_Pair = tuple[Tensor, Tensor]
_NEAR = 5.0  # how much higher the score of the same place starts than that of places at random


class Memory(NamedTuple):
    """What a context is to the sequences that are read beside it.

    ``pairs``: keys and values of each layer, (P, heads, n·T, size); ``there`` (P, n, T): which of them are no padding.
    P is 1 where all sequences share a context.
    """

    pairs: list[_Pair]
    there: Tensor


class SequenceSetTransformer(nn.Module):
    r"""Log-probabilities of the next letter of a sequence given a set of homologues, unaligned.

    A layer reads a sequence itself, then all sequences of the set and itself, then has a perceptron; norms come first.
    Queries and keys are turned by their places (rotary), which restart in every sequence: between two letters counts
    how far apart they stand, each from its own start, and nothing counts the sequences.

    **What is invariant.** Each homologue is encoded by itself, in both directions, and sees neither the others nor the
    current sequence; the current sequence sees all of every homologue, and of itself what came before. So the law of
    the current sequence is a function of the *set* of homologues, exactly; leaving one out is a mask, and a homologue
    is encoded once for all sequences that see it. (In PoET homologues see those before them: there the order counts.)

    Args:
        letters: symbols 0 … letters−1; the number ``letters`` is the end, and every place behind it.
        allowed: (letters,) which of them occur; the others have probability zero.
        width: a multiple of ``2·heads``.

    Source: Truong & Bepler 2023 (PoET), arXiv:2306.06156; Su et al. 2021 (rotary), arXiv:2104.09864.
    """

    forbidden: Tensor

    def __init__(self, allowed: Tensor, width: int = 64, depth: int = 3, heads: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        if width % (2 * heads):
            raise ValueError(f"width={width} is not a multiple of 2·heads={2 * heads}")
        self.end = len(allowed)
        self.embed = nn.Embedding(self.end + 2, width)  # letters, the end, the start
        self.follows = nn.Embedding(self.end + 2, width)  # of homologues: the letter to come, the one that is asked for
        self.layers = nn.ModuleList(_Layer(width, heads, dropout) for _ in range(depth))
        self.outward = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, self.end + 1))
        self.register_buffer("forbidden", torch.cat([~allowed, torch.tensor([False])]), persistent=False)
        self.rotary = Rotary(width // heads)

    def remember(self, context: Tensor) -> Memory:
        """Homologues ``(P, n, L)``, each encoded by itself."""
        tokens = self._started(context)
        there = nn.functional.pad(context < self.end, (2, 0), value=True)[..., : tokens.shape[-1]]  # one end is seen
        seen = there.flatten(0, 1)[:, None, None]
        ahead = nn.functional.pad(tokens[..., 1:], (0, 1), value=self.end)
        h = (self.embed(tokens) + self.follows(ahead)).flatten(0, 1)
        turn = self._turn(0, tokens.shape[-1])
        pairs = []
        for layer in self.layers:
            assert isinstance(layer, _Layer)
            h, (key, value) = layer.alone(h, turn, seen)
            together = [t.unflatten(0, context.shape[:2]).transpose(1, 2).flatten(2, 3) for t in (key, value)]
            pairs.append((together[0], together[1]))
        return Memory(pairs, there)

    def forward(self, x: Tensor, memory: Memory, visible: Tensor) -> Tensor:
        """Log-probabilities ``(B, L, letters + 1)`` of each letter of ``x (B, L)``, or the end, after those before it.

        Args:
            visible: (B, n) which homologues each sequence sees.
        """
        return self._logits(self._started(x)[:, :-1], 0, memory, visible, None)

    def room(self, batch: int, length: int, memory: Memory) -> list[tuple[_Pair, _Pair]]:
        """Keys and values of up to ``length`` places of ``batch`` sequences, behind those of their context."""
        rooms = []
        for key, value in memory.pairs:
            empty = key.new_zeros(batch, key.shape[1], length, key.shape[3])
            behind = [torch.cat([t.expand(batch, -1, -1, -1), empty], 2) for t in (key, value)]
            rooms.append(((empty, empty.clone()), (behind[0], behind[1])))
        return rooms

    def resume(
        self, before: Tensor | None, place: int, memory: Memory, visible: Tensor, room: list[tuple[_Pair, _Pair]]
    ) -> Tensor:
        """Log-probabilities ``(B, letters + 1)`` at ``place``, after the letter ``before (B,)``, None at the start."""
        start = torch.full((len(visible),), self.end + 1, device=visible.device)
        return self._logits((start if before is None else before)[:, None], place, memory, visible, room)[:, 0]

    def _logits(
        self, tokens: Tensor, place: int, memory: Memory, visible: Tensor, room: list[tuple[_Pair, _Pair]] | None
    ) -> Tensor:
        stop = place + tokens.shape[1]
        own = torch.ones(tokens.shape[1], stop, dtype=torch.bool, device=tokens.device).tril(place)
        seen = (memory.there & visible[..., None]).flatten(1)[:, None, None].expand(-1, 1, len(own), -1)
        among = torch.cat([seen, own.expand(len(tokens), 1, -1, -1)], -1)
        h, turn = self.embed(tokens), self._turn(place, stop)
        for n, layer in enumerate(self.layers):
            h = layer(h, turn, own, among, memory.pairs[n], None if room is None else room[n], place)
        return self.outward(h).masked_fill(self.forbidden, -torch.inf).log_softmax(-1)

    def _started(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x, (1, 0), value=self.end + 1)

    def _turn(self, start: int, stop: int) -> Tensor:
        """Cosines and sines (2, T, size/2) of the places from ``start`` on."""
        return self.rotary(start, stop).to(self.embed.weight.dtype)


class _Layer(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.own, self.among = _Attention(width, heads), _Attention(width, heads)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def alone(self, h: Tensor, turn: Tensor, seen: Tensor) -> tuple[Tensor, _Pair]:
        """Of a homologue, which is a set by itself; and the keys and values that others see of it."""
        query, key, value = self.own.project(h, turn)
        h = h + self.dropout(self.own.attend(query, key, value, seen))
        query, key, value = self.among.project(h, turn)
        h = h + self.dropout(self.among.attend(query, key, value, seen))
        return h + self.dropout(self.perceptron(h)), (key, value)

    def forward(
        self, h: Tensor, turn: Tensor, own: Tensor, among: Tensor, memory: _Pair, room: Any, place: int
    ) -> Tensor:
        query, *pair = self.own.project(h, turn)
        key, value = _behind(pair, None, room and room[0], place)
        h = h + self.dropout(self.own.attend(query, key, value, own))
        query, *pair = self.among.project(h, turn)
        key, value = _behind(pair, memory, room and room[1], place)
        h = h + self.dropout(self.among.attend(query, key, value, among))
        return h + self.dropout(self.perceptron(h))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.inward, self.outward = nn.Linear(width, 3 * width), nn.Linear(width, width)
        # turned constants make scores that fall with the distance of two places: they start near their own
        nn.init.constant_(self.inward.bias[: 2 * width], (_NEAR * (width / heads) ** -0.5) ** 0.5)

    def project(self, h: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, heads, T, size), the first two turned by their places."""
        query, key, value = self.inward(self.norm(h)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return turned(query, turn), turned(key, turn), value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        found = nn.functional.scaled_dot_product_attention(query, key, value, mask)
        return self.outward(found.transpose(1, 2).flatten(2))


def _behind(pair: list[Tensor], memory: _Pair | None, room: _Pair | None, place: int) -> list[Tensor]:
    """Keys and values of the places, behind those of the context and of the places before them, and into the room."""
    if room is None:
        return pair if memory is None else [
            torch.cat([old.expand(len(new), -1, -1, -1), new], 2) for old, new in zip(memory, pair, strict=True)
        ]  # fmt: skip
    first = place + (0 if memory is None else memory[0].shape[2])
    stop = first + pair[0].shape[2]
    for kept, new in zip(room, pair, strict=True):
        kept[:, :, first:stop] = new
    return [kept[:, :, :stop] for kept in room]
