"""Numbers of a crystal that was brought from one temperature to another, each beside its reference and its floor."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..boltzmann import logweights
from ..boltzmann.distances import energy_w2
from ..boltzmann.free_energy import bar, one_sided
from ..boltzmann.targets import Ice
from ..errors import InputError
from ..study import Metric
from ..training import Samples
from .chains import bootstrap

__all__ = ["Crystals", "metrics"]


@dataclass(frozen=True)
class Crystals:
    """Samples of a flow beside frames at either temperature, all in float64.

    Attributes:
        ice: the crystal at the cold temperature, which the weights lead to.
        samples, logw: of the flow, and u_hot(z) − u_cold(x) + log|det| of each, whose mean exponential is Z_cold/Z_hot.
        hot, cold: frames drawn at either temperature.
        sample_chain, cold_chain: the Markov chain that each sample started from, and that each cold frame is of. Draws
            of a chain are correlated, their images by symmetry too, and samples that start from one frame are the same.
        back: log-weights of the cold frames, where they were computed.
        contracted: log-weights of the untrained flow, which contracts displacements and rotations by √(cold/hot).
        delta_f, delta_f_error: by MBAR over the ladder.
    """

    ice: Ice
    samples: Tensor
    logw: Tensor
    hot: Tensor
    cold: Tensor
    sample_chain: Tensor
    cold_chain: Tensor
    back: Tensor | None
    contracted: Tensor
    delta_f: float
    delta_f_error: float
    seed: int = 0

    @classmethod
    def of(
        cls,
        ice: Ice,
        samples: Samples,
        hot: Tensor,
        cold: Tensor,
        sample_chain: Tensor,
        cold_chain: Tensor,
        contracted: Tensor,
        delta_f: float,
        delta_f_error: float,
        seed: int,
    ) -> Self:
        """Raises InputError for samples without a density."""
        if samples.logq is None:
            raise InputError("sampler.track_logq=false: weights of a crystal need the density; leave it true")
        assert isinstance(samples.x, Tensor)
        x = samples.x.double()
        logw = -ice.energy(x) - samples.logq.double()
        back = None if samples.test_logp is None else -ice.energy(cold) - samples.test_logp.double()
        return cls(ice, x, logw, hot, cold, sample_chain, cold_chain, back, contracted, delta_f, delta_f_error, seed)

    @property
    def weights(self) -> Tensor:
        """Normalised weights of the samples."""
        return self.logw.softmax(0)


def metrics(c: Crystals) -> dict[str, Metric]:
    """Free energies are F_cold/kT_cold − F_hot/kT_hot, per molecule as well, beside that of MBAR.

    Errors count chains, not samples.
    """
    molecules, n, m = c.ice.molecules, len(c.logw), len(c.cold)
    energy, truth = c.ice.energy(c.samples), c.ice.energy(c.cold)
    samples, frames = [c.sample_chain], [c.cold_chain]
    ess, spread = bootstrap(lambda logw: float(logweights.ess(logw)), [c.logw], samples, c.seed)
    value, error = bootstrap(lambda logw: one_sided(-logw).value, [c.logw], samples, c.seed)
    work, work_error = bootstrap(lambda logw: -float(logw.mean()), [c.logw], samples, c.seed)
    mean, mean_error = bootstrap(_weighted_mean, [torch.stack((c.logw, energy), 1)], samples, c.seed)
    plain = one_sided(-c.contracted).value
    halves = energy_w2(truth[c.cold_chain % 2 == 0], truth[c.cold_chain % 2 == 1])
    found = {
        "ess": Metric(ess, spread, n, float(logweights.ess(c.contracted)), None, "fraction"),
        "delta_f": Metric(value, error, n, plain, c.delta_f, "kT"),
        "delta_f_mbar": Metric(c.delta_f, c.delta_f_error, None, None, None, "kT"),
        "delta_f_per_molecule": Metric(
            value / molecules,
            None if error is None else error / molecules,
            n,
            plain / molecules,
            c.delta_f / molecules,
            "kT",
        ),
        "mean_work": Metric(work, work_error, n, float(-c.contracted.mean()), c.delta_f, "kT"),
        "energy_w2": Metric(energy_w2(energy, truth), None, n, None, halves, "kT"),
        "energy_w2_reweighted": Metric(
            energy_w2(energy, truth, c.weights), None, n, energy_w2(energy, truth), halves, "kT"
        ),
        "mean_energy_reweighted": Metric(mean, mean_error, n, float(energy.mean()), float(truth.mean()), "kT"),
    }
    if c.back is not None:
        both = [-c.logw, c.back]
        value, error = bootstrap(lambda there, back: bar(there, back).value, both, samples + frames, c.seed)
        found["delta_f_bar"] = Metric(value, error, n, None, c.delta_f, "kT")
        value, error = bootstrap(lambda logw: float(logweights.forward_ess(logw)), [c.back], frames, c.seed)
        found["forward_ess"] = Metric(value, error, m, None, None, "fraction")
    return found


def _weighted_mean(both: Tensor) -> float:
    """Of log-weights and energies ``(n, 2)``."""
    return float(both[:, 0].softmax(0) @ both[:, 1])
