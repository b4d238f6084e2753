"""Laws of the batch order: every sample once an epoch, and a step's batch whatever came before or beside it."""

from itertools import chain

import pytest
import torch

from sciflow.rng import step_generator
from sciflow.training.order import Batches


def _lengths(n: int) -> torch.Tensor:
    return torch.randint(60, 257, (n,), generator=step_generator(0))


@pytest.mark.parametrize("by_length", [False, True])
@pytest.mark.parametrize(("n", "batch_size"), [(10, 5), (10, 3), (7, 20), (7, 5), (243, 8), (1000, 7)])
def test_every_sample_once_an_epoch(n: int, batch_size: int, by_length: bool) -> None:
    lengths = _lengths(n) if by_length else None
    seen = list(chain(*Batches(n, batch_size, seed=0, start=0, stop=3 * n, lengths=lengths)))
    assert len(seen) == 3 * n * batch_size
    epochs = [seen[i : i + n] for i in range(0, len(seen), n)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("lengths", [None, _lengths(10)], ids=["plain", "by length"])
def test_a_step_does_not_depend_on_where_the_run_started(lengths: torch.Tensor | None) -> None:
    whole = list(Batches(10, 4, seed=3, start=0, stop=20, lengths=lengths))
    assert whole[11:] == list(Batches(10, 4, seed=3, start=11, stop=20, lengths=lengths))


@pytest.mark.parametrize("lengths", [None, _lengths(10)], ids=["plain", "by length"])
def test_ranks_share_the_global_batch(lengths: torch.Tensor | None) -> None:
    whole = list(Batches(10, 4, seed=3, start=0, stop=9, lengths=lengths))
    shares = (Batches(10, 4, seed=3, start=0, stop=9, rank=r, world=2, lengths=lengths) for r in (0, 1))
    assert [first + second for first, second in zip(*shares, strict=True)] == whole


def _padding(batches: list[list[int]], lengths: torch.Tensor) -> float:
    """Share of the places of padded batches that are empty."""
    taken = sum(int(lengths[batch].sum()) for batch in batches)
    return 1 - taken / sum(len(batch) * int(lengths[batch].max()) for batch in batches)


@pytest.mark.parametrize(("n", "batch_size"), [(243, 16), (2000, 32), (2000, 7)])
def test_batches_by_length_are_hardly_padded(n: int, batch_size: int) -> None:
    """A batch is a sixteenth of a window, so its lengths spread over some 1/16 of their range of 197, mean 158."""
    lengths, steps = _lengths(n), 3 * n // batch_size
    by_length = list(Batches(n, batch_size, seed=0, start=0, stop=steps, lengths=lengths))
    assert _padding(list(Batches(n, batch_size, seed=0, start=0, stop=steps)), lengths) > 0.25
    assert _padding(by_length, lengths) < 0.06


def test_batches_by_length_come_in_no_order() -> None:
    """Neither within a batch, whose rows may have times that rise, nor one after another."""
    lengths = _lengths(2000).double()
    batches = torch.tensor(list(Batches(2000, 20, seed=0, start=0, stop=100, lengths=lengths)))
    rows = lengths[batches] - lengths[batches].mean(1, keepdim=True)
    place = torch.arange(20, dtype=torch.float64) - 9.5
    # correlations of 2000 and of 100 pairs without one: standard errors 1/√2000, 1/√100
    assert (rows * place).mean() / rows.std() / place.std() == pytest.approx(0, abs=4 / 2000**0.5)
    means = lengths[batches].mean(1)
    assert torch.corrcoef(torch.stack([means[1:], means[:-1]]))[0, 1] == pytest.approx(0, abs=4 / 100**0.5)
