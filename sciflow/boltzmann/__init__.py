"""Energies, importance weights and free energies."""

from .annealed import Annealed
from .dynamics import LangevinMiddle, Walkers
from .energy import Energy, OpenMMEnergy
from .flow_energy import FlowEnergy
from .forcefield import TorchForceField
from .free_energy import bar, generalised_work, mbar, one_sided, two_sided
from .kernels import HMC, MALA, ULA, Kernel, Metropolis, Move, tune
from .logweights import (
    Estimate,
    bootstrap,
    clipped_ess,
    elbo,
    ess,
    eubo,
    forward_ess,
    forward_kl,
    log_mean_weight,
    reverse_kl,
)
from .mcmc import ISIR, Chains, IndependentMH, LocalGlobal, NeuTra, Pulled, autocorrelation_time, markov_chain
from .potentials import Interpolated, LogDensity, Potential
from .smc import ais, smc
from .steering import at_temperature, heated, reweighted
from .stochastic import StochasticFlow, StochasticLayer
from .tempering import ParallelTempering, population_annealing
from .weights import Profile, WeightedSamples, importance

__all__ = [
    "HMC",
    "ISIR",
    "MALA",
    "ULA",
    "Annealed",
    "Chains",
    "Energy",
    "Estimate",
    "FlowEnergy",
    "IndependentMH",
    "Interpolated",
    "Kernel",
    "LangevinMiddle",
    "LocalGlobal",
    "LogDensity",
    "Metropolis",
    "Move",
    "NeuTra",
    "OpenMMEnergy",
    "ParallelTempering",
    "Potential",
    "Profile",
    "Pulled",
    "StochasticFlow",
    "StochasticLayer",
    "TorchForceField",
    "Walkers",
    "WeightedSamples",
    "ais",
    "at_temperature",
    "autocorrelation_time",
    "bar",
    "bootstrap",
    "clipped_ess",
    "elbo",
    "ess",
    "eubo",
    "forward_ess",
    "forward_kl",
    "generalised_work",
    "heated",
    "importance",
    "log_mean_weight",
    "markov_chain",
    "mbar",
    "one_sided",
    "population_annealing",
    "reverse_kl",
    "reweighted",
    "smc",
    "tune",
    "two_sided",
]
