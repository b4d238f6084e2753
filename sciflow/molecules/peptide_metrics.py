"""Numbers of a Boltzmann generator, each beside its reference and its floor."""

import numpy as np
import torch

from ..boltzmann import logweights
from ..boltzmann.distances import energy_w2
from ..study import Metric, finite
from .ensembles import Ensembles, density, minus_log

__all__ = ["metrics"]

_TRUSTED = 6.0  # kT: bins of the reference profile that enter the root-mean-square error


def metrics(e: Ensembles, seed: int = 0) -> dict[str, Metric]:
    """Effective sample sizes, free-energy differences and distances to the reference, each beside its floor.

    Metrics of one residue's torsions end on its name (``delta_f_ALA2``) where the molecule has several.
    """
    n, weighted, ref = len(e.weighted), e.weighted, e.reference
    energy = torch.from_numpy(np.where(weighted.logw.isfinite().numpy(), e.energy, 0.0))  # weight 0 times anything is 0
    reweighted, energy_error = weighted.bootstrap(lambda w: (w * energy).sum() / w.sum(), seed=seed)
    data_energy = float(e.data_energy.mean())
    true_energy = None if ref is None else float(ref.energy.mean())
    log_z, log_z_error = logweights.bootstrap(logweights.log_mean_weight, weighted.logw, seed=seed)
    found = {
        "ess": Metric(weighted.ess(), None, n, 1 / n, None, "fraction"),
        "ess_clipped": Metric(weighted.ess_clipped(1e-4), None, n, 1 / n, None, "fraction"),
        "largest_weight": Metric(float(weighted.weights.max()), None, n, 1 / n, None, "fraction"),
        "outside_target": Metric(float((~weighted.logw.isfinite()).double().mean()), None, n, 0.0, None, "fraction"),
        "mean_energy": Metric(float(e.energy.mean()), None, n, data_energy, true_energy, "kT"),
        "mean_energy_reweighted": Metric(float(reweighted), float(energy_error), n, data_energy, true_energy, "kT"),
        "log_z": Metric(log_z, log_z_error, n, None, None, "nat"),
    }
    if e.test_logw is not None:
        eubo, eubo_error = logweights.bootstrap(logweights.eubo, e.test_logw, seed=seed)
        found |= {
            "eubo": Metric(eubo, eubo_error, len(e.test_logw), None, log_z, "nat"),
            "forward_ess": Metric(
                float(logweights.forward_ess(e.test_logw)), None, len(e.test_logw), 0.0, None, "fraction"
            ),
        }
    if ref is not None:
        true = torch.from_numpy(ref.energy)
        drawn, data = (energy_w2(torch.from_numpy(v), true) for v in (e.energy[np.isfinite(e.energy)], e.data_energy))
        found["energy_w2"] = Metric(drawn, None, n, data, 0.0, "kT")
        found["energy_w2_reweighted"] = Metric(energy_w2(energy, true, weighted.weights), None, n, data, 0.0, "kT")
    for r, residue in enumerate(e.residues):
        ending = "" if len(e.residues) == 1 else f"_{residue}"
        found |= {name + ending: metric for name, metric in _residue_metrics(e, r, seed).items()}
    return finite(found)


def _residue_metrics(e: Ensembles, r: int, seed: int) -> dict[str, Metric]:
    n, weighted, ref, data, samples = len(e.weighted), e.weighted, e.reference, e.data[:, r], e.samples[:, r]
    above = torch.from_numpy(samples[:, 0] > 0)
    data_delta_f, samples_delta_f = _log_odds(data[:, 0] > 0), _log_odds(above.numpy())
    true_delta_f = None if ref is None else float(ref.delta_f[r])
    delta_f, delta_f_error = weighted.delta_f(above, seed=seed)
    found = {
        "delta_f": Metric(delta_f, delta_f_error, n, data_delta_f, true_delta_f, "kT"),
        "delta_f_samples": Metric(samples_delta_f, None, n, data_delta_f, true_delta_f, "kT"),
        "delta_f_data": Metric(data_delta_f, None, len(data), data_delta_f, true_delta_f, "kT"),
    }
    if ref is not None:
        true, p = ref.free_energy[r], ref.ramachandran[r] / ref.ramachandran[r].sum()
        data_rmse, data_tv = _rmse(minus_log(data[:, 0]), true), _total_variation(density(data), p)
        rmse = _rmse(e.profile(r, seed).free_energy.numpy(), true)
        tv = _total_variation(density(samples, weighted.weights.numpy()), p)
        found["free_energy_rmse"] = Metric(rmse, None, n, data_rmse, None, "kT")
        found["ramachandran_tv"] = Metric(tv, None, n, data_tv, _noise(p, weighted.ess() * n, seed), "fraction")
    return found


def _log_odds(state: np.ndarray) -> float:
    """−ln p(state)/p(not state); NaN where one of them was never seen."""
    p = state.mean()
    return float(np.log((1 - p) / p)) if 0 < p < 1 else float("nan")


def _rmse(free_energy: np.ndarray, true: np.ndarray) -> float:
    """Root-mean-square difference of two profiles over the bins below 6 kT that both know, aligned at their means."""
    difference = (free_energy - true)[np.nan_to_num(true, nan=np.inf) < _TRUSTED]
    difference = difference[np.isfinite(difference)]
    return float(np.sqrt(np.mean((difference - difference.mean()) ** 2))) if len(difference) else float("nan")


def _total_variation(p: np.ndarray, q: np.ndarray) -> float:
    return float(0.5 * np.abs(p - q).sum())


def _noise(p: np.ndarray, n: float, seed: int) -> float:
    """Total variation of ``n`` independent draws of the reference ``p``: what a perfect generator would show."""
    draws = np.random.default_rng(seed).multinomial(max(1, round(n)), p.ravel()).reshape(p.shape)
    return _total_variation(draws / draws.sum(), p)
