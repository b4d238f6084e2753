"""What the metrics and figures of an energy look at: samples, their weights, and data drawn from the target itself."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from ..boltzmann.logweights import FEW, ess
from ..boltzmann.targets import Particles, Target
from ..errors import InputError
from ..rng import step_generator
from ..training import Samples

__all__ = ["Ensembles"]


@dataclass(frozen=True)
class Ensembles:
    """Samples of a model beside training and held-out data of its target, all in float64.

    Attributes:
        logw: log-weights −energy − log q of the samples, where their density was followed.
        test_logw: the same of the held-out data, where it was computed.
        baseline: draws of something that needs no network, for floors.
        chains: that the held-out data are of, in turns; None where they are independent.
    """

    target: Target
    samples: Tensor
    train: Tensor
    test: Tensor
    logw: Tensor | None
    test_logw: Tensor | None
    baseline: Tensor | None
    seed: int = 0
    chains: int | None = None

    @classmethod
    def of(
        cls,
        target: Target,
        samples: Samples,
        train: Tensor,
        test: Tensor,
        seed: int,
        baseline: Tensor | None = None,
        chains: int | None = None,
    ) -> Self:
        """Raises InputError when no sample has a finite energy."""
        assert isinstance(samples.x, Tensor)
        x, test = samples.x.double(), test.double()
        energy = target.energy(x)
        if not energy.isfinite().any():
            raise InputError(
                f"none of the {len(x)} samples has a finite energy: train longer (trainer.steps) or draw more"
            )
        logw = None if samples.logq is None else -energy - samples.logq.double()
        test_logw = None if samples.test_logp is None else -target.energy(test) - samples.test_logp.double()
        return cls(target, x, train.double(), test, logw, test_logw, baseline, seed, chains)

    @cached_property
    def energy(self) -> Tensor:
        return self.target.energy(self.samples)

    @cached_property
    def test_energy(self) -> Tensor:
        return self.target.energy(self.test)

    @cached_property
    def weights(self) -> Tensor | None:
        """Normalised weights of the samples ``(B,)``."""
        return None if self.logw is None else self.logw.softmax(0)

    @property
    def few(self) -> bool:
        """Whether too few samples are effective for any reweighted estimate."""
        return self.logw is not None and float(ess(self.logw)) * len(self.logw) < FEW

    @cached_property
    def test_chain(self) -> Tensor:
        """The chain ``(M,)`` of each held-out datum."""
        return torch.arange(len(self.test)) % (self.chains or len(self.test))

    @cached_property
    def particles(self) -> bool:
        return isinstance(self.target, Particles)

    @cached_property
    def again(self) -> Tensor:
        """Training data, as many as samples where there are as many: a second draw from the target, for floors."""
        order = torch.randperm(len(self.train), generator=step_generator(self.seed, 3))
        return self.train[order[: len(self.samples)]]
