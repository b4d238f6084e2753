"""Places on the earth: where volcanoes, earthquakes and fires were, or what one's own table says."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree
from torch import Tensor

from ..errors import InputError, require_above
from ..manifolds import Sphere
from ..training import Samples
from ..training.tables import find_columns, numbers, read_rows
from .sphere_figures import directions, geographic, globes, world
from .study import Drawing, ManifoldStudy, Points, Splits, raw_file

__all__ = ["EarthStudy", "Places", "unit_vectors"]

EVENTS = {"volcano": -7.93, "earthquake": -0.28, "fire": -1.86}  # NLL in print, Chen & Lipman 2023
NAMES = (("latitude", "lat"), ("longitude", "lon", "lng", "long"))
RADIUS = 6371.0  # km
DEGENERATE = (
    " These data are degenerate: 560 of 827 rows repeat another, where a density may be as high as it likes, "
    "so its likelihood says little."
)


@dataclass
class Places:
    """A table of the user's, such as an export of an earthquake catalogue: latitude and longitude in degrees.

    The columns are found by their usual names (latitude, lat; longitude, lon, lng, long; upper case or lower); others
    are ignored. Longitudes may run from −180 to 180 or from 0 to 360.

    Attributes:
        path: a CSV or TSV file with a header.
        linked: [km] for ``split.by_group``: places that a chain of steps no longer than this joins are one group. A
            satellite sees one large fire as many neighbouring pixels, a kilometre apart; drawn row by row, a split puts
            some of them in the training set and some in the test set.
    """

    path: Path | None = None
    linked: float = 5.0

    def __post_init__(self) -> None:
        require_above(0, "data.", self, "linked")


@dataclass
class EarthStudy(ManifoldStudy):
    """The density of events on the sphere, with respect to its area (radius 1).

    Source: Mathieu, Nickel 2020, arXiv:2006.10605 (the data as a benchmark; of NOAA and NASA).
    """

    event: str = "earthquake"
    data: Places = field(default_factory=Places)

    def __post_init__(self) -> None:
        if self.event not in EVENTS:
            raise InputError(f"study.event={self.event!r}: use one of {', '.join(EVENTS)}, or data.path=FILE")

    @property
    def sources(self) -> tuple[str, ...]:
        return ("earth",) if self.data.path is None else ()

    @property
    def manifold(self) -> Sphere:
        return Sphere(2)

    def read(self, raw: Path | None) -> Points:
        path = self.data.path or raw_file(raw, "earth", f"{self.event}.csv")
        x = unit_vectors(_degrees(path))
        return Points(x, _chains(x, self.data.linked / RADIUS) if self.split.by_group else None)

    def columns(self, x: Tensor) -> dict[str, np.ndarray]:
        return dict(zip(("latitude", "longitude"), geographic(x).T, strict=True))

    def draw(self, samples: Samples, splits: Splits) -> dict[str, Drawing]:
        own = self.data.path is not None
        what = "places" if own else f"{self.event}s"
        caveat = DEGENERATE if self.event == "volcano" and not own else ""
        return {"world": world(samples, splits, what, caveat), "globes": globes(samples, splits, what, caveat)}

    def published(self) -> float | None:
        standard = self.data.path is None and not self.split.unique and not self.split.by_group
        return EVENTS[self.event] if standard else None


def unit_vectors(degrees: np.ndarray) -> Tensor:
    """Latitude and longitude ``(N, 2)`` in degrees as points ``(N, 3)`` of the unit sphere, float32.

    The same place gives the same digits, whichever way its longitude is counted, at the poles as well.
    """
    x = directions(np.radians((degrees[:, 1] + 180) % 360 - 180), np.radians(degrees[:, 0]))
    return torch.from_numpy(x.round(12) + 0.0).float()  # + 0.0: no negative zeros


def _degrees(path: Path) -> np.ndarray:
    """Latitude and longitude ``(N, 2)`` of a table. Raises InputError, naming line and column."""
    header, rows = read_rows(path)
    found = find_columns(path, header, NAMES)
    degrees = numbers(path, header, rows, found)
    for column, (least, most) in enumerate(((-90, 90), (-180, 360))):
        outside = np.flatnonzero((degrees[:, column] < least) | (degrees[:, column] > most))
        if len(outside):
            line, name = outside[0] + 2, header[found[column]]
            raise InputError(
                f"{path}, line {line}, column {name}: {degrees[outside[0], column]:g} is not between {least} and "
                f"{most} degrees; mend or remove that line"
            )
    return degrees


def _chains(x: Tensor, step: float) -> Sequence[str]:
    """A name for each point ``(N, 3)``, the same for points that a chain of arcs of at most ``step`` [rad] joins."""
    tree = KDTree(x.double().numpy())
    pairs = tree.query_pairs(2 * np.sin(min(step, np.pi) / 2), output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(x), len(x)))
    return [str(label) for label in connected_components(links, directed=False)[1]]
