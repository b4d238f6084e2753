"""Flow annealed importance sampling bootstrap: α = 2 through annealed samples that a buffer keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import require_above
from ...flows import NormalizingFlow
from ...manifolds import Prior
from ..energy import Energy
from ..kernels import HMC
from ..mcmc import Pulled
from ..potentials import LogDensity
from ..smc import ais
from .base import Loss
from .own_samples import Kept, drawn

__all__ = ["AlphaTwo"]

_ACCEPTANCE = 0.65  # of the Hamiltonian moves, at which their step is kept
_CORRECTION = 10.0  # largest weight that a change of the flow may give to a kept sample
_FIRST = 4  # rounds of annealing before the first step


@dataclass
class AlphaTwo(Loss):
    r"""∫ p²/q, the second moment of the weights, which is infinite for a flow that misses a mode.

    Its gradient is that of −E_g[log q] with g ∝ p²/q. Samples of g come from annealed importance sampling that starts
    at the flow, each with a weight w, and moves in its latent space, where bonds are no stiffer than torsions (NeuTra);
    they are kept, drawn with probability ∝ w, and their weights follow the flow:
    drawn once more when q has become q', a sample counts q/q' (at most 10), and w becomes w·q/q'.

    Args:
        stages: of annealing, each with one Hamiltonian move.
        leapfrogs: in a move.
        size: of a leapfrog at first, in the units of the latents; it follows the acceptance.
        reuse: training steps for each round of annealing, which makes as many samples as the batch has data.
        capacity: samples kept; the oldest are dropped.

    Source: Midgley et al. 2022 (arXiv:2208.01893); latent moves: Hoffman et al. 2019 (arXiv:1903.03704).
    """

    stages: int = 4
    leapfrogs: int = 5
    size: float = 0.1
    reuse: int = 4
    capacity: int = 16384

    memory: ClassVar[tuple[str, ...]] = ("evaluations", "calls", "step_size", "kept")

    def __post_init__(self) -> None:
        super().__post_init__()
        require_above(0, "fab.", self, "stages", "leapfrogs", "size", "reuse", "capacity")
        self.calls = 0
        self.step_size: float | Tensor = self.size
        self.kept: Kept = {}

    def __call__(
        self, flow: Any, energy: Energy | None, batch: Mapping[str, Tensor], generator: torch.Generator
    ) -> Tensor:
        n = len(batch["x"])
        if self.calls % self.reuse == 0:
            for _ in range(1 if self.kept else _FIRST):
                self._anneal(flow, energy, n, generator)
        self.calls += 1
        index = drawn(self.kept, n, generator)
        logq = flow.log_prob(self.kept["x"][index])
        now = logq.detach()
        correction = self.kept["logq"][index] - now
        self.kept["logw"][index] = self.kept["logw"][index] + correction
        self.kept["logq"][index] = now
        return -correction.exp().clamp(max=_CORRECTION) * logq

    def _anneal(self, flow: Any, energy: Energy | None, n: int, generator: torch.Generator) -> None:
        """One round of annealing joins the kept samples, and adapts the step."""
        betas = torch.linspace(0, 1, self.stages + 1, dtype=torch.float64)
        kernel = HMC(self.step_size, leapfrogs=self.leapfrogs)
        target = _SquareOverFlow(flow.base, Pulled(flow, _Counted(self, energy)))
        run = ais(_Latents(flow), target, kernel, n, betas, generator=generator)
        with torch.no_grad():
            x, ladj = flow.transform.inv.call_and_ladj(run.samples.x)
            new = {"x": x, "logw": run.samples.logw, "logq": flow.base.log_prob(run.samples.x) - ladj}
        self.kept = {k: torch.cat((self.kept[k], v))[-self.capacity :] if self.kept else v for k, v in new.items()}
        off = run.acceptance.mean() - _ACCEPTANCE
        self.step_size = torch.as_tensor(self.step_size, device=off.device) * (off / 2).exp()


class _Latents:
    """The base of a flow, in the dtype and on the device of its parameters."""

    def __init__(self, flow: NormalizingFlow) -> None:
        like = next(flow.parameters())
        self.sample = partial(flow.base.sample, dtype=like.dtype, device=like.device)
        self.log_prob = flow.base.log_prob


@dataclass(frozen=True)
class _Counted:
    """The target as a potential; every energy is counted by the loss."""

    loss: Loss
    target: Energy | None

    def energy(self, x: Tensor) -> Tensor:
        return self.loss.energy_of(self.target, x)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.loss.energy_and_force_of(self.target, x)


@dataclass(frozen=True)
class _SquareOverFlow:
    """p²/q in latents as a potential: twice that of p there, plus the log-density of the base."""

    base: Prior[Tensor]
    pulled: Pulled

    def energy(self, z: Tensor) -> Tensor:
        return 2 * self.pulled.energy(z) + self.base.log_prob(z)

    def energy_and_force(self, z: Tensor) -> tuple[Tensor, Tensor]:
        energy, force = self.pulled.energy_and_force(z)
        start, pull = LogDensity(self.base.log_prob).energy_and_force(z)
        return 2 * energy - start, 2 * force - pull
