"""Crystals in the files that molecular viewers open."""

from pathlib import Path

import mdtraj
import numpy as np
from torch import Tensor

from ..boltzmann import logweights
from ..boltzmann.targets import Ice
from ..rng import step_generator
from ..training import Samples
from ..training.tables import write_table

__all__ = ["topology", "write_crystals"]


def topology(ice: Ice) -> mdtraj.Topology:
    """Waters O, H1, H2, a residue each."""
    made = mdtraj.Topology()
    chain = made.add_chain()
    for _ in range(ice.molecules):
        residue = made.add_residue("HOH", chain)
        oxygen = made.add_atom("O", mdtraj.element.oxygen, residue)
        for name in ("H1", "H2"):
            made.add_bond(oxygen, made.add_atom(name, mdtraj.element.hydrogen, residue))
    return made


def write_crystals(ice: Ice, samples: Samples, out: Path, seed: int) -> None:
    """topology.pdb (the perfect crystal) and samples.xtc, both with the box; equilibrium.xtc: resampled by their
    weights; weights.csv: energy in kT, log q and log-weight of every sample."""
    assert isinstance(samples.x, Tensor)
    x = samples.x.double()
    energy = ice.energy(x)
    _trajectory(ice, ice.sites[None]).save_pdb(str(out / "topology.pdb"))
    _trajectory(ice, x).save_xtc(str(out / "samples.xtc"))
    if samples.logq is None:
        write_table({"energy": energy.numpy()}, out / "weights.csv")
        return
    logw = -energy - samples.logq.double()
    write_table({"energy": energy.numpy(), "logq": samples.logq.numpy(), "logw": logw.numpy()}, out / "weights.csv")
    chosen = x[logweights.effective(logw, step_generator(seed))]
    _trajectory(ice, chosen).save_xtc(str(out / "equilibrium.xtc"))


def _trajectory(ice: Ice, x: Tensor) -> mdtraj.Trajectory:
    places = ice.atoms(x)[..., :3, :].flatten(1, 2).numpy()  # without M, which is no atom
    trajectory = mdtraj.Trajectory(places, topology(ice))
    trajectory.unitcell_lengths = np.tile(np.array(ice.box, np.float32), (len(x), 1))
    trajectory.unitcell_angles = np.full((len(x), 3), 90.0, np.float32)
    return trajectory
