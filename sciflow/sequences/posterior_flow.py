"""The generator that studies of sequences share."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ..errors import InputError, require_above
from ..nets import DilatedCNN, RotaryTransformer
from ..objectives import CrossEntropy, InformationClock
from ..paths import (
    CategoricalPath,
    DirichletPath,
    FisherPath,
    GumbelSoftmaxPath,
    LinearSimplexPath,
    LogitPath,
    MaskingPath,
    OptimalTransport,
    UniformPath,
)
from .model import SequenceField, SequenceModel

__all__ = ["PosteriorFlow"]

_PATHS: dict[str, Callable[[int], CategoricalPath]] = {
    "dirichlet": DirichletPath,
    "fisher": FisherPath,
    "gumbel": GumbelSoftmaxPath,
    "linear": LinearSimplexPath,
    "logit": LogitPath,
    "masking": MaskingPath,
    "uniform": UniformPath,
}


@dataclass
class PosteriorFlow:
    """Flow matching of letters by a network that predicts posteriors, on any path, on the clock of its information.

    Attributes:
        path: ``dirichlet``, ``fisher``, ``gumbel``, ``linear``, ``logit``, ``masking`` or ``uniform``.
        network: ``transformer`` (rotary, attention over all sites) or ``cnn`` (dilated convolutions).
        width, depth, dropout: of either; the transformer has ``heads``, the convolutions are over ``kernel`` sites.
        coupling: ``independent``, or ``transport``, of the Fisher path: minibatch optimal transport of its sources.
        unlabelled: the share of labels that training hides, where data have any.
    """

    path: str = "masking"
    network: str = "transformer"
    width: int = 64
    depth: int = 3
    heads: int = 4
    kernel: int = 7
    dropout: float = 0.0
    coupling: str = "independent"
    unlabelled: float = 0.1

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "width", "depth", "heads", "kernel")
        for name in ("dropout", "unlabelled"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"model.{name}={getattr(self, name)} must be at least 0 and less than 1")
        if self.path not in _PATHS:
            raise InputError(f"model.path={self.path!r}: use one of {', '.join(_PATHS)}")
        if self.network not in ("transformer", "cnn"):
            raise InputError(f"model.network={self.network!r}: use transformer or cnn")
        if self.network == "transformer" and self.width % (2 * self.heads):
            raise InputError(f"model.width={self.width} must be a multiple of 2·model.heads={2 * self.heads}")
        if self.network == "cnn" and self.kernel % 2 == 0:
            raise InputError(f"model.kernel={self.kernel} must be odd")
        if self.coupling not in ("independent", "transport"):
            raise InputError(f"model.coupling={self.coupling!r}: use independent or transport")
        if self.coupling == "transport" and self.path != "fisher":
            raise InputError(f"model.coupling=transport is of model.path=fisher, not of {self.path}; leave it out")

    def build(
        self, k: int, length: int | None = None, aligned: bool = False, classes: int = 0, features: int = 0
    ) -> SequenceModel:
        """An untrained model of sequences of ``k`` letters.

        Args:
            length: L; None where it differs, and a condition ``mask (B, L)`` says where it ends.
            aligned: whether places mean something, as columns of an alignment do; each then has a learned vector.
            classes: values of the condition ``label (B,)``.
            features: numbers a site of the condition ``profile (B, L, features)``.
        """
        if aligned and length is None:
            raise ValueError("an alignment has a length: give it")
        if self.coupling == "transport" and length is None:
            raise InputError(
                "model.coupling=transport: pairs sequences of one length, which these are not; leave it out"
            )
        path = _PATHS[self.path](k)
        clock = InformationClock(path)
        network = self._network(path, length if aligned and length else 0, classes, features)
        field = SequenceField(network, path, clock.fraction)
        transport = (
            OptimalTransport(path.cost) if isinstance(path, FisherPath) and self.coupling == "transport" else None
        )
        return SequenceModel(field, CrossEntropy(time=clock), length, transport, self.unlabelled)

    def _network(self, path: CategoricalPath, places: int, classes: int, features: int) -> nn.Module:
        inputs, own = SequenceField.inputs(path), {"places": places, "classes": classes, "features": features}
        if self.network == "cnn":
            return DilatedCNN(inputs, path.k, self.width, self.depth, self.kernel, dropout=self.dropout, **own)
        return RotaryTransformer(inputs, path.k, self.width, self.depth, self.heads, self.dropout, **own)
