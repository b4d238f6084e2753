"""Random draws. Every draw of the library goes through here, so that a seed and an index name a sample for good.

A *sequence* of generators holds one per sample: sample ``i`` then has its own stream, and is the same whatever the
batch it is drawn in. A single generator draws the whole batch at once (training).
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .streams import Streams, step_generator

__all__ = [
    "Generator",
    "categorical",
    "gamma",
    "normal",
    "pick",
    "repeated",
    "sample_generators",
    "step_generator",
    "uniform",
]

Generator = torch.Generator | Sequence[torch.Generator] | None


def sample_generators(seed: int, start: int, n: int, device: torch.device | str = "cpu") -> Streams:
    """One stream for each of the samples ``start … start+n-1`` of ``seed``."""
    return Streams(seed, start, n, device)


def repeated(generator: Generator, rows: int) -> Generator:
    """For ``rows`` rows of each sample, one behind the other: of a sequence, still from the sample's own stream."""
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    return generator.repeated(rows) if isinstance(generator, Streams) else [g for g in generator for _ in range(rows)]


def normal(
    *shape: int, generator: Generator = None, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Standard normal draws of the given shape; with a sequence of generators, row ``i`` is from generator ``i``."""
    return _draw(torch.randn, shape, generator, dtype, device)


def uniform(
    *shape: int, generator: Generator = None, dtype: torch.dtype | None = None, device: torch.device | str | None = None
) -> Tensor:
    """Uniform draws in [0, 1) of the given shape; with a sequence of generators, row ``i`` is from generator ``i``."""
    return _draw(torch.rand, shape, generator, dtype, device)


def gamma(
    shape_parameter: Tensor,
    *shape: int,
    generator: Generator = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard gamma draws of the given shape, to which ``shape_parameter`` broadcasts.

    With a sequence of generators, row ``i`` is from generator ``i``.
    """
    whole = generator is None or isinstance(generator, torch.Generator)
    parameters = iter([shape_parameter] if whole else shape_parameter.expand(shape))

    def fn(*size: int, generator: torch.Generator | None = None, **kwargs: Any) -> Tensor:
        return torch._standard_gamma(torch.empty(*size, **kwargs).copy_(next(parameters)), generator=generator)

    return _draw(fn, shape, generator, dtype, device)


def categorical(p: Tensor, generator: Generator = None) -> Tensor:
    """Indices ``(B, *E)`` drawn with probabilities ``p (B, *E, K)``, row ``i`` from generator ``i`` of a sequence."""
    return pick(p, uniform(*p.shape[:-1], generator=generator, dtype=p.dtype, device=p.device))


def pick(p: Tensor, u: Tensor) -> Tensor:
    """The first index at which the running sum of ``p (…, K)`` passes the fraction ``u`` in [0, 1) of the whole."""
    mass = p.cumsum(-1)
    whole = mass[..., -1]
    below = torch.minimum(u * whole, torch.nextafter(whole, torch.zeros_like(whole)))  # u·whole may round up to whole
    return torch.searchsorted(mass.expand(*u.shape, -1).contiguous(), below[..., None], right=True)[..., 0]


def _draw(
    fn: Callable[..., Tensor],
    shape: tuple[int, ...],
    generator: Generator,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
) -> Tensor:
    if generator is None:
        return fn(*shape, dtype=dtype, device=device)
    if isinstance(generator, torch.Generator):
        return fn(*shape, generator=generator, dtype=dtype, device=generator.device).to(device or generator.device)
    if shape[0] != len(generator):
        raise ValueError(f"{len(generator)} generators for {shape[0]} samples: give one generator a sample")
    if isinstance(generator, Streams) and fn in (torch.rand, torch.randn):
        draw = generator.uniform if fn is torch.rand else generator.normal
        return draw(shape[1:], dtype or torch.get_default_dtype(), torch.device(device or generator.device))
    rows = [fn(shape[1:], generator=g, dtype=dtype, device=g.device) for g in generator]
    drawn = torch.stack(rows) if rows else torch.empty(shape, dtype=dtype)
    return drawn.to(device) if device is not None else drawn
