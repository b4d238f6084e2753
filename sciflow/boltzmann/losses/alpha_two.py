"""Flow annealed importance sampling bootstrap: α = 2 through annealed samples that a buffer keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...errors import require_above
from ..energy import Energy
from ..kernels import HMC
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
    at the flow, each with a weight w; they are kept, drawn with probability ∝ w, and their weights follow the flow:
    drawn once more when q has become q', a sample counts q/q' (at most 10), and w becomes w·q/q'.

    Args:
        stages: of annealing, each with one Hamiltonian move.
        leapfrogs: in a move.
        size: of a leapfrog at first, in the units of x; it follows the acceptance.
        reuse: training steps for each round of annealing, which makes as many samples as the batch has data.
        capacity: samples kept; the oldest are dropped.

    Source: Midgley et al. 2022 (arXiv:2208.01893).
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
        run = ais(flow, _SquareOverFlow(self, flow, energy), kernel, n, betas, generator=generator)
        x = run.samples.x.detach()
        with torch.no_grad():
            new = {"x": x, "logw": run.samples.logw, "logq": flow.log_prob(x)}
        self.kept = {k: torch.cat((self.kept[k], v))[-self.capacity :] if self.kept else v for k, v in new.items()}
        off = run.acceptance.mean() - _ACCEPTANCE
        self.step_size = torch.as_tensor(self.step_size, device=off.device) * (off / 2).exp()


@dataclass(frozen=True)
class _SquareOverFlow:
    """g ∝ p²/q as a potential, 2E + log q; every energy is counted by the loss."""

    loss: Loss
    flow: Any
    target: Energy | None

    def energy(self, x: Tensor) -> Tensor:
        return 2 * self.loss.energy_of(self.target, x) + self.flow.log_prob(x)

    def energy_and_force(self, x: Tensor) -> tuple[Tensor, Tensor]:
        energy, force = self.loss.energy_and_force_of(self.target, x)
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            logq = self.flow.log_prob(at)
            (score,) = torch.autograd.grad(logq.sum(), at)
        return 2 * energy + logq.detach(), 2 * force - score
