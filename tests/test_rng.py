"""A seed and an index name a sample for good."""

import pytest
import torch

from sciflow.rng import categorical, normal, repeated, sample_generators, step_generator, uniform


@pytest.mark.parametrize("draw", [normal, uniform])
@pytest.mark.parametrize("event", [(), (3,), (2, 3)])
def test_row_i_is_from_generator_i(draw, event):
    whole = draw(5, *event, generator=sample_generators(1, 0, 5), dtype=torch.float64)
    part = draw(2, *event, generator=sample_generators(1, 3, 2), dtype=torch.float64)
    assert whole.shape == (5, *event)
    assert torch.equal(whole[3:], part)
    assert whole.flatten().unique().numel() == whole.numel()
    assert draw(0, *event, generator=[]).shape == (0, *event)


def test_a_single_generator_draws_the_batch():
    assert torch.equal(normal(4, 2, generator=step_generator(0)), torch.randn(4, 2, generator=step_generator(0)))


def test_every_key_is_a_stream_of_its_own():
    keys = [(0,), (0, 0), (0, 0, 0), (0, 1), (1, 0), (1,), (0, 5), (0, 5, 0), (2**32,), (2**32, 5), (5, 2**32 - 1)]
    assert len({step_generator(*key).initial_seed() for key in keys}) == len(keys)


def test_generators_must_match_the_samples():
    with pytest.raises(ValueError, match="one generator a sample"):
        normal(3, generator=sample_generators(0, 0, 2))


@pytest.mark.parametrize(
    "streams", [sample_generators, lambda *a: [step_generator(7, i) for i in range(a[1], sum(a[1:]))]]
)
def test_rows_of_a_sample_are_from_its_own_stream(streams):
    whole = uniform(6, 3, generator=repeated(streams(1, 0, 3), 2), dtype=torch.float64)
    part = uniform(2, 3, generator=repeated(streams(1, 2, 1), 2), dtype=torch.float64)
    assert torch.equal(whole[4:], part)
    assert whole.unique().numel() == whole.numel()


def test_rows_of_a_sample_are_not_its_own_draws():
    streams = sample_generators(1, 0, 3)
    rows = [repeated(streams, 2), repeated(streams, 2)]
    drawn = [uniform(6, 3, generator=many, dtype=torch.float64) for many in rows for _ in range(3)]
    drawn += [uniform(3, 3, generator=streams, dtype=torch.float64) for _ in range(3)]
    assert torch.cat(drawn).unique().numel() == sum(part.numel() for part in drawn)


def test_letters_have_their_probabilities():
    """Shares of N draws are within 4 standard errors of their law, and what is impossible never happens."""
    p, n = torch.tensor([0.0, 0.1, 0.0, 0.6, 0.3, 0.0], dtype=torch.float64), 20000
    shares = categorical(p.expand(n, -1), step_generator(0)).bincount(minlength=6) / n
    assert ((shares - p).abs() <= 4 * (p * (1 - p) / n).sqrt()).all()
