"""An energy of one's own as a target: a curved valley, whose constant is known.

PYTHONPATH=docs/examples sciflow run study=double_well study.target=rosenbrock.Rosenbrock study.settings.b=10 n=2000
"""

import math
from dataclasses import dataclass

from torch import Tensor

from sciflow.boltzmann.targets import Target


@dataclass(frozen=True)
class Rosenbrock(Target):
    """(1 − x)² + b (y − x²)²: its fields are its settings, and `temperature` is one of them."""

    b: float = 10.0

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (2,)

    def potential(self, x: Tensor) -> Tensor:
        first, second = x.unbind(-1)
        return (1 - first).square() + self.b * (second - first.square()).square()

    @property
    def log_z(self) -> float:
        """Beside which the result is printed; leave it out where it is not known."""
        return math.log(math.pi * self.temperature) - 0.5 * math.log(self.b)
