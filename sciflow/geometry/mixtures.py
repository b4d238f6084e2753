"""Studies whose density is known: mixtures of wrapped normals on a manifold, or one's own table of its points."""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, require_above
from ..manifolds import Prior, WrappedNormal, tree_map
from ..rng import Generator, gamma, step_generator, uniform
from .study import ManifoldStudy, Points

__all__ = ["Mixture", "MixtureStudy", "MixtureTable", "refuse"]


@dataclass(frozen=True, eq=False)
class Mixture:
    """``p(x) = Σ_k w_k p_k(x)`` of priors ``p_k`` on one manifold; a sample is of one component with all its sites.

    Raises:
        ValueError: not one positive weight a component.
    """

    components: Sequence[Prior[Any]]
    weights: Tensor

    def __post_init__(self) -> None:
        if self.weights.shape != (len(self.components),) or not (self.weights > 0).all():
            raise ValueError(f"weights {self.weights.tolist()}: give {len(self.components)} positive ones")

    def sample(
        self,
        *shape: int,
        generator: Generator = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Any:
        """Draw ``(*shape, *point_shape)``."""
        share = uniform(shape[0], generator=generator, dtype=torch.float64, device=device)
        upper = self.weights.to(share).cumsum(0)
        chosen = torch.bucketize(share * upper[-1], upper[:-1], right=True)
        drawn = [part.sample(*shape, generator=generator, dtype=dtype, device=device) for part in self.components]
        rows = torch.arange(len(chosen), device=chosen.device)
        return tree_map(lambda *parts: torch.stack(parts)[chosen, rows], *drawn)

    def log_prob(self, x: Any) -> Tensor:
        """Log-density ``(B,)``."""
        parts = torch.stack([part.log_prob(x) for part in self.components])
        return torch.logsumexp(parts + self.weights.log().to(parts)[:, None], 0) - math.log(float(self.weights.sum()))


@dataclass
class MixtureTable:
    """Where the points come from.

    Attributes:
        path: a table of the user's; without one the points are drawn from a mixture of wrapped normals.
        rows: points drawn.
        components: of the mixture.
        scale: of each component, in geodesic distance.
        number: names the mixture; another number, other places and weights.
    """

    path: Path | None = None
    rows: int = 20000
    components: int = 12
    scale: float = 0.25
    number: int = 0

    def __post_init__(self) -> None:
        require_above(0, "data.", self, "rows", "components", "scale")
        require_above(-1, "data.", self, "number")


@dataclass
class MixtureStudy(ManifoldStudy):
    """A density that is known, to measure the flow against; or the user's own points, whose density is not."""

    data: MixtureTable = field(default_factory=MixtureTable)

    @abstractmethod
    def read_table(self, path: Path) -> Tensor:
        """Points ``(N, *point_shape)`` of the user's table."""

    @abstractmethod
    def means(self, generator: torch.Generator) -> Tensor:
        """Means of the components, ``(K, *point_shape)``, float64."""

    @cached_property
    def modes(self) -> tuple[Tensor, Tensor]:
        """Means of the components and their weights, of a Dirichlet(4) distribution."""
        generator = step_generator(self.data.number, 2)
        means = self.means(generator)
        weights = gamma(torch.tensor(4.0), len(means), generator=generator, dtype=torch.float64)
        return means, weights / weights.sum()

    @property
    def mixture(self) -> Mixture | None:
        """The density of the synthetic points; none where the points are the user's."""
        if self.data.path is not None:
            return None
        means, weights = self.modes
        return Mixture([WrappedNormal(self.manifold, mean, self.data.scale) for mean in means], weights)

    def truth(self, n: int, stream: int) -> Tensor | None:
        """``n`` points of the known density, float64; another stream, other points."""
        mixture = self.mixture
        if mixture is None:
            return None
        return mixture.sample(n, generator=step_generator(self.seed, stream), dtype=torch.float64)

    def read(self, raw: Path | None) -> Points:
        drawn = self.truth(self.data.rows, 3)
        if drawn is None:
            assert self.data.path is not None
            return Points(self.read_table(self.data.path))
        return Points(drawn.float())

    def log_density(self, x: Tensor) -> Tensor | None:
        mixture = self.mixture
        return None if mixture is None else mixture.log_prob(self.manifold.projx(x.double()))


def refuse(path: Path, bad: np.ndarray, reason: Callable[[int], str]) -> None:
    """Raise InputError for the first row of a table where ``bad (N,)`` is true."""
    if bad.any():
        first = int(bad.argmax())
        more = int(bad.sum()) - 1
        others = f"; {more} more lines are like it" if more else ""
        raise InputError(f"{path}, line {first + 2}: {reason(first)}{others}")
