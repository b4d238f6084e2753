"""When a field is asked."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..rng import Generator, uniform

__all__ = ["EQUAL", "Late", "stratified"]


@dataclass(frozen=True)
class Late:
    """Times ``t = 1 − (1 − u)^power`` of ``u`` in [0, 1]: for power > 1 they crowd near the data, where sharp data make
    the field hard."""

    power: float

    def __call__(self, u: Tensor) -> Tensor:
        return 1 - (1 - u) ** self.power


EQUAL = Late(1)


def stratified(like: Tensor, generator: Generator = None) -> Tensor:
    """Uniform numbers in [0, 1), one in each of B equal parts and so rising, for the B rows of ``like``."""
    u = uniform(len(like), generator=generator, dtype=like.dtype, device=like.device)
    return (torch.arange(len(u), dtype=u.dtype, device=u.device) + u) / len(u)
