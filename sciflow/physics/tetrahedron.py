"""A rigid tetrahedron in a field: orientations with many modes, drawn by a flow on SO(3)."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
from torch import Tensor

from ..boltzmann import logweights
from ..boltzmann.losses import Losses
from ..boltzmann.targets import TETRAHEDRON, Target, Tetrahedron
from ..errors import InputError, require_above
from ..flows import rotation_flow
from ..rng import step_generator
from ..study import Evaluation, require_prepared
from ..training import FlowModel, Model, SafetensorsDataset, Samples, load_tensors, save_splits
from ..training.tables import write_table
from .ensembles import Ensembles
from .figures import captions, figures
from .metrics import metrics
from .tetrahedron_figures import CORNERS, corners

__all__ = ["RotationFlow", "TetrahedronStudy"]

# What the metrics and figures of vectors say is not about quaternions, of which q and −q are the same rotation.
_VECTORS_ONLY = ("w2", "virial_data")
_SHOWN = ("energies", "weights")
_OF_DATA = ("charges", "cubic", "uniform", "temperature")  # settings of the target


@dataclass
class RotationFlow:
    """Gradients of convex functions on quaternions, from the uniform law on SO(3) (Köhler, Invernizzi, de Haan & Noé
    2023, arXiv:2301.11355).

    Attributes:
        layers, directions: of the flow.
        loss, losses: what it is trained by, and the settings of each.
    """

    layers: int = 8
    directions: int = 24
    loss: str = "forward_kl"
    losses: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "layers", "directions")
        self.losses.named(self.loss)

    def build(self, target: Target, frames: Tensor, seed: int = 0) -> Model:
        if not isinstance(target, Tetrahedron):
            raise InputError(f"model=rotation_flow: states of {type(target).__name__} are not rotations")
        return FlowModel(rotation_flow(self.layers, self.directions, seed), target, self.losses.named(self.loss))


@dataclass
class TetrahedronStudy:
    """Orientations of a tetrahedron whose corners carry charges, in a cubic and a uniform field, in units of kT.

    Attributes:
        charges, cubic, uniform, temperature: of the target, see ``sciflow.boltzmann.targets.Tetrahedron``.
        frames: exact draws; 80 % are for training, 10 % for validation, 10 % held out.
    """

    charges: tuple[float, float, float, float] = (1.6, 1.3, 1.0, 0.7)
    cubic: float = 2.0
    uniform: tuple[float, float, float] = (0.0, 0.0, 0.5)
    temperature: float = 1.0
    frames: int = 10_000
    architecture: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_above(9, "study.", self, "frames")
        require_above(0, "study.", self, "temperature")

    @property
    def target(self) -> Tetrahedron:
        """The energy of the configuration."""
        return Tetrahedron(
            tuple(self.charges),  # type: ignore[arg-type]  # lists, where they come from a file
            self.cubic,
            tuple(self.uniform),  # type: ignore[arg-type]
            temperature=self.temperature,
        )

    def prepare(self, raw: Path | None, out: Path) -> None:
        target = self.target
        x = target.sample(self.frames, step_generator(self.seed)).float()
        save_splits({"x": x}, out, self.seed)
        meta = {"target": str(target), "draws": "independent", "log_z": target.log_z, "frames": len(x)}
        (out / "meta.json").write_text(json.dumps(meta, indent=1))

    def dataset(self, data: Path, split: str) -> SafetensorsDataset:
        return SafetensorsDataset(data / f"{split}.safetensors")

    def model(self, data: Path) -> Model:
        if not isinstance(self.architecture, RotationFlow):
            raise InputError("model: none chosen that draws rotations; say model=rotation_flow")
        require_prepared(self, data, *_OF_DATA)
        model: Model = self.architecture.build(self.target, _frames(data, "train"), self.seed)
        return model

    def write(self, samples: Samples, out: Path) -> None:
        """samples.csv: quaternions, energies in kT, log q and log-weights; topology.pdb with samples.xtc: tetrahedra as
        drawn, corners one nanometre from a carbon; equilibrium.xtc: resampled by their weights."""
        assert isinstance(samples.x, Tensor)
        x = samples.x.double()
        energy = self.target.energy(x)
        table = {**dict(zip("wxyz", x.T.numpy(), strict=True)), "energy": energy.numpy()}
        _save(self.target, x, out, "samples")
        if samples.logq is not None:
            logw = -energy - samples.logq.double()
            table |= {"logq": samples.logq.numpy(), "logw": logw.numpy()}
            _save(self.target, x[logweights.effective(logw, step_generator(self.seed))], out, "equilibrium")
        write_table(table, out / "samples.csv")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        require_prepared(self, data, *_OF_DATA)
        e = Ensembles.of(self.target, samples, _frames(data, "train"), _frames(data, "test"), self.seed)
        found = {name: metric for name, metric in metrics(e).items() if name not in _VECTORS_ONLY}
        shown, said = figures(e), captions(e)
        drawn = {"corners": corners(self.target, e)} | {name: shown[name] for name in _SHOWN if name in shown}
        return Evaluation(found, drawn, {name: {"corners": CORNERS, **said}[name] for name in drawn})


def _frames(data: Path, split: str) -> Tensor:
    x = load_tensors(data / f"{split}.safetensors")["x"]
    assert isinstance(x, Tensor)
    return x


def _save(target: Tetrahedron, x: Tensor, out: Path, name: str) -> None:
    topology = mdtraj.Topology()
    residue = topology.add_residue("TET", topology.add_chain())
    centre = topology.add_atom("C", mdtraj.element.carbon, residue)
    for k in range(len(TETRAHEDRON)):
        topology.add_bond(centre, topology.add_atom(f"H{k + 1}", mdtraj.element.hydrogen, residue))
    places = np.concatenate((np.zeros((len(x), 1, 3)), target.corners(x).numpy()), 1)
    trajectory = mdtraj.Trajectory(places, topology)
    trajectory.save_xtc(str(out / f"{name}.xtc"))
    trajectory[0].save_pdb(str(out / "topology.pdb"))
