"""The generator that the studies of proteins share."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import InputError, require_above
from ..manifolds import Product
from ..paths import Exponential, GeodesicPath, Linear, Schedule
from .losses import ProteinLoss
from .model import ProteinModel
from .network import ProteinField

__all__ = ["FrameFlow"]


@dataclass
class FrameFlow:
    """Flow matching of residue frames, and of torsions and sequences where a study has them, by invariant point
    attention (Yim et al. 2023, arXiv:2310.05297; Yue et al. 2025, arXiv:2502.14637; Li et al. 2024, arXiv:2406.00735).

    In training all factors run in step. In sampling rotations run ahead of places, exponentially, as in the papers: the
    one thing where samples leave the law of training.

    Attributes:
        width, pair_width, depth, heads: of the network.
        rate: of the rotations' schedule in sampling.
        loss: weights of its terms.
        earliness: training draws the times ``u ** earliness``, u uniform.
    """

    width: int = 128
    pair_width: int = 64
    depth: int = 4
    heads: int = 8
    rate: float = 10.0
    loss: ProteinLoss = field(default_factory=ProteinLoss)
    earliness: float = 1.0

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "width", "pair_width", "depth", "heads", "rate", "earliness")
        if self.width % self.heads:
            raise InputError(f"model.heads={self.heads} must divide model.width={self.width}")

    def build(self, manifold: Product, scale: float, tasks: Mapping[str, float]) -> ProteinModel:
        """An untrained model whose translations start from N(0, scale²) [nm], trained on ``tasks`` by their weights."""
        even: dict[str, Schedule] = {name: Linear() for name in manifold.factors}
        ahead = GeodesicPath(manifold, even | {"rotation": Exponential(self.rate)})
        field = ProteinField(ahead, self.width, self.pair_width, self.depth, self.heads)
        return ProteinModel(field, GeodesicPath(manifold, even), scale, tasks, self.loss, self.earliness)
