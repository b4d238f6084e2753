"""The ensembles that a Boltzmann generator is judged by: training data, samples, weights, reference."""

from dataclasses import dataclass

import mdtraj
import numpy as np
import torch

from ..boltzmann import Profile, WeightedSamples
from ..boltzmann.logweights import FEW
from .reference import BIN_EDGES, Reference

__all__ = ["Ensembles", "density", "minus_log"]

_EDGES = np.radians(BIN_EDGES)


@dataclass
class Ensembles:
    """What is compared: training data, raw samples, the same reweighted, and the reference, if there is one.

    ``data (F, R, 2)`` and ``samples (B, R, 2)`` are φ, ψ in radians of the R ``residues``; ``energy (B,)`` and
    ``data_energy`` are in kT. ``biased``: whether the basins of the training data are populated as in the hot run that
    they started from. ``test_logw (F,)`` are log-weights of held-out frames, where the model's likelihood was
    asked for and the frames are in equilibrium.
    """

    residues: list[str]
    data: np.ndarray
    samples: np.ndarray
    energy: np.ndarray
    data_energy: np.ndarray
    weighted: WeightedSamples
    biased: bool
    test_logw: torch.Tensor | None
    reference: Reference | None
    topology: mdtraj.Topology

    @property
    def molecule(self) -> str:
        """``ACE-ALA-NME``, of a long one its ends."""
        names = [residue.name for residue in self.topology.residues]
        return "-".join(names if len(names) < 8 else [*names[:3], "…", *names[-3:]])

    @property
    def few(self) -> bool:
        """Whether too few samples are effective for any reweighted estimate."""
        return self.weighted.ess() * len(self.weighted) < FEW

    def profile(self, residue: int, seed: int = 0) -> Profile:
        """Reweighted free energy along φ of a residue over the bins of the reference."""
        phi = torch.from_numpy(self.samples[:, residue, 0]).double()
        return self.weighted.free_energy(phi, torch.from_numpy(_EDGES), seed)


def minus_log(phi: np.ndarray) -> np.ndarray:
    """−ln of the histogram of φ (radians), its minimum at zero; NaN in empty bins."""
    counts = np.histogram(phi, _EDGES)[0]
    with np.errstate(divide="ignore"):
        return np.where(counts > 0, -np.log(counts / counts.max()), np.nan)


def density(angles: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Probability of each (φ, ψ) bin, of ``angles (B, 2)``."""
    p = np.histogram2d(angles[:, 0], angles[:, 1], (_EDGES, _EDGES), weights=weights)[0]
    return p / p.sum()
