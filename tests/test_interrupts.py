"""Signals: what runs beside the process that ends on one."""

import multiprocessing
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from sciflow.interrupts import children_end_too
from sciflow.training.loader import loader
from sciflow.training.order import Batches


def test_a_pool_does_not_end_its_work_first() -> None:
    children = []

    def interrupted() -> None:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool, children_end_too():
            assert pool.submit(os.getpid).result() != os.getpid()
            pool.submit(time.sleep, 60)
            children.extend(multiprocessing.active_children())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [child.exitcode for child in children] == [-signal.SIGTERM]


class Handlers:
    """Data that say how the process that reads them takes SIGTERM."""

    def __len__(self) -> int:
        return 4

    def __getitems__(self, indices: list[int]) -> dict[str, torch.Tensor]:
        ignored = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        return {"x": torch.full((len(indices),), ignored)}


def test_workers_outlive_a_signal_to_the_whole_job() -> None:
    for workers in (0, 1):
        batches = loader(Handlers(), Batches(4, 2, 0, 0, 2, 0, 1, None), None, 0, workers)  # type: ignore[arg-type]
        assert all(bool(batch["x"].all()) == bool(workers) for batch in batches)
