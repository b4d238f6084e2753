"""From a velocity field to samples and densities: steps, rollout, likelihood."""

from .divergence import divergence
from .likelihood import log_prob
from .optimal_grid import optimal_grid
from .posterior import AlongPath, Denoise, PosteriorHook, PosteriorStep, sample_posterior
from .rollout import Hook, Rollout, sample
from .steps import RK4, Dopri5, Euler, Midpoint, PathEuler, Step

__all__ = [
    "RK4",
    "AlongPath",
    "Denoise",
    "Dopri5",
    "Euler",
    "Hook",
    "Midpoint",
    "PathEuler",
    "PosteriorHook",
    "PosteriorStep",
    "Rollout",
    "Step",
    "divergence",
    "log_prob",
    "optimal_grid",
    "sample",
    "sample_posterior",
]
