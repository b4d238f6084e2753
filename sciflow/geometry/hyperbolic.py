"""Hyperbolic space: mixtures of known density, or one's own points of the Poincaré ball."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import Hyperbolic, WrappedNormal, from_poincare, to_poincare
from ..training import Samples
from ..training.tables import find_columns, numbers, read_rows
from .density_figures import calibration, histograms
from .hyperbolic_figures import ball, discs
from .mixtures import MixtureStudy, refuse
from .study import Drawing, Splits

__all__ = ["HyperbolicPoints"]

SPREAD = 1.5  # of the means around the origin, where curvature shows


@dataclass
class HyperbolicPoints(MixtureStudy):
    """Points of hyperbolic space, such as embeddings of trees. A table has columns x1 … xd in the Poincaré ball.

    Attributes:
        d: dimension.
    """

    d: int = 2

    def __post_init__(self) -> None:
        if self.d < 2:
            raise InputError(f"study.d={self.d}: hyperbolic space has a dimension of 2 or more")

    @property
    def manifold(self) -> Hyperbolic:
        return Hyperbolic(self.d)

    @property
    def names(self) -> list[str]:
        return [f"x{i}" for i in range(1, self.d + 1)]

    def means(self, generator: torch.Generator) -> Tensor:
        around = WrappedNormal(self.manifold, scale=SPREAD)
        return around.sample(self.data.components, generator=generator, dtype=torch.float64)

    def read_table(self, path: Path) -> Tensor:
        header, rows = read_rows(path)
        if f"x{self.d + 1}" in [name.lower() for name in header]:
            raise InputError(f"{path}: a column x{self.d + 1} in {self.d} dimensions; say study.d=…")
        p = numbers(path, header, rows, find_columns(path, header, [[name] for name in self.names]))
        radius = np.linalg.norm(p, axis=1)
        refuse(path, radius >= 1, lambda i: f"|x| = {radius[i]:.6g}; points of the Poincaré ball have |x| < 1")
        return from_poincare(torch.from_numpy(p)).float()

    def columns(self, x: Tensor) -> dict[str, np.ndarray]:
        return dict(zip(self.names, to_poincare(x.double()).numpy().T, strict=True))

    def draw(self, samples: Samples, splits: Splits) -> dict[str, Drawing]:
        return {
            "disc": discs(samples, splits, self.log_density),
            "ball": histograms(ball, samples, splits, self.truth),
            **calibration(samples, splits, self.log_density),
        }
