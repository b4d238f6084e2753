"""Numbers of a Boltzmann generator of an analytic target, each beside its reference and its floor."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..boltzmann import logweights
from ..boltzmann.distances import (
    energy_w2,
    histogram,
    interatomic_distances,
    samples_w2,
    total_variation,
    total_variation_floor,
)
from ..boltzmann.targets import Particles, virial
from ..manifolds import Euclidean
from ..paths import Alignment
from ..study import Metric, finite
from .ensembles import Ensembles

__all__ = ["metrics"]

_ASSIGNED = 1000  # samples of an assignment of vectors
_ALIGNED = 64  # of clusters, all pairs of which are turned and relabelled onto each other
_BINS = 100


def metrics(e: Ensembles) -> dict[str, Metric]:
    """Weights, energies, populations and shapes.

    The reference of a distance is that of training data from the same held-out data, at the same number; its floor is
    that of the baseline as drawn, and the distance as drawn for what is reweighted. Where samples have no finite energy
    (``outside_target`` is their share), means over them are left out.
    """
    found = {**_weights(e), **_held_out(e), **_energies(e), **_states(e)}
    found |= _clusters(e) if e.particles else _vectors(e)
    return finite(found)


def _weights(e: Ensembles) -> dict[str, Metric]:
    if e.logw is None or e.weights is None:
        return {}
    n = len(e.logw)
    log_z, error = logweights.bootstrap(logweights.log_mean_weight, e.logw, seed=e.seed)
    ess, spread = logweights.bootstrap(logweights.ess, e.logw, seed=e.seed)
    return {
        "ess": Metric(ess, spread, n, 1 / n, None, "fraction"),
        "ess_clipped": Metric(float(logweights.clipped_ess(e.logw)), None, n, 1 / n, None, "fraction"),
        "outside_target": Metric(float((~e.logw.isfinite()).double().mean()), None, n, 0.0, None, "fraction"),
        "largest_weight": Metric(float(e.weights.max()), None, n, 1 / n, None, "fraction"),
        "log_z": Metric(log_z, error, n, None, e.target.log_z, "nat"),
        "elbo": Metric(float(logweights.elbo(e.logw)), None, n, None, e.target.log_z, "nat"),
    }


def _held_out(e: Ensembles) -> dict[str, Metric]:
    """What only data of the target can say: whether it holds something that the model misses."""
    if e.test_logw is None:
        return {}
    n = len(e.test_logw)
    eubo = float(logweights.eubo(e.test_logw))
    return {
        "eubo": Metric(eubo, _chain_error(e, e.test_logw), n, None, e.target.log_z, "nat"),
        "forward_ess": Metric(float(logweights.forward_ess(e.test_logw)), None, n, 1 / n, None, "fraction"),
    }


def _energies(e: Ensembles) -> dict[str, Metric]:
    n = min(len(e.samples), len(e.test))
    perfect = energy_w2(e.target.energy(e.again), e.test_energy)
    trivial = None if e.baseline is None else energy_w2(e.target.energy(e.baseline), e.test_energy)
    found = {"energy_w2": Metric(energy_w2(e.energy, e.test_energy), None, n, trivial, perfect, "kT")}
    truth = float(e.test_energy.mean())
    found["mean_energy_data"] = Metric(truth, _chain_error(e, e.test_energy), len(e.test), unit="kT")
    identity = virial(e.target, e.test, e.target.dof, e.test_chain)
    found["virial_data"] = Metric(identity.value, identity.error, len(e.test), reference=1.0)
    found["mean_energy"] = Metric(float(e.energy.mean()), None, len(e.samples), None, truth, "kT")
    if e.logw is not None and e.weights is not None:
        value = energy_w2(e.energy, e.test_energy, e.weights)
        found["energy_w2_reweighted"] = Metric(value, None, n, found["energy_w2"].value, perfect, "kT")
        mean, error = _weighted_mean(e, e.energy)
        found["mean_energy_reweighted"] = Metric(mean, error, len(e.samples), float(e.energy.mean()), truth, "kT")
    return found


def _states(e: Ensembles) -> dict[str, Metric]:
    """Populations of the target's named states, as drawn and reweighted; the total variation of many at once."""
    states, data = e.target.states(e.samples), e.target.states(e.test)
    found = {}
    if len(states) > 4:
        p, shares = (torch.stack(list(s.values())).double().mean(1) for s in (data, states))
        perfect = total_variation_floor(p, len(e.samples), len(e.test))
        found["states_tv"] = Metric(total_variation(shares, p), None, len(e.samples), None, perfect, "fraction")
        if e.weights is not None:
            again = torch.stack([value.double() @ e.weights for value in states.values()])
            found["states_tv_reweighted"] = Metric(total_variation(again, p), None, len(e.samples), None, perfect)
        return found
    for name, value in states.items():
        value, truth = value.double(), float(data[name].double().mean())
        drawn, error = float(value.mean()), float(value.std()) / len(value) ** 0.5
        found[f"p_{name}"] = Metric(drawn, error, len(value), None, truth, "fraction")
        if e.weights is not None:
            mean, spread = _weighted_mean(e, value)
            found[f"p_{name}_reweighted"] = Metric(mean, spread, len(value), drawn, truth, "fraction")
    return found


