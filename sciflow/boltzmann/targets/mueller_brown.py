"""The Müller–Brown surface."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import InputError
from ...rng import Generator, uniform
from .base import ExactTarget
from .grid import Grid

__all__ = ["MuellerBrown"]

# depth A, curvatures a, b, c and centre of the four terms (Müller & Brown 1979, Theor. Chim. Acta 53, 75)
_TERMS = (
    (-200.0, -1.0, 0.0, -10.0, 1.0, 0.0),
    (-100.0, -1.0, 0.0, -10.0, 0.0, 0.5),
    (-170.0, -6.5, 11.0, -6.5, -0.5, 1.5),
    (15.0, 0.7, 0.6, 0.7, -1.0, 1.0),
)


@dataclass(frozen=True)
class MuellerBrown(ExactTarget):
    """u(x, y) = scale · Σₖ Aₖ exp(aₖ (x − xₖ)² + bₖ (x − xₖ)(y − yₖ) + cₖ (y − yₖ)²): three minima along a bent valley.

    At the scale 0.1 the minima lie at −14.67 (−0.558, 1.442), −10.82 (0.623, 0.028) and −8.08 (−0.050, 0.467), and the
    higher of the saddles between them at −4.07.
    """

    scale: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scale > 0:
            raise InputError(f"scale = {self.scale}: set it above 0")

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (2,)

    def potential(self, x: Tensor) -> Tensor:
        depth, a, b, c, x0, y0 = torch.tensor(_TERMS, dtype=x.dtype, device=x.device).T
        dx, dy = x[..., :1] - x0, x[..., 1:] - y0
        return self.scale * (depth * torch.exp(a * dx**2 + b * dx * dy + c * dy**2)).sum(-1)

    def states(self, x: Tensor) -> dict[str, Tensor]:
        """Above the higher saddle, where the deepest minimum is."""
        return {"upper": x[:, 1] - x[:, 0] > 1.446}

    def free_energy(self, x1: Tensor) -> Tensor:
        """Integrated over y by the same quadrature, at the nearest column of its grid."""
        n, (low, high) = self._grid.cells, self._grid.box[0]
        columns = -torch.logsumexp(self._grid.log_mass.reshape(n, n), 1)
        index = ((x1 - low) / (high - low) * n).long()
        return torch.where((index >= 0) & (index < n), columns[index.clamp(0, n - 1)], torch.inf)

    @property
    def log_z(self) -> float:
        """By quadrature, exact to rounding."""
        return self._grid.log_z

    def sample(self, n: int, generator: Generator = None) -> Tensor:
        return self._grid.draw(uniform(n, 3, generator=generator, dtype=torch.float64))

    @cached_property
    def _grid(self) -> Grid:
        return Grid.around(self.energy, ((-5.0, 4.0), (-4.0, 5.0)), 1024)
