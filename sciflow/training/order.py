"""Which samples a step sees: a function of seed and step, so that a resumed run needs no saved loader."""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.data import Sampler

from ..rng import step_generator

__all__ = ["Batches", "stream"]

# Streams of one seed; far from sample indices, which name the streams of sampling.
_STREAMS = {
    "order": 2**32 - 1,
    "noise": 2**32 - 2,
    "validation": 2**32 - 3,
    "coupling": 2**32 - 4,
    "dropout": 2**32 - 5,
}


def stream(name: str, seed: int, *key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Generator of the training stream ``order``, ``noise``, ``dropout``, …, named by seed and step."""
    return step_generator(seed, _STREAMS[name], *key, device=device)


class Batches(Sampler[list[int]]):
    """Indices of the batches of steps ``start … stop-1``: epochs of shuffled data, laid end to end.

    Step ``s`` takes positions ``s·batch_size … (s+1)·batch_size-1``; rank ``r`` of ``world`` takes its equal share of
    them, so the global batch does not depend on the number of processes.
    """

    def __init__(
        self, n: int, batch_size: int, seed: int, start: int, stop: int, rank: int = 0, world: int = 1
    ) -> None:
        self.n, self.batch_size, self.seed, self.start, self.stop = n, batch_size, seed, start, stop
        self.rank, self.share = rank, batch_size // world
        self.offset = rank * self.share

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        @lru_cache(maxsize=2)
        def epoch(e: int) -> Tensor:
            return torch.randperm(self.n, generator=stream("order", self.seed, e))

        for step in range(self.start, self.stop):
            first = step * self.batch_size + self.offset
            last = first + self.share
            epochs = range(first // self.n, (last - 1) // self.n + 1)
            parts = [epoch(e)[max(first - e * self.n, 0) : last - e * self.n] for e in epochs]
            yield torch.cat(parts).tolist()
