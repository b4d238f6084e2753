"""Numbers of a crystal that was brought from one temperature to another, each beside its reference and its floor."""

from dataclasses import dataclass
from typing import Self

from torch import Tensor

from ..boltzmann import logweights
from ..boltzmann.distances import energy_w2
from ..boltzmann.free_energy import bar, one_sided
from ..boltzmann.targets import Ice, symmetries
from ..errors import InputError
from ..study import Metric
from ..training import Samples

__all__ = ["Crystals", "metrics"]


@dataclass(frozen=True)
class Crystals:
    """Samples of a flow beside frames at either temperature, all in float64.

    Attributes:
        ice: the crystal at the cold temperature, which the weights lead to.
        samples, logw: of the flow, and u_hot(z) − u_cold(x) + log|det| of each, whose mean exponential is Z_cold/Z_hot.
        hot, cold: frames drawn at either temperature.
        back: log-weights of the cold frames, where they were computed.
        contracted: log-weights of the untrained flow, which contracts displacements and rotations by √(cold/hot).
        delta_f, delta_f_error: by MBAR over the ladder.
    """

    ice: Ice
    samples: Tensor
    logw: Tensor
    hot: Tensor
    cold: Tensor
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
        return cls(ice, x, logw, hot, cold, back, contracted, delta_f, delta_f_error, seed)

    @property
    def weights(self) -> Tensor:
        """Normalised weights of the samples."""
        return self.logw.softmax(0)


def metrics(c: Crystals) -> dict[str, Metric]:
    """Free energies are F_cold/kT_cold − F_hot/kT_hot, per molecule as well, beside that of MBAR."""
    molecules = c.ice.molecules
    # Samples start from frames drawn with replacement, images of one another by symmetry among them: more samples than
    # frames without their images may tell no more.
    n = min(len(c.logw), len(c.hot) // len(symmetries(c.ice)))
    again = (len(c.logw) / n) ** 0.5
    ess, spread = logweights.bootstrap(logweights.ess, c.logw, seed=c.seed)
    value, error = one_sided(-c.logw)
    error, spread = again * error, again * spread
    energy, truth = c.ice.energy(c.samples), c.ice.energy(c.cold)
    plain = one_sided(-c.contracted)
    halves = energy_w2(truth[::2], truth[1::2])
    found = {
        "ess": Metric(ess, spread, n, float(logweights.ess(c.contracted)), None, "fraction"),
        "delta_f": Metric(value, error, n, plain.value, c.delta_f, "kT"),
        "delta_f_mbar": Metric(c.delta_f, c.delta_f_error, None, None, None, "kT"),
        "delta_f_per_molecule": Metric(
            value / molecules,
            error / molecules,
            n,
            plain.value / molecules,
            c.delta_f / molecules,
            "kT",
        ),
        "mean_work": Metric(float(-c.logw.mean()), None, n, float(-c.contracted.mean()), c.delta_f, "kT"),
        "energy_w2": Metric(energy_w2(energy, truth), None, n, None, halves, "kT"),
        "energy_w2_reweighted": Metric(
            energy_w2(energy, truth, c.weights), None, n, energy_w2(energy, truth), halves, "kT"
        ),
        "mean_energy_reweighted": Metric(
            float(c.weights @ energy), None, n, float(energy.mean()), float(truth.mean()), "kT"
        ),
    }
    if c.back is not None:
        both = bar(-c.logw, c.back)
        found["delta_f_bar"] = Metric(both.value, again * both.error, n, None, c.delta_f, "kT")
        found["forward_ess"] = Metric(float(logweights.forward_ess(c.back)), None, len(c.back), None, None, "fraction")
    return found
