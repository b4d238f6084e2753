"""Figures of weighted samples: what they show is all there is, or they say how much they do not show."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from sciflow.boltzmann.density_figure import densities
from sciflow.boltzmann.weight_figure import headline, weight_figure


def test_samples_that_are_not_shown_are_counted():
    logw = torch.tensor([0.0, math.log(2), -30.0, -math.inf])
    left, right = weight_figure(logw, torch.tensor([1.0, 2.0, 3.0, math.inf])).axes
    assert left.get_title() == "2 of 4 samples are right of this or below"
    mean = math.log(3 / 4)  # of four weights, two of them none
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[1, -mean], [2, math.log(2) - mean]], atol=1e-6)
    np.testing.assert_allclose(right.lines[0].get_ydata(), [2 / 3, 1, 1, 1], atol=1e-6)
    assert right.lines[0].get_label() == f"ESS {100 * 9 / 5 / 4:.1f} %"


def test_equal_weights_lie_on_their_line():
    left, right = weight_figure(torch.zeros(10), torch.arange(10.0)).axes
    assert not left.get_title()
    assert right.lines[0].get_ydata() == pytest.approx(right.lines[1].get_ydata())


def test_the_axes_end_where_the_samples_do():
    """One sample in a thousand, far away in energy and in weight, does not squeeze the others."""
    energy, logw = torch.linspace(0, 1, 1000), torch.linspace(-1, 0, 1000)
    energy[0], logw[0] = 50.0, -15.0
    left, _ = weight_figure(logw, energy).axes
    assert left.get_xlim()[1] < 4
    assert left.get_ylim()[0] > -3
    assert left.get_title() == "1 of 1000 samples are right of this or below"


def test_the_headline_says_what_the_weights_are_worth():
    assert headline("LJ13", 100, None) == "LJ13: N = 100"
    assert headline("LJ13", 100, torch.zeros(100)) == "LJ13: N = 100, raw ESS 100 % (100 effective)"
    one = torch.full((100,), -torch.inf).index_fill_(0, torch.tensor([3]), 0.0)
    assert headline("LJ13", 100, one) == "LJ13: N = 100, raw ESS 1 % (1 effective: too few to reweight)"


def test_a_spike_does_not_flatten_the_truth_and_what_is_absent_is_no_curve():
    axis = Figure().subplots()
    truth = torch.linspace(0.05, 9.95, 100)  # density 0.1
    sets = [("truth", "k", truth, None), ("spike", "r", torch.full((9,), 3.5), None), ("far", "b", truth + 90, None)]
    densities(axis, torch.linspace(0, 10, 11), sets)
    assert axis.get_ylim() == pytest.approx((0, 0.2))
    assert axis.get_legend_handles_labels()[1] == ["truth", "spike"]
    assert axis.get_legend().get_title().get_text() == "off the axis: far"