def _clusters(e: Ensembles) -> dict[str, Metric]:
    assert isinstance(e.target, Particles)
    n, _ = e.target.space
    r, data, again = (interatomic_distances(x) for x in (e.samples, e.test, e.again))
    edges = torch.linspace(float(data.min()), float(data.max()), _BINS + 1, dtype=data.dtype)
    p = histogram(data, edges)
    perfect = total_variation(histogram(again, edges), p)
    trivial = None
    if e.baseline is not None:
        trivial = total_variation(histogram(interatomic_distances(e.baseline), edges), p)
    found = {
        "distances_tv": Metric(total_variation(histogram(r, edges), p), None, len(r), trivial, perfect, "fraction"),
        "w2": _w2(e, Alignment(permutable=[range(n)]), _ALIGNED),
    }
    if e.weights is not None:
        value = total_variation(histogram(r, edges, e.weights), p)
        found["distances_tv_reweighted"] = Metric(value, None, len(r), found["distances_tv"].value, perfect, "fraction")
    return found


def _vectors(e: Ensembles) -> dict[str, Metric]:
    found = {"w2": _w2(e, Euclidean(e.target.dof).squared_distances, _ASSIGNED)}
    return found | _free_energy(e)


def _free_energy(e: Ensembles) -> dict[str, Metric]:
    """Root-mean-square error of −ln p(x₁) where it is known and lies below 12 kT, after the best shift."""
    if e.weights is None:
        return {}
    low, high = float(e.test[:, 0].min()), float(e.test[:, 0].max())
    edges = torch.linspace(low, high, 61, dtype=torch.float64)
    centres = (edges[1:] + edges[:-1]) / 2
    true = e.target.free_energy(centres)
    if true is None:
        return {}

    def error(x: Tensor, weights: Tensor | None) -> float:
        f = -histogram(x[:, 0], edges, weights)[1:-1].log()
        kept = f.isfinite() & (true - true.min() < 12)
        gap = (f - true)[kept]
        return float((gap - gap.mean()).square().mean().sqrt())

    value, drawn = error(e.samples, e.weights), error(e.samples, None)
    return {"free_energy_rmse": Metric(value, None, len(e.samples), drawn, error(e.again, None), "kT")}


def _w2(e: Ensembles, cost: Callable[[Tensor, Tensor], Tensor], most: int) -> Metric:
    """Of samples as drawn, beside the distance of training data from the same held-out data."""
    n = min(len(e.samples), len(e.test), len(e.again), most)
    perfect = samples_w2(e.again[:n], e.test[:n], cost)
    trivial = None if e.baseline is None else samples_w2(e.baseline[:n], e.test[:n], cost)
    return Metric(samples_w2(e.samples[:n], e.test[:n], cost), None, n, trivial, perfect, "length")


def _chain_error(e: Ensembles, values: Tensor) -> float | None:
    """Standard error of a mean over the held-out data, over that of each chain: draws of a chain are correlated."""
    draws = torch.bincount(e.test_chain)
    means = torch.zeros(len(draws)).to(values).index_add_(0, e.test_chain, values) / draws
    return float(means.std()) / len(means) ** 0.5 if len(means) > 1 else None


def _weighted_mean(e: Ensembles, values: Tensor) -> tuple[float, float]:
    """With the error of the delta method."""
    assert e.weights is not None
    values = torch.where(e.weights > 0, values, 0.0)  # weight 0 times anything is 0
    mean = e.weights @ values
    return float(mean), float((e.weights * (values - mean)).square().sum().sqrt())
