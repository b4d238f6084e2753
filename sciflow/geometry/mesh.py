"""Points on a surface or in a maze: targets of known density, or one's own points on one's own mesh."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, require_above
from ..manifolds import Biharmonic, Diffusion, Mesh, PiecewiseLinear, read_mesh
from ..paths import PremetricPath
from ..rng import step_generator
from ..study import Evaluation, Metric
from ..training import FieldModel, SafetensorsDataset, Samples, load_tensors, save_tensors
from ..training.tables import find_columns, numbers, read_rows
from .density_figures import calibration
from .floors import Floors
from .mesh_figures import plan, views
from .mesh_floor import mesh_floors
from .mesh_paths import Traced, trace_paths
from .mesh_targets import PUBLISHED, REST, ROOMS, eigenfunction_target, rooms
from .mixtures import refuse
from .study import Drawing, ManifoldStudy, Points, Splits, raw_file

__all__ = ["MeshPoints", "MeshStudy", "Tracing"]

# Files of the data set and their scales, those of the published numbers.
SURFACES = {
    "bunny": ("bunny_simp.obj", 1 / 250),
    "spot": ("spot_simp.obj", 1.0),
    "maze_3x3": ("maze_3x3.obj", 1.0),
    "maze_4x4": ("maze_4x4.obj", 1.0),
}
PREMETRICS = ("biharmonic", "diffusion")
MODES = 100
COLUMNS = (("x",), ("y",), ("z",))


@dataclass
class MeshPoints:
    """Where the points come from.

    Attributes:
        mesh: a surface of the user's as OBJ, PLY or STL, in the place of ``study.surface``.
        path: a table with columns x, y, z of points on the surface, in the coordinates of its file. Without one, points
            of known density are drawn.
        off: how far a point of the table may lie from the surface, as a share of the surface's size (the square root of
            its area); it is moved to the closest point.
        eigenfunction: k; the known density is the positive part of the k-th one. By default 10, and in a maze the
            density of its end rooms instead, which is reached from another room.
        rows: points drawn.
    """

    mesh: Path | None = None
    path: Path | None = None
    off: float = 0.02
    eigenfunction: int | None = None
    rows: int = 50000

    def __post_init__(self) -> None:
        require_above(0, "data.", self, "off", "rows")
        if self.eigenfunction is not None and not 1 <= self.eigenfunction <= MODES:
            raise InputError(f"data.eigenfunction={self.eigenfunction}: use one of 1 to {MODES}")


@dataclass
class Tracing:
    """The paths of the training.

    Attributes:
        premetric: ``biharmonic``, or ``diffusion``.
        time: of the diffusion, in units of the area.
        pairs: paths for training, each from a new source; a tenth as many for validation.
        times: at which each path is seen.
    """

    premetric: str = "biharmonic"
    time: float = 0.01
    pairs: int = 200_000
    times: int = 8

    def __post_init__(self) -> None:
        require_above(0, "paths.", self, "time", "times")
        require_above(9, "paths.", self, "pairs")
        if self.premetric not in PREMETRICS:
            raise InputError(f"paths.premetric={self.premetric!r}: use one of {', '.join(PREMETRICS)}")


@dataclass
class MeshStudy(ManifoldStudy):
    """A density on a triangle mesh, by its area.

    Lengths are those of the file, divided by 250 for the bunny as in the published benchmark; a mesh of the user's is
    scaled to the area 4π of the unit sphere. Samples are written in the coordinates of the file. Paths are traced by
    ``prepare``, coupled by optimal transport: the model's ``coupling`` and ``noise`` are for paths made in training.

    Source: Chen, Lipman 2023, arXiv:2302.03660 (the targets as a benchmark).
    """

    surface: str = "bunny"
    data: MeshPoints = field(default_factory=MeshPoints)
    paths: Tracing = field(default_factory=Tracing)

    def __post_init__(self) -> None:
        self._mesh: Mesh | None = None
        self._scale = 1.0
        if self.surface not in SURFACES:
            raise InputError(f"study.surface={self.surface!r}: use one of {', '.join(SURFACES)}, or data.mesh=FILE")

    @property
    def sources(self) -> tuple[str, ...]:
        return ("meshes",) if self.data.mesh is None else ()

    @property
    def manifold(self) -> Mesh:
        """The surface, once it has been read: by ``prepare``, or with the data that this wrote."""
        if self._mesh is None:
            raise ValueError("no surface yet: call prepare, model or evaluate first")
        return self._mesh

    @property
    def target(self) -> PiecewiseLinear | None:
        """The known density; none where the points are the user's."""
        if self.data.path is not None:
            return None
        if self._maze and self.data.eigenfunction is None:
            return rooms(self.manifold, ROOMS[self.surface][1])
        return eigenfunction_target(self.manifold, self._k)

    @property
    def source(self) -> PiecewiseLinear | None:
        """Where the flow begins, if not everywhere: one room of a maze."""
        if self._maze and self.data.eigenfunction is None and self.data.path is None:
            return rooms(self.manifold, ROOMS[self.surface][0], REST)
        return None

    def prepare(self, raw: Path | None, out: Path) -> None:
        file, scale = SURFACES[self.surface]
        if self.data.mesh is None:
            vertices, faces = read_mesh(raw_file(raw, "meshes", file), scale)
        else:
            vertices, faces = read_mesh(self.data.mesh)
            scale = math.sqrt(4 * math.pi) / math.exp(self._built(vertices, faces).log_volume / 2)
            vertices = vertices * scale
        tensors = {"vertices": torch.from_numpy(vertices), "faces": torch.from_numpy(faces)}
        save_tensors({**tensors, "scale": torch.tensor(scale, dtype=torch.float64)}, out / "surface.safetensors")
        self._open(out)
        super().prepare(raw, out)
        lost = {
            name: self._trace(out, name, max(1, self.paths.pairs // share), stream)
            for name, share, stream in (("train", 1, 0), ("val", 10, 1))
        }
        meta = json.loads((out / "meta.json").read_text())
        meta |= {"lengths": f"those of the file times {scale:.6g}", "paths that rest in a well, left out": lost}
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def dataset(self, data: Path, split: str) -> SafetensorsDataset:
        """Traced paths for training and validation, points for the test."""
        return SafetensorsDataset(data / (f"{split}.safetensors" if split == "test" else f"{split}_paths.safetensors"))

    def model(self, data: Path) -> FieldModel:
        self._open(data)
        if self.architecture is None:
            raise InputError("model: none chosen; say model=geodesic_flow")
        if self.architecture.noise or self.architecture.coupling != "independent":
            raise InputError("model.noise, model.coupling: paths on a mesh are coupled by prepare; leave both out")
        model: FieldModel = self.architecture.build(self.manifold, self.source, Traced(self.architecture.lateness))
        return model

    def read(self, raw: Path | None) -> Points:
        if self.data.path is not None:
            return Points(self.read_table(self.data.path).float())
        assert self.target is not None
        drawn = self.target.sample(self.data.rows, generator=step_generator(self.seed, 3), dtype=torch.float64)
        return Points(drawn.float())

    def read_table(self, path: Path) -> Tensor:
        """Points ``(N, 3)`` of a table, moved to the surface. Raises InputError, naming line and column."""
        header, rows = read_rows(path)
        values = numbers(path, header, rows, find_columns(path, header, COLUMNS))
        x = torch.from_numpy(values * self._scale)
        on = self.manifold.projx(x)
        gap = ((x - on).norm(dim=1) / self._scale).numpy()
        most = self.data.off * math.exp(self.manifold.log_volume / 2) / self._scale
        refuse(
            path,
            gap > most,
            lambda i: f"x, y, z lie {gap[i]:.4g} from the surface, over {most:.4g}; mend it, or raise data.off",
        )
        return on

    def columns(self, x: Tensor) -> dict[str, np.ndarray]:
        return dict(zip("xyz", (x.double() / self._scale).numpy().T, strict=True))

    def draw(self, samples: Samples, splits: Splits) -> dict[str, Drawing]:
        if self._flat:
            return {"plan": plan(self.manifold, samples, splits, self.source, self.target)}
        return {
            "views": views(self.manifold, samples, splits, self.target),
            **calibration(samples, splits, self._positive_log_density),
        }

    def keep(self, samples: Samples, data: Path) -> Tensor:
        """Raises InputError: what is learnt are the paths of ``prepare``, and pairs have none."""
        raise InputError("rectify: a mesh is learnt from paths that prepare traces; take more sampler.steps instead")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        self._open(data)
        evaluation = super().evaluate(samples, data)
        test = load_tensors(data / "test.safetensors")["x"]
        evaluation.metrics |= self._overlap(samples, test)
        return evaluation

    def floors(self, splits: Splits) -> Floors:
        return mesh_floors(self.manifold, splits.train, splits.val, splits.test)

    def log_density(self, x: Tensor) -> Tensor | None:
        return None if self.target is None else self.target.log_prob(x.double())

    def published(self) -> float | None:
        if self.data.mesh is not None or self.data.path is not None or self._maze:
            return None
        return PUBLISHED[self.paths.premetric][self.surface].get(self._k)

    def _overlap(self, samples: Samples, test: Tensor) -> dict[str, Metric]:
        """``∫(p − q)₊ = E_p (1 − q/p)₊`` on held-out data, and the share of samples where p vanishes."""
        target = self.target
        if target is None:
            return {}
        assert isinstance(samples.x, Tensor)
        noise = self.manifold.random(len(samples.x), generator=step_generator(self.seed, 1))
        outside, beside = (
            float((target.log_prob(x.double()) == -math.inf).double().mean()) for x in (samples.x, noise)
        )
        found = {"outside": Metric(outside, n=len(samples.x), floor=beside, reference=0.0)}
        if samples.test_logp is None:
            return found
        exact = target.log_prob(test.double())
        missing = (1 - (samples.test_logp.double() - exact).exp()).clamp_min(0)
        uniform = float((1 - (-self.manifold.log_volume - exact).exp()).clamp_min(0).mean())
        error = float(missing.std()) / len(missing) ** 0.5
        return {"total_variation": Metric(float(missing.mean()), error, len(test), uniform, 0.0), **found}

    def _positive_log_density(self, x: Tensor) -> Tensor | None:
        """For a picture: where the density vanishes, as low as it goes in float32 near an edge of the support."""
        exact = self.log_density(x)
        return None if exact is None else exact.clamp_min(-9.0)

    def _trace(self, out: Path, split: str, pairs: int, stream: int) -> float:
        data = load_tensors(out / f"{split}.safetensors")["x"]
        prior = self.source or self.manifold.prior()
        written = out / f"{split}_paths.safetensors"
        seed = 2 * self.seed + stream
        return trace_paths(PremetricPath(self.manifold), prior, data, pairs, self.paths.times, seed, written)

    def _open(self, data: Path) -> None:
        """The surface that ``prepare`` wrote."""
        known = load_tensors(data / "surface.safetensors")
        self._mesh = self._built(known["vertices"].numpy(), known["faces"].numpy())
        self._scale = float(known["scale"])

    def _built(self, vertices: np.ndarray, faces: np.ndarray) -> Mesh:
        corners = vertices[faces]
        area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
        premetric = Biharmonic() if self.paths.premetric == "biharmonic" else Diffusion(self.paths.time * area)
        return Mesh(vertices, faces, premetric, min(MODES, len(vertices) - 1))

    @property
    def _maze(self) -> bool:
        return self.data.mesh is None and self.surface in ROOMS

    @property
    def _flat(self) -> bool:
        return not np.ptp(self.manifold.vertices[:, 2])

    @property
    def _k(self) -> int:
        return 10 if self.data.eigenfunction is None else self.data.eigenfunction
