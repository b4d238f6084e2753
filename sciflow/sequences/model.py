"""Flows to sequences: one network of posteriors on every path, trained by cross-entropy."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from .. import sampling
from ..errors import InputError
from ..nets import Field
from ..objectives import CrossEntropy
from ..paths import (
    CategoricalPath,
    Coupling,
    FisherPath,
    LinearSimplexPath,
    MaskingPath,
    Pair,
    RatesPath,
    vertices,
)
from ..rng import Generator, sample_generators, uniform
from ..sampling import PosteriorHook
from ..training import ODE_STEPS, Coupler, Model, Samples, solver_step
from .steps import Tempered, posterior_step, refuse_noise

__all__ = ["SequenceField", "SequenceModel"]

_SURE = 20.0  # nats by which a letter is at most behind the best one before the network is heard
_DRAWS, _TOLD = 32, 0.9  # of the bound on the likelihood
_JUMPING = (FisherPath, LinearSimplexPath)
_AT_SOURCE = 0.75  # of the times of pairs are 0: from there on letters are all but known


class SequenceField(Field):
    r"""The posterior of letters given the state of a path, by what the state says of each site and what a network adds:

    .. math:: \log p_\theta(x_1^l = k \mid x_t) = \log p_t(x_t^l \mid x_1^l = k) + f_\theta^l(x_t, t)_k + \text{const}

    The first term is Bayes' rule for a site by itself, and known; f then is the log-probability of the letter given
    all *other* sites, up to a factor, on every path. The network reads the state as the softmax of the first term,
    which is all that the state says of the sequence, and is alike for all paths; and the coordinates of the state
    itself, which count once sources are paired with data.

    Args:
        network: logits ``(B, L, K)`` of numbers ``(B, L, inputs(path))`` at times ``(B,)``, with conditions by name.
        clock: of the times that the network sees, from the path's.
    """

    def __init__(
        self, network: nn.Module, path: CategoricalPath, clock: Callable[[Tensor], Tensor] = lambda t: t
    ) -> None:
        super().__init__(path.manifold)
        self.network, self.path, self.clock = network, path, clock

    @staticmethod
    def inputs(path: CategoricalPath) -> int:
        """Numbers a site that a network for ``path`` reads."""
        return path.k + (path.states if isinstance(path, RatesPath) else path.k)

    @property
    def none(self) -> int:
        """The label that stands for none: the number of those that the network knows."""
        classes: int = getattr(getattr(self.network, "embed", None), "classes", 0)
        return classes

    def log_posterior(self, x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        """Log-probabilities ``(B, L, K)`` of the letters at t = 1, in float32 at least."""
        k = self.path.k
        with torch.autocast(t.device.type, enabled=False):
            said = self.path.log_conditional(x, t).clamp_min(-1e6)
            said = (said - said.amax(-1, keepdim=True)).clamp_min(-_SURE)
            state = vertices(x, self.inputs(self.path) - k, said.dtype)
            read = torch.cat([said.softmax(-1), state], -1) - 1 / k
        return (self.network(read, self.clock(t), **cond).to(said.dtype) + said).log_softmax(-1)

    def denoise(self, x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:  # type: ignore[override]  # not an endpoint
        """The posterior ``(B, L, K)``."""
        return self.log_posterior(x, t, **cond).exp()

    def velocity(self, x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:  # type: ignore[override]
        return self.path.velocity(self.denoise(x, t, **cond), x, t)


class SequenceModel(Model):
    """Sequences of letters from the noise of a path.

    Args:
        field: the posterior, and its path.
        objective: what it is trained by; its ``time`` is the clock of the sampler's grid too.
        length: L of samples; None where the condition ``mask (B, L)`` or ``profile (B, L, …)`` says it.
        coupling: of sources and data of one length, on the simplex; by default they are independent.
        unlabelled: the share of labels that training hides, for guidance without a classifier.

    ``guide``, where a study sets it, is the oracle of guidance: ``log p(y | x)`` (rows,) of one-hot ``(rows, L, K)``,
    of sequences of one length: it is told no ``mask``.
    """

    guide: Callable[[Tensor], Tensor] | None = None

    def __init__(
        self,
        field: SequenceField,
        objective: CrossEntropy,
        length: int | None,
        coupling: Coupling | None = None,
        unlabelled: float = 0.1,
    ) -> None:
        super().__init__()
        self.field, self.objective, self.length, self.unlabelled = field, objective, length, unlabelled
        self.coupling = coupling

    @property
    def coupler(self) -> Coupler | None:  # type: ignore[override]
        if self.coupling is None or self.length is None:
            return None
        return _Unpaired(self.field.path.prior, self.coupling, (self.length,))

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        """Cross-entropy of tokens ``x (B, L)``; where data bring their sources ``x0``, a share of the times is 0."""
        paired = "x0" in batch and "weight" not in batch  # the coupler's sources come with a weight
        if self.coupler is not None:
            batch = self.coupler(batch, generator)
        cond = {name: value for name, value in batch.items() if name not in ("x", "x0", "weight")}
        x1 = batch["x"]
        like = next(self.parameters()).new_ones(len(x1))
        if "label" in cond and self.training and self.unlabelled:
            hidden = uniform(len(x1), generator=generator, device=x1.device) < self.unlabelled
            cond["label"] = cond["label"].masked_fill(hidden, self.field.none)
        x0, objective = batch.get("x0"), self.objective
        if x0 is None:
            x0 = self.field.path.prior.sample(*x1.shape, generator=generator, dtype=like.dtype, device=x1.device)
        if paired:
            objective = replace(objective, time=_FromSource(objective.time))
        weight = batch.get("weight", like).to(like)
        return objective(self.field, self.field.path, Pair(x0, x1, weight, cond), generator)

    def check(self, likelihood: bool = False, drawing: bool = True, **sampler: Any) -> None:
        if likelihood and isinstance(self.field.path, _JUMPING):
            raise InputError(f"sampler.likelihood=true: {_no_density(self.field.path)}; set it to false")
        if drawing and self.guide is not None and not sampler.get("guidance"):
            raise InputError(
                "sampler.guidance=0: nothing is steered by the oracle of study.steer; set it, or leave that out"
            )
        self._refuse(**sampler)

    def _refuse(
        self,
        *,
        step: str = "path",
        guidance: float = 0.0,
        noise: float = 0.0,
        temperature: float = 1.0,
        particles: int = 1,
        **_: Any,
    ) -> None:
        """Raise InputError for settings that do not go together, or not with the path."""
        path, oracle = self.field.path, self.guide is not None
        if step not in ODE_STEPS:
            posterior_step(step, path, noise)
        elif path.discrete or guidance or temperature != 1 or particles > 1:
            raise InputError(
                f"sampler.step={step}: for the simplex, without sampler.guidance, particles and temperature; use "
                "step=path"
            )
        refuse_noise(step, noise)
        if particles > 1 and not oracle:
            raise InputError(
                "sampler.particles: no oracle to steer by; give one (such as study.steer.gc), or leave it out"
            )
        if particles > 1 and not guidance:
            raise InputError("sampler.particles: sampler.guidance=0 steers none of them; set it, or leave them out")
        if guidance and not oracle and not self.field.none:
            raise InputError(f"sampler.guidance={guidance}: this study has no label and no oracle; leave it out")
        if guidance and not oracle and not self.unlabelled:
            raise InputError(f"sampler.guidance={guidance}: training with model.unlabelled=0 has hidden no label")

    @torch.no_grad()
    def sample(  # type: ignore[override]  # its settings, by name
        self,
        n: int,
        cond: dict[str, Tensor] | None = None,
        generator: Generator = None,
        *,
        steps: int = 100,
        step: str = "path",
        guidance: float = 0.0,
        noise: float = 0.0,
        temperature: float = 1.0,
        particles: int = 1,
    ) -> Samples:
        """Tokens ``x (n, L)``, and their sources ``x0`` where the path has any; places that no mask covers are 0.

        Args:
            steps: equal ones by the clock.
            step: ``path``; of tokens also ``tau_leap``, and of masks ``confidence`` and ``autoregressive``; on the
                simplex also ``euler``, ``midpoint``, ``rk4``, ``dopri5``, which follow the velocity.
            guidance: strength γ towards the study's oracle, or where it has none the label; 0 is none.
            noise: η of ``tau_leap``.
            temperature: T of the posterior, ``∝ p^{1/T}``; 0 takes its most probable letter, such as that of a model of
                one step.
            particles: of Feynman–Kac steering by γ times the oracle, in place of its slope.
        """
        self._refuse(step=step, guidance=guidance, noise=noise, temperature=temperature, particles=particles)
        path, cond = self.field.path, cond or {}
        shape = (n, *((particles,) if particles > 1 else ()), self._length(cond))
        like = next(self.parameters(), torch.empty(0))
        x0 = path.prior.sample(*shape, generator=generator, dtype=like.dtype, device=like.device)
        if "mask" in cond and isinstance(path, MaskingPath):  # what is no part of a sequence waits for no letter
            x0 = x0.masked_fill(~(cond["mask"] if particles == 1 else cond["mask"][:, None]), 0)
        grid = self.objective.time(torch.linspace(0, 1, steps + 1, dtype=like.dtype, device=like.device))
        hooks = self._hooks(cond, guidance, temperature, particles, generator)
        if step in ODE_STEPS:
            rollout = sampling.sample(self.field, x0, grid, solver_step(step, path), cond=cond)
        else:
            chosen = posterior_step(step, path, noise)
            if particles > 1:
                rollout = sampling.feynman_kac(
                    self.field.denoise,
                    x0,
                    grid,
                    chosen,
                    self._reward(guidance),
                    hooks=hooks,
                    cond=cond,
                    generator=generator,
                )
            else:
                rollout = sampling.sample_posterior(self.field.denoise, x0, grid, chosen, hooks, cond, generator)
        x: Any = rollout.x
        x = x if path.discrete else x.argmax(-1)
        if "mask" in cond:
            x = x.masked_fill(~cond["mask"], 0)
        paired = particles == 1 and not isinstance(path, MaskingPath)
        return Samples(x, None, rollout.nfe, x0=x0 if paired else None)

    def log_prob(self, x: Any, cond: dict[str, Tensor] | None = None, tolerance: float = 1e-5) -> Tensor:
        """A lower bound (B,) in nats of ``log P`` of tokens, see ``sciflow.sampling.token_bound``.

        The draws of row i are always those of stream i; there are more of them the lower the tolerance, 32 at 1e-5. On
        the simplex, where each is an ODE up to the time that has told nine tenths, it is 1, noisy only by the noise of
        the path and by what sites do to each other.

        Raises:
            NotImplementedError: on the linear and the Fisher path. A letter drops out where the state leaves the
                support of its conditional density; the field jumps there, and its flow has no density by divergences.
        """
        path, generator = self.field.path, sample_generators(0, 0, len(x), x.device)
        if isinstance(path, _JUMPING):
            raise NotImplementedError(_no_density(path))
        draws, until = _DRAWS, None
        if not path.discrete:
            draws, until = 1, float(self.objective.time(torch.tensor(_TOLD)))
        draws = max(1, round(draws * 1e-5 / tolerance))
        return sampling.token_bound(self.field.denoise, x, path, until, draws, "points", cond, generator)

    def _length(self, cond: Mapping[str, Tensor]) -> int:
        if self.length is not None:
            return self.length
        known = next((cond[name] for name in ("mask", "profile") if name in cond), None)
        if known is None:
            raise InputError("samples of what length? The study gives a condition mask, or profile, for each")
        return known.shape[1]

    def _hooks(
        self, cond: Mapping[str, Tensor], guidance: float, temperature: float, particles: int, generator: Generator
    ) -> list[PosteriorHook]:
        """Guidance first, temperature last."""
        hooks: list[PosteriorHook] = []
        if guidance and self.guide is not None:
            if particles == 1:
                hooks.append(sampling.StraightThrough(self.guide, guidance, generator=generator))
        elif guidance:
            hooks.append(sampling.CFG(guidance, label=self.field.none))
        if temperature != 1:
            hooks.append(Tempered(temperature))
        return hooks

    def _reward(self, guidance: float) -> Callable[[Tensor], Tensor]:
        guide, k = self.guide, self.field.path.k
        assert guide is not None
        return lambda tokens: guidance * guide(one_hot(tokens, k).to(torch.get_default_dtype()))


def _no_density(path: CategoricalPath) -> str:
    return f"{type(path).__name__} has a field that jumps, and no density along its flow"


class _Unpaired(Coupler):
    """Leaves batches as they are that bring their own sources."""

    def __call__(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Any]:
        return dict(batch) if "x0" in batch else super().__call__(batch, generator)


class _FromSource:
    """A clock of which the share ``_AT_SOURCE`` stands at 0."""

    def __init__(self, clock: Callable[[Tensor], Tensor]) -> None:
        self.clock = clock

    def __call__(self, u: Tensor) -> Tensor:
        return self.clock(((u - _AT_SOURCE) / (1 - _AT_SOURCE)).clamp_min(0))
