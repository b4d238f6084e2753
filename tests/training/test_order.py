"""Laws of the batch order: every sample once an epoch, and a step's batch whatever came before or beside it."""

from itertools import chain

import pytest

from sciflow.training.order import Batches


@pytest.mark.parametrize(("n", "batch_size"), [(10, 5), (10, 3), (7, 20)])
def test_every_sample_once_an_epoch(n: int, batch_size: int) -> None:
    seen = list(chain(*Batches(n, batch_size, seed=0, start=0, stop=3 * n)))
    assert len(seen) == 3 * n * batch_size
    epochs = [seen[i : i + n] for i in range(0, len(seen), n)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert epochs[0] != epochs[1]


def test_a_step_does_not_depend_on_where_the_run_started() -> None:
    assert list(Batches(10, 4, seed=3, start=0, stop=20))[11:] == list(Batches(10, 4, seed=3, start=11, stop=20))


def test_ranks_share_the_global_batch() -> None:
    whole = list(Batches(10, 4, seed=3, start=0, stop=9))
    shares = zip(*(Batches(10, 4, seed=3, start=0, stop=9, rank=r, world=2) for r in (0, 1)), strict=True)
    assert [first + second for first, second in shares] == whole
