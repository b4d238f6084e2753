"""What figures and metrics call something is what it is."""

import json
from dataclasses import replace

import mdtraj
import numpy as np
import pytest
import torch

from sciflow.boltzmann import WeightedSamples
from sciflow.molecules.ensembles import Ensembles
from sciflow.molecules.peptide import _biased
from sciflow.molecules.peptide_figures import captions, figures
from sciflow.molecules.peptide_metrics import metrics


def ensembles(biased: bool) -> Ensembles:
    x = torch.zeros(4, 1, 3)
    angles = np.array([[[-1.0, 1.0]], [[-1.2, 1.0]], [[-1.0, 2.0]], [[1.0, 1.0]]])
    weighted = WeightedSamples(x, torch.zeros(4), torch.zeros(4))
    energy = np.arange(4.0)
    topology = mdtraj.Topology()
    topology.add_atom("CA", mdtraj.element.carbon, topology.add_residue("ALA", topology.add_chain()))
    return Ensembles(["ALA1"], angles, angles, energy, energy, weighted, biased, None, None, topology)


@pytest.mark.parametrize("biased", [True, False])
def test_data_in_equilibrium_are_not_called_biased(biased: bool) -> None:
    e = ensembles(biased)
    assert ("wrong" in captions(e)["ramachandran"]) == biased
    (axis,) = figures(e)["free_energy"].axes
    assert ("training data (biased)" in axis.get_legend_handles_labels()[1]) == biased


def test_titles_say_of_what_and_too_few_weights_are_no_curve() -> None:
    e = ensembles(biased=False)
    drawn = figures(e)
    titles = {figure.get_suptitle() for figure in drawn.values()}
    assert titles == {"ALA: N = 4, raw ESS 100 % (4 effective: too few to reweight)"}
    many = replace(e, weighted=WeightedSamples(torch.zeros(40, 1, 3), torch.zeros(40), torch.zeros(40)))
    many = replace(many, samples=np.tile(e.samples, (10, 1, 1)), energy=np.tile(e.energy, 10))
    for name in ("free_energy", "energies"):
        few, enough = (f[name].axes[0].get_legend_handles_labels()[1] for f in (drawn, figures(many)))
        assert enough == [*few, "samples, reweighted"]


def test_mean_energies_are_named_as_those_of_every_study() -> None:
    """Energies 0, 1, 2, 3 with weights 1, 1, 1, 3: the raw mean is 1.5, the reweighted one 12/6."""
    e = ensembles(biased=False)
    logw = torch.tensor([1.0, 1, 1, 3]).log()
    found = metrics(replace(e, weighted=WeightedSamples(e.weighted.x, -logw, logw)))
    assert found["mean_energy"].value == pytest.approx(1.5)
    assert found["mean_energy_reweighted"].value == pytest.approx(2.0)


@pytest.mark.parametrize(("about", "biased"), [({}, True), ({"starts": "hot"}, True), ({"starts": "tempering"}, False)])
def test_only_runs_from_tempering_are_unbiased(tmp_path, about, biased) -> None:
    (tmp_path / "meta.json").write_text(json.dumps(about))
    assert _biased(tmp_path) == biased
