"""Random streams by name: a generator of a seed and integers; one stream a sample, all drawn at once."""

import math
from collections.abc import Sequence
from typing import overload

import numpy as np
import torch
from torch import Tensor

__all__ = ["Streams", "philox", "step_generator"]

_WORD = 0xFFFFFFFF
_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 10


def step_generator(seed: int, *key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Generator named by a seed and integers below 2³² (a step, a rank, …), without any state to save.

    Other numbers, or more of them, are another stream: that of ``(seed,)`` is not that of ``(seed, 0)``.
    """
    mixed = np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(mixed >> np.uint64(1)))


def philox(counter: Sequence[Tensor], key: tuple[int, int]) -> list[Tensor]:
    """Philox4x32-10: four random words for each counter of four words, all int64 below 2³², broadcast.

    Source: Salmon, Moraes, Dror & Shaw 2011, https://doi.org/10.1145/2063384.2063405.
    """
    a, b, c, d = torch.broadcast_tensors(*counter)
    k, m = key
    for _ in range(_ROUNDS):
        # Products wrap as int64 do; their bits are those of unsigned ones.
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = (second >> 32 & _WORD) ^ b ^ k, second & _WORD, (first >> 32 & _WORD) ^ d ^ m, first & _WORD
        k, m = (k + _WEYL[0]) & _WORD, (m + _WEYL[1]) & _WORD
    return [a, b, c, d]


class Streams(Sequence[torch.Generator]):
    """The streams of samples ``start … start+n-1`` of ``seed``: a sequence of generators that draws without a loop.

    A number is a function of seed, sample, call and place, so it is the same in any batch. A slice shares its calls
    with the whole. A single item is a generator of torch, for draws that have no such form, and keeps its own state.
    """

    def __init__(self, seed: int, start: int, n: int, device: torch.device | str = "cpu") -> None:
        self.seed, self.device = seed, torch.device(device)
        low, high = np.random.SeedSequence(seed).generate_state(2).tolist()
        self.key = (low, high)
        self.samples = torch.arange(start, start + n, device=self.device)
        self.calls = torch.zeros(n, dtype=torch.long, device=self.device)
        self.rows = torch.zeros(n, dtype=torch.long, device=self.device)
        self.single: dict[int, torch.Generator] = {}

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, item: int) -> torch.Generator: ...
    @overload
    def __getitem__(self, item: slice) -> "Streams": ...
    def __getitem__(self, item: int | slice) -> "torch.Generator | Streams":
        if isinstance(item, slice):
            part = Streams(self.seed, 0, 0, self.device)
            part.samples, part.calls, part.rows = self.samples[item], self.calls[item], self.rows[item]
            part.single = self.single
            return part
        index = int(self.samples[item])
        if index not in self.single:
            self.single[index] = step_generator(self.seed, index, device=self.device)
        return self.single[index]

    def repeated(self, rows: int) -> "Streams":
        """Streams of ``rows`` rows a sample, one behind the other; none is the sample's own, or was given before."""
        many = Streams(self.seed, 0, 0, self.device)
        many.samples, many.calls = (of.repeat_interleave(rows) for of in (self.samples, self.calls << 16))
        self.calls += 1
        many.rows = torch.arange(1, rows + 1, device=self.device).repeat(len(self))
        many.single = self.single
        return many

    def uniform(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Rows in [0, 1), ``(n, *shape)``, of as many random bits as ``dtype`` has, 53 at most."""
        count, wide = math.prod(shape), dtype == torch.float64
        words = self._words(count * (2 if wide else 1), device)
        if wide:
            found = ((words[:, ::2] >> 5) * 2**26 + (words[:, 1::2] >> 6)) * 2.0**-53
        else:
            bits = 1 - round(math.log2(torch.finfo(dtype).eps))
            found = (words >> (32 - bits)) * 2.0**-bits
        return found.to(dtype).view(-1, *shape)

    def normal(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Standard normal rows ``(n, *shape)`` by Box and Muller's transform, in float64 before they are rounded."""
        count = math.prod(shape)
        u, v = self.uniform([2, (count + 1) // 2], torch.float64, device).unbind(1)
        radius, angle = (-2 * (1 - u).log()).sqrt(), 2 * math.pi * v
        found = torch.cat((radius * angle.cos(), radius * angle.sin()), -1)
        return found[:, :count].to(dtype).reshape(-1, *shape)

    def _words(self, count: int, device: torch.device) -> Tensor:
        """Random words ``(n, count)`` below 2³², which count as one call."""
        index, calls, row = (of.to(device)[:, None] for of in (self.samples, self.calls, self.rows))
        self.calls += 1
        block = torch.arange((count + 3) // 4, device=device)
        words = philox((index & _WORD, (index >> 32) + (row << 16), calls, block), self.key)
        return torch.stack(words, -1).flatten(1)[:, :count]
