"""The generator that the studies on manifolds share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import InputError, require_above
from ..manifolds import Manifold, Mesh, Prior, Product
from ..nets import Committee, Field, MLPField
from ..objectives import FlowMatching, Late
from ..paths import Coupling, GeodesicCost, GeodesicPath, Independent, OptimalTransport, PremetricPath
from ..training import FieldModel

__all__ = ["GeodesicFlow"]


@dataclass
class GeodesicFlow:
    """Riemannian flow matching with a residual network (Chen & Lipman 2023, arXiv:2302.03660).

    Attributes:
        width, depth, dropout: of the network.
        members: networks whose mean is the field, each trained on its own share of the batch.
        harmonics, fourier, sharpness, blur: how finely it reads a point, see ``sciflow.nets.Features``.
        lateness: of the training times 1 − (1 − u)^lateness; above 1 they crowd near the data, where sharp data need it
        noise: [length] of the kernel that stands for each datum in training, see ``FlowMatching``.
        coupling: ``independent``, or ``transport``: minibatch optimal transport in squared geodesic distance.
    """

    width: int = 256
    depth: int = 5
    dropout: float = 0.0
    members: int = 1
    harmonics: int = 3
    fourier: int = 0
    sharpness: float = 64.0
    blur: float = 0.0
    lateness: float = 1.6
    noise: float = 0.0
    coupling: str = "independent"

    def __post_init__(self) -> None:
        require_above(0, "model.", self, "width", "depth", "members", "harmonics", "sharpness", "lateness")
        require_above(-1, "model.", self, "fourier")
        for name in ("blur", "noise"):
            if not getattr(self, name) >= 0:
                raise InputError(f"model.{name}={getattr(self, name)} must be 0 or more")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout={self.dropout} must be at least 0 and less than 1")
        if self.coupling not in ("independent", "transport"):
            raise InputError(f"model.coupling={self.coupling!r}: use independent or transport")

    def build(
        self, manifold: Manifold[Any], prior: Prior[Any] | None = None, objective: Callable[..., Tensor] | None = None
    ) -> FieldModel:
        """An untrained model on a manifold, by default from its canonical prior and by flow matching.

        Raises:
            InputError: for a product of which a factor is a mesh; that has no path yet.
        """
        if isinstance(manifold, Product) and not manifold.has_logmap:
            raise InputError(f"{manifold}: a mesh is no factor of a product in training; learn it alone")
        coupling: Coupling = Independent()
        if self.coupling == "transport":
            coupling = OptimalTransport(GeodesicCost(manifold))
        return FieldModel(
            field=self._field(manifold),
            path=PremetricPath(manifold) if isinstance(manifold, Mesh) else GeodesicPath(manifold),
            coupling=coupling,
            objective=objective or FlowMatching(time=Late(self.lateness), noise=self.noise),
            prior=manifold.prior() if prior is None else prior,
            clock=Late(2),
        )

    def _field(self, manifold: Manifold[Any]) -> Field:
        networks = [
            MLPField(
                manifold,
                width=self.width,
                depth=self.depth,
                dropout=self.dropout,
                harmonics=self.harmonics,
                fourier=self.fourier,
                sharpness=self.sharpness,
                blur=self.blur,
            )
            for _ in range(self.members)
        ]
        return networks[0] if self.members == 1 else Committee(networks)
