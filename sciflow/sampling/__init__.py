"""From a velocity field to samples and densities: steps, rollout, likelihood."""

from .divergence import divergence
from .feynman_kac import feynman_kac
from .guidance import CFG, Classifier, StraightThrough
from .jumps import Confidence, Corrector, Staggered, TauLeap
from .likelihood import log_prob
from .optimal_grid import optimal_grid
from .posterior import AlongPath, Denoise, PosteriorHook, PosteriorStep, sample_posterior
from .rollout import Hook, Rollout, sample
from .steps import RK4, Dopri5, Euler, Midpoint, PathEuler, Step
from .token_bound import token_bound

__all__ = [
    "CFG",
    "RK4",
    "AlongPath",
    "Classifier",
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
    "StraightThrough",
    "TauLeap",
    "divergence",
    "feynman_kac",
    "log_prob",
    "optimal_grid",
    "sample",
    "sample_posterior",
    "token_bound",
]
