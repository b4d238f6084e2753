"""What the settings of a sampler of letters ask for: a step by its name, a temperature."""

from typing import Any

from torch import Tensor

from .. import sampling
from ..errors import InputError
from ..paths import MaskingPath, vertices
from ..sampling import PosteriorStep
from ..training import ODE_STEPS

__all__ = ["Tempered", "posterior_step", "refuse_noise"]


def refuse_noise(step: str, noise: float) -> None:
    """Raise InputError where a step has no use for noise."""
    if noise and step != "tau_leap":
        raise InputError(f"sampler.noise={noise}: for sampler.step=tau_leap; leave it out")


def posterior_step(name: str, path: Any, noise: float) -> PosteriorStep:
    """The step that a configuration names. Raises InputError where the path has none of that name."""
    refuse_noise(name, noise)
    if name == "path":
        return sampling.AlongPath(path)
    known = ["tau_leap"] * path.discrete + ["confidence", "autoregressive"] * isinstance(path, MaskingPath)
    if name not in known:
        others = ", ".join(known or ODE_STEPS)
        raise InputError(f"sampler.step={name}: {type(path).__name__} has no such step; use path, {others}")
    if name == "tau_leap":
        return sampling.TauLeap(path, noise)
    return sampling.Confidence(path) if name == "confidence" else sampling.Staggered(path)


class Tempered:
    """Posteriors to the power 1/T, normalised; at T = 0 their most probable letter."""

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, denoise: sampling.Denoise) -> sampling.Denoise:
        def tempered(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
            posterior = denoise(x, t, **cond)
            if not self.temperature:
                return vertices(posterior.argmax(-1), posterior.shape[-1], posterior.dtype)
            return (posterior.log() / self.temperature).softmax(-1)

        return tempered
