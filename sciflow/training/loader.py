"""Batches for the fit: read, and coupled to their sources, beside the training step."""

import signal
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from .models import Coupler
from .order import Batches, stream

__all__ = ["loader", "read"]


def loader(
    dataset: Dataset[Any], batches: Batches, coupler: Coupler | None, seed: int, workers: int
) -> DataLoader[dict[str, Any]]:
    """The batches of a fit; with ``workers``, assignments are solved in other processes while the network trains."""
    coupled = _Coupled(dataset, coupler, seed, batches.rank)
    steps: Any = _Steps(batches)
    collate: Any = _as_it_is
    return DataLoader(coupled, batch_sampler=steps, num_workers=workers, collate_fn=collate, worker_init_fn=_outlive)


def read(dataset: Any, indices: list[int]) -> dict[str, Any]:
    """One batch; a dataset with ``__getitems__`` answers a list of indices at once."""
    batch = dataset.__getitems__(indices) if hasattr(dataset, "__getitems__") else [dataset[i] for i in indices]
    return batch if isinstance(batch, dict) else default_collate(batch)


class _Steps(Sampler[tuple[int, list[int]]]):
    """Batches with the step that names their noise."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        return iter(enumerate(self.batches, self.batches.start))


class _Coupled(Dataset[dict[str, Any]]):
    """A step's batch, its sources drawn and paired from the stream that the step names."""

    def __init__(self, dataset: Dataset[Any], coupler: Coupler | None, seed: int, rank: int) -> None:
        self.dataset, self.coupler, self.seed, self.rank = dataset, coupler, seed, rank

    def __getitems__(self, place: tuple[int, list[int]]) -> dict[str, Any]:
        step, indices = place
        batch = read(self.dataset, indices)
        return batch if self.coupler is None else self.coupler(batch, stream("coupling", self.seed, step, self.rank))


def _outlive(worker: int) -> None:
    """A signal to the whole job is for the training process, which ends its step first and the workers after it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _as_it_is(batch: dict[str, Any]) -> dict[str, Any]:
    return batch
