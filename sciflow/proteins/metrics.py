"""Numbers of generated backbones, each beside held-out natives (reference) and a trivial generator (floor)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..boltzmann.logweights import bootstrap
from ..rng import step_generator
from ..study import Metric
from .conformation import Backbones, Measured, random_walk
from .ramachandran import Region
from .tm_align import nearest_tm, pairwise_tm

__all__ = ["backbone_metrics"]

_CA_CA, _CA_CA_NEAR = 0.38, 0.01  # nm
_C_N, _C_N_NEAR = 0.1329, 0.01  # nm
_COPY = 0.9  # TM-score to a training chain
_ANGLES: dict[str, Callable[[Backbones], Measured]] = {"ca_c_n": Backbones.ca_c_n, "c_n_ca": Backbones.c_n_ca}
_UNITS = {
    "ca_c_n": "degree",
    "c_n_ca": "degree",
    "breaks": "1/100 bonds",
    "clashes": "1/100 residues",
    "size": "nm/N^0.38",
    "pairwise_tm": "TM",
    "max_tm_to_train": "TM",
}


def backbone_metrics(
    samples: Backbones, train: Backbones, test: Backbones, *, most: int = 50, seed: int = 0
) -> dict[str, Metric]:
    """Geometry, secondary structure, diversity and memorisation of samples; errors by bootstrap over chains.

    - ``ca_ca``, ``c_n``: shares of distances within 0.01 nm of 0.38 and 0.1329 on either side, so that a chain at one
      point fails; ``ca_c_n``, ``c_n_ca``: root-mean-square deviation of an angle from its mean over the training set
    - ``breaks``: C–N above 0.2 nm; ``clashes``: pairs of Cα within 0.36 nm, three residues apart or more
    - ``ramachandran``: share of (φ, ψ) in the region that holds 98 % of the training residues
    - ``handedness``: share of the turns of four Cα that are right-handed; left out where there are none
    - ``helix``, ``strand``, ``coil``: shares of residues by DSSP; ``size``: radius of gyration over N^0.38
    - ``pairwise_tm``: mean TM-score of pairs of samples; ``max_tm_to_train``: mean of the largest to a training chain,
      and ``copies`` the share where it exceeds 0.9; all over the length of the sample

    The floor is a freely jointed chain of the same lengths; of TM-scores, a generator that knows one training chain.

    Args:
        most: chains, of samples and of natives, whose TM-scores are computed.
    """
    region = Region.of(train)
    means = {name: _mean(measure(train)) for name, measure in _ANGLES.items()}
    walk = random_walk(samples, step_generator(seed, 5, device=samples.atoms.device))
    drawn, trivial, native = (_tallies(chains, region, means) for chains in (samples, walk, test))
    found = {}
    for name, tally in drawn.items():
        pooled = _POOLED.get(name, _ratio)
        value, error = bootstrap(pooled, tally, seed=seed)
        found[name] = Metric(value, error, len(samples), float(pooled(trivial[name])), float(pooled(native[name])))
    found |= _tm_metrics(samples[:most], train, test[:most], seed)
    for name, metric in found.items():
        metric.unit = _UNITS.get(name, "fraction")
    return {name: _finite(metric) for name, metric in found.items() if math.isfinite(metric.value)}


def _tallies(chains: Backbones, region: Region, means: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of every metric the sum and the number ``(B, 2)`` of what it is the mean of, chain by chain."""
    (ca_ca, bonds), (c_n, _), (angles, both) = chains.ca_ca(), chains.c_n(), chains.phi_psi()
    kinds = chains.secondary_structure()
    measured = {
        "ca_ca": Measured((ca_ca - _CA_CA).abs() <= _CA_CA_NEAR, bonds),
        "c_n": Measured((c_n - _C_N).abs() <= _C_N_NEAR, bonds),
        **{name: Measured((measure(chains).value - means[name]).square(), bonds) for name, measure in _ANGLES.items()},
        "breaks": chains.broken(),
        "clashes": chains.clashes(),
        "ramachandran": Measured(region.inside(angles), both),
        "handedness": chains.handedness(),
        **{name: Measured(kinds == k, chains.mask) for k, name in enumerate(("helix", "strand", "coil"))},
        "size": chains.size(),
    }
    return {
        name: torch.stack([torch.where(there, value, 0).sum(-1), there.sum(-1)], -1).double()
        for name, (value, there) in measured.items()
    }


def _ratio(tally: Tensor) -> Tensor:
    total, count = tally.sum(0)
    return total / count


def _per_hundred(tally: Tensor) -> Tensor:
    return 100 * _ratio(tally)


def _degrees(tally: Tensor) -> Tensor:
    return torch.rad2deg(_ratio(tally).sqrt())


_POOLED = {"breaks": _per_hundred, "clashes": _per_hundred, **dict.fromkeys(_ANGLES, _degrees)}


def _tm_metrics(samples: Backbones, train: Backbones, test: Backbones, seed: int) -> dict[str, Metric]:
    n = len(samples)
    matrix, native = (pairwise_tm(chains.traces) for chains in (samples, test))
    value, error = bootstrap(lambda i: _between(matrix, i), torch.arange(n), seed=seed)
    found = {"pairwise_tm": Metric(value, error, n, 1.0, float(_between(native, torch.arange(len(test)))))}
    nearest, native = (nearest_tm(chains.traces, train.traces)[0] for chains in (samples, test))
    for name, values, reference in (
        ("max_tm_to_train", nearest, native),
        ("copies", (nearest > _COPY).double(), (native > _COPY).double()),
    ):
        value, error = bootstrap(torch.mean, values, seed=seed)
        found[name] = Metric(value, error, n, 1.0, float(reference.mean()))
    return found


def _between(matrix: Tensor, index: Tensor) -> Tensor:
    """Mean over pairs of different chains of those in ``index``, in which resampling repeats some."""
    return matrix[index][:, index][index[:, None] != index].mean()


def _mean(measured: Measured) -> Tensor:
    return measured.value[measured.there].mean()


def _finite(metric: Metric) -> Metric:
    """Leaves out an error, floor or reference that is not a number, of too few chains."""
    return Metric(**{k: v for k, v in vars(metric).items() if not isinstance(v, float) or math.isfinite(v)})
