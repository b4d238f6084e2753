"""Counter-based streams: the published words, independent and even numbers, the same in any batch."""

import math

import pytest
import torch

from sciflow.rng import gamma, normal, sample_generators, uniform
from sciflow.streams import philox

ONES = 0xFFFFFFFF
PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ONES,) * 4, (ONES, ONES), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (PI, (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers(counter, key, words):
    """Of the authors' own test vectors."""
    found = philox([torch.tensor(word) for word in counter], key)
    assert " ".join(f"{int(word):08x}" for word in found) == words


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("draw", "moments"), [(uniform, (1 / 2, 1 / 3, 1 / 4, 1 / 5)), (normal, (0, 1, 0, 3))])
def test_moments_and_correlations(draw, moments, dtype):
    """Within five standard errors; correlations of neighbours in the row, of samples and of calls."""
    n = 20_000
    streams = sample_generators(3, 0, n)
    x, y = (draw(n, 5, generator=streams, dtype=dtype).double() for _ in range(2))
    for power, moment in enumerate(moments, 1):
        values = x.pow(power)
        assert abs(values.mean() - moment) < 5 * values.std() / math.sqrt(values.numel())
    z = (torch.cat((x, y), -1) - moments[0]) / math.sqrt(moments[1] - moments[0] ** 2)
    assert (z.T @ z / n - torch.eye(10)).abs().max() < 5 * math.sqrt(3 / n)
    assert abs((z[1:] * z[:-1]).mean()) < 5 / math.sqrt(z.numel())
    assert draw is normal or (x.min() >= 0 and x.max() < 1)


def test_slices_share_the_calls_of_the_whole():
    whole, parts = sample_generators(0, 0, 6), sample_generators(0, 0, 6)
    for _ in range(2):
        x = normal(6, 3, generator=whole)
        assert torch.equal(x, torch.cat([normal(3, 3, generator=parts[part]) for part in (slice(3), slice(3, 6))]))
    shape = torch.tensor(2.0)
    a, b = (gamma(shape, 6, generator=whole) for _ in range(2))  # a draw that needs generators of torch
    assert not torch.equal(a, b)
    assert torch.equal(a, gamma(shape, 6, generator=parts))


def test_samples_beyond_32_bits_are_others():
    far = uniform(1, 8, generator=sample_generators(0, 2**32 + 5, 1))
    assert not torch.equal(far, uniform(1, 8, generator=sample_generators(0, 5, 1)))
