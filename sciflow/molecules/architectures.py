"""The generators of molecular conformations: internal-coordinate spline flows and equivariant flow matching."""

from collections.abc import Callable
from dataclasses import dataclass, field

from openmm import app
from torch import Tensor

from ..boltzmann import Energy
from ..boltzmann.losses import Losses
from ..errors import InputError, require_above
from ..flows import NormalizingFlow, smooth_flow, spline_flow
from ..manifolds import Euclidean, Normal
from ..nets import EGNNField, PaiNNField, PointCloudField, TensorProductField
from ..objectives import FlowMatching
from ..paths import Alignment, GeodesicPath, OptimalTransport
from ..training import FieldModel, FlowModel, Model
from .rotors import rotors
from .zmatrix import backbone, zmatrix

__all__ = ["EquivariantFlow", "SplineFlow"]

FIELDS: dict[str, Callable[..., PointCloudField]] = {"egnn": EGNNField, "painn": PaiNNField, "e3nn": TensorProductField}
FLOWS: dict[str, Callable[..., NormalizingFlow]] = {"spline": spline_flow, "smooth": smooth_flow}
FITTED = 200_000  # frames that coordinates and whitening are fitted to; more would only take time


@dataclass
class SplineFlow:
    """Circular and linear rational-quadratic spline couplings on whitened internal coordinates (Noé et al. 2019,
    arXiv:1812.01729; Durkan et al. 2019, arXiv:1906.04032; Köhler et al. 2021, arXiv:2110.00351).

    ``coupling=smooth`` takes mixtures of bumps, whose forces are smooth. ``core=backbone`` describes N, CA and C by
    Cartesian components in their own frame, the rest by internal coordinates on it. With ``rotors`` one labelling of
    the interchangeable hydrogens of a methyl or an ammonium stands for all three (`flows.Rotors`); with ``decorrelate``
    numbers are whitened. ``loss`` names what it is trained by, ``losses`` has the settings of each."""

    couplings: int = 8
    width: int = 96
    bins: int = 8
    coupling: str = "spline"
    core: str | None = None
    rotors: bool = True
    decorrelate: bool = True
    loss: str = "forward_kl"
    losses: Losses = field(default_factory=Losses)

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "couplings", "width")
        require_above(1, "model.", self, "bins")
        if self.coupling not in FLOWS:
            raise InputError(f"model.coupling={self.coupling!r} is not a coupling: use one of {', '.join(FLOWS)}")
        if self.core not in (None, "backbone"):
            raise InputError(f"model.core={self.core!r} is not a core: use backbone or null")
        self.losses.named(self.loss)

    def build(self, topology: app.Topology, frames: Tensor, energy: Callable[[], Energy], seed: int = 0) -> Model:
        loss, rows = self.losses.named(self.loss), zmatrix(topology)
        flow = FLOWS[self.coupling](
            rows,
            frames[:: 1 + len(frames) // FITTED],
            couplings=self.couplings,
            width=self.width,
            bins=self.bins,
            core=None if self.core is None else backbone(topology, rows),
            rotors=rotors(topology, rows) if self.rotors else (),
            decorrelate=self.decorrelate,
            seed=seed,
        )
        return FlowModel(flow, energy() if loss.needs_energy else None, loss)


@dataclass
class EquivariantFlow:
    """Flow matching in Cartesian coordinates with an equivariant field and aligned optimal transport
    (Klein, Krämer & Noé 2023, arXiv:2306.15030).

    ``field`` is ``egnn`` (Satorras et al. 2021, arXiv:2102.09844), ``painn`` (Schütt et al. 2021, arXiv:2102.03150) or
    ``e3nn``, tensor products up to degree 2 (Batzner et al. 2022, arXiv:2101.03164), of ``width`` and ``depth``."""

    field: str = "egnn"
    width: int = 32
    depth: int = 3

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "width", "depth")
        if self.field not in FIELDS:
            raise InputError(f"model.field={self.field!r} is not a field: use one of {', '.join(FIELDS)}")

    def build(self, topology: app.Topology, frames: Tensor, energy: Callable[[], Energy], seed: int = 0) -> Model:
        manifold = Euclidean(3, centered=True)
        atoms = topology.getNumAtoms()
        return FieldModel(
            field=FIELDS[self.field](list(range(atoms)), width=self.width, depth=self.depth),
            path=GeodesicPath(manifold),
            coupling=OptimalTransport(cost=Alignment()),
            objective=FlowMatching(),
            prior=Normal(3, scale=float(frames.std()), centered=True),
            event_shape=(atoms,),
        )
