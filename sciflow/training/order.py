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
    "pairs": 2**32 - 6,
    "grid": 2**32 - 7,
}


WINDOW = 16  # batches that are formed together


def stream(name: str, seed: int, *key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Generator of the training stream ``order``, ``noise``, ``dropout``, …, named by seed and step."""
    return step_generator(seed, _STREAMS[name], *key, device=device)


class Batches(Sampler[list[int]]):
    """Indices of the batches of steps ``start … stop-1``: epochs of shuffled data, laid end to end.

    Step ``s`` takes positions ``s·batch_size … (s+1)·batch_size-1``; rank ``r`` of ``world`` takes its equal share of
    them, so the global batch does not depend on the number of processes.

    With ``lengths (n,)`` the samples of a batch are of near-equal length: of each window of ``WINDOW`` batches the
    samples are sorted, cut into batches, and these shuffled. A batch that two epochs share has short ones of both.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        seed: int,
        start: int,
        stop: int,
        rank: int = 0,
        world: int = 1,
        lengths: Tensor | None = None,
    ) -> None:
        self.n, self.batch_size, self.seed, self.start, self.stop = n, batch_size, seed, start, stop
        self.rank, self.share = rank, batch_size // world
        self.offset = rank * self.share
        self.lengths = lengths

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        epoch = lru_cache(maxsize=2)(self._epoch)
        for step in range(self.start, self.stop):
            first = step * self.batch_size + self.offset
            last = first + self.share
            epochs = range(first // self.n, (last - 1) // self.n + 1)
            parts = [epoch(e)[max(first - e * self.n, 0) : last - e * self.n] for e in epochs]
            yield torch.cat(parts).tolist()

    def _epoch(self, e: int) -> Tensor:
        """All samples once, in the order of epoch ``e``."""
        generator = stream("order", self.seed, e)
        order = torch.randperm(self.n, generator=generator)
        begun = -e * self.n % self.batch_size  # places of the epoch in the batch that the one before began
        if self.lengths is None or begun >= self.n:
            return order
        shared = begun + (self.n - begun) % self.batch_size
        most = WINDOW * self.batch_size
        windows = [order[: shared + most], *order[shared + most :].split(most)] if self.n > shared + most else [order]
        order = torch.cat([w[self.lengths[w].argsort(stable=True)] for w in windows])
        ends, batches = order[:shared], order[shared:].view(-1, self.batch_size)
        ends = ends[torch.randperm(shared, generator=generator)]
        batches = batches[torch.randperm(len(batches), generator=generator)]
        # in a batch by chance: a loss may give its rows times that rise
        within = torch.rand(batches.shape, generator=generator).argsort(1)
        return torch.cat([ends[:begun], batches.gather(1, within).flatten(), ends[begun:]])
