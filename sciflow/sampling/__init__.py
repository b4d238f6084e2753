"""From a velocity field to samples and densities: steps, rollout, likelihood."""

from sciflow.sampling.divergence import divergence
from sciflow.sampling.likelihood import log_prob
from sciflow.sampling.rollout import Hook, Rollout, sample
from sciflow.sampling.steps import RK4, Dopri5, Euler, Midpoint, Step

__all__ = ["RK4", "Dopri5", "Euler", "Hook", "Midpoint", "Rollout", "Step", "divergence", "log_prob", "sample"]
