"""Maximum likelihood."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..energy import Energy
from .base import Loss

__all__ = ["ForwardKL"]


@dataclass
class ForwardKL(Loss):
    """KL(data‖q) but for the data's entropy: −log q(x) of each datum. It needs no energy."""

    needs_energy: ClassVar[bool] = False
    validated: ClassVar[bool] = True

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        return -flow.log_prob(batch["x"])
