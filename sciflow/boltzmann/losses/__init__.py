"""What a Boltzmann generator is trained by: data, energies, or its own weighted samples."""

from .alpha_two import AlphaTwo
from .base import Loss
from .choice import Losses
from .force_matching import ForceMatching
from .forward_kl import ForwardKL
from .path_kl import PathKL
from .reverse_kl import ReverseKL
from .self_improvement import SelfImprovement
from .subtrajectory_balance import SubTrajectoryBalance
from .temperature_annealing import TemperatureAnnealing
from .trajectory_balance import TrajectoryBalance
from .trust_region import TrustRegion

__all__ = [
    "AlphaTwo",
    "ForceMatching",
    "ForwardKL",
    "Loss",
    "Losses",
    "PathKL",
    "ReverseKL",
    "SelfImprovement",
    "SubTrajectoryBalance",
    "TemperatureAnnealing",
    "TrajectoryBalance",
    "TrustRegion",
]
