"""The generators of molecular conformations: internal-coordinate spline flows and equivariant flow matching."""

from dataclasses import dataclass

from openmm import app
from torch import Tensor

from ..errors import require_above
from ..flows import spline_flow
from ..manifolds import Euclidean, Normal
from ..nets import EGNNField
from ..objectives import FlowMatching
from ..paths import Alignment, GeodesicPath, OptimalTransport
from ..training import FieldModel, FlowModel, Model
from .zmatrix import zmatrix

__all__ = ["EquivariantFlow", "SplineFlow"]


@dataclass
class SplineFlow:
    """Circular and linear rational-quadratic spline couplings on whitened internal coordinates (Noé et al. 2019,
    arXiv:1812.01729; Durkan et al. 2019, arXiv:1906.04032; Köhler et al. 2021, arXiv:2110.00351)."""

    couplings: int = 8
    width: int = 96
    bins: int = 8

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "couplings", "width")
        require_above(1, "model.", self, "bins")

    def build(self, topology: app.Topology, frames: Tensor, seed: int = 0) -> Model:
        return FlowModel(
            spline_flow(
                zmatrix(topology), frames, couplings=self.couplings, width=self.width, bins=self.bins, seed=seed
            )
        )


@dataclass
class EquivariantFlow:
    """Flow matching in Cartesian coordinates with an equivariant field and aligned optimal transport
    (Klein, Krämer & Noé 2023, arXiv:2306.15030; Satorras et al. 2021, arXiv:2102.09844)."""

    width: int = 32
    depth: int = 3

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "width", "depth")

    def build(self, topology: app.Topology, frames: Tensor, seed: int = 0) -> Model:
        manifold = Euclidean(3, centered=True)
        names = [(a.residue.index, a.name) for a in topology.atoms()]
        return FieldModel(
            field=EGNNField(atom_types=list(range(len(names))), width=self.width, depth=self.depth),
            path=GeodesicPath(manifold),
            coupling=OptimalTransport(cost=Alignment()),
            objective=FlowMatching(),
            prior=Normal(3, scale=float(frames.std()), centered=True),
            event_shape=(len(names),),
        )
