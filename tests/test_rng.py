"""A seed and an index name a sample for good."""

import pytest
import torch

from sciflow.rng import normal, sample_generators, step_generator, uniform


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
