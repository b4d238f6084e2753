"""From a velocity field to samples and densities: steps, rollout, likelihood."""

from .divergence import divergence
from .jumps import Confidence, Corrector, Staggered, TauLeap
from .likelihood import log_prob
from .optimal_grid import optimal_grid
from .posterior import AlongPath, Denoise, PosteriorHook, PosteriorStep, sample_posterior
from .rollout import Hook, Rollout, sample
from .steps import RK4, Dopri5, Euler, Midpoint, PathEuler, Step

__all__ = [
    "RK4",
    "AlongPath",
    "Confidence",
    "Corrector",
    "Denoise",
    "Dopri5",
    "Euler",
    "Hook",
    "Midpoint",
    "PathEuler",
    "PosteriorHook",
    "PosteriorStep",
    "Rollout",
    "Staggered",
    "Step",
    "TauLeap",
    "divergence",
    "log_prob",
    "optimal_grid",
    "sample",
    "sample_posterior",
]
