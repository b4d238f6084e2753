"""What cutoffs and Ewald tolerances are worth in the free energy of ice: ``python docs/benchmarks/ice.py RUN``.

RUN is the folder of a finished ``sciflow run study=ice``. Its frames at either temperature are weighed by energies of
other potentials (Zwanzig 1954): a row a potential, against that of the run, Ewald's sum to 1e-6.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from openmm import NonbondedForce, app, unit
from torch import Tensor

from sciflow.boltzmann import OpenMMEnergy
from sciflow.boltzmann.free_energy import one_sided
from sciflow.boltzmann.targets import GAS_CONSTANT, Ice
from sciflow.physics import IceStudy
from sciflow.training import load_tensors


def pme(ice: Ice, tolerance: float) -> Callable[[Tensor], Tensor]:
    """OpenMM's energy in kJ/mol by particle-mesh Ewald, on its Reference platform."""
    topology = app.Topology()
    chain = topology.addChain()
    for _ in range(ice.molecules):
        residue = topology.addResidue("HOH", chain)
        oxygen = topology.addAtom("O", app.element.oxygen, residue)
        for name in ("H1", "H2"):
            topology.addBond(oxygen, topology.addAtom(name, app.element.hydrogen, residue))
        topology.addAtom("M", None, residue)
    topology.setUnitCellDimensions(ice.box * unit.nanometer)
    system = app.ForceField("tip4pew.xml").createSystem(
        topology, nonbondedMethod=app.PME, nonbondedCutoff=ice.reach * (1 - 1e-9), ewaldErrorTolerance=tolerance
    )
    nonbonded = next(force for force in system.getForces() if isinstance(force, NonbondedForce))
    nonbonded.setUseSwitchingFunction(ice.switch < 1)
    nonbonded.setSwitchingDistance(ice.switch * ice.reach)
    energy = OpenMMEnergy(system, 1 / GAS_CONSTANT)
    return lambda x: energy.energy(ice.atoms(x).flatten(1, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--frames", type=int, default=200)
    args = parser.parse_args()
    settings = json.loads((args.run / "data/meta.json").read_text())["config"]
    study = IceStudy(settings["order"], tuple(settings["cells"]), settings["switch"], settings["hot"], settings["cold"])
    ice = study.ice(study.hot)
    frames = {
        kelvin: load_tensors(args.run / f"data/{name}.safetensors")["x"][: args.frames].double()
        for kelvin, name in ((study.hot, "unseen"), (study.cold, "test"))
    }
    own = {kelvin: ice.kilojoules(x) for kelvin, x in frames.items()}
    rows: dict[str, Callable[[Tensor], Tensor]] = {
        "sharp cutoff": replace(ice, switch=1.0).kilojoules,
        "Ewald's sum to 1e-4": replace(ice, tolerance=1e-4).kilojoules,
        "Ewald's sum to 5e-4": replace(ice, tolerance=5e-4).kilojoules,
        "PME to 1e-4": pme(ice, 1e-4),
        "PME to 5e-4": pme(ice, 5e-4),
    }
    print(f"| potential | energy, {study.hot:g} K (kJ/mol) | energy, {study.cold:g} K (kJ/mol) | ΔF (kT) |")
    print("|---|---|---|---|")
    for name, kilojoules in rows.items():
        more = {kelvin: kilojoules(x) - own[kelvin] for kelvin, x in frames.items()}
        shift = {kelvin: one_sided(value / (GAS_CONSTANT * kelvin)).value for kelvin, value in more.items()}
        hot, cold = (float(value.mean()) / ice.molecules for value in more.values())
        delta_f = (shift[study.cold] - shift[study.hot]) / ice.molecules
        print(f"| {name} | {hot:+.4f} | {cold:+.4f} | {delta_f:+.4f} |")


if __name__ == "__main__":
    main()
