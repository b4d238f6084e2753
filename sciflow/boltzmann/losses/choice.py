"""The losses by name, with the settings of each."""

from dataclasses import dataclass, field, fields, replace

from ...errors import InputError
from .alpha_two import AlphaTwo
from .base import Loss
from .force_matching import ForceMatching
from .forward_kl import ForwardKL
from .reverse_kl import ReverseKL
from .self_improvement import SelfImprovement
from .temperature_annealing import TemperatureAnnealing
from .trust_region import TrustRegion

__all__ = ["Losses"]


@dataclass
class Losses:
    """Settings of every loss of a flow; a name chooses one: ``loss=reverse_kl losses.reverse_kl.cut=100``."""

    forward_kl: ForwardKL = field(default_factory=ForwardKL)
    reverse_kl: ReverseKL = field(default_factory=ReverseKL)
    force_matching: ForceMatching = field(default_factory=ForceMatching)
    fab: AlphaTwo = field(default_factory=AlphaTwo)
    self_improvement: SelfImprovement = field(default_factory=SelfImprovement)
    temperature_annealing: TemperatureAnnealing = field(default_factory=TemperatureAnnealing)
    trust_region: TrustRegion = field(default_factory=TrustRegion)

    def named(self, name: str) -> Loss:
        """A fresh one, which remembers nothing. Raises InputError."""
        known = [f.name for f in fields(self)]
        if name not in known:
            raise InputError(f"model.loss={name!r} is not a loss: use one of {', '.join(known)}")
        chosen: Loss = replace(getattr(self, name))
        return chosen
