"""The figure of weights: what it shows is all there is, or it says how much it does not show."""

import math

import numpy as np
import pytest
import torch

from sciflow.boltzmann.weight_figure import weight_figure


def test_samples_that_are_not_shown_are_counted():
    logw = torch.tensor([0.0, math.log(2), -30.0, -math.inf])
    left, right = weight_figure(logw, torch.tensor([1.0, 2.0, 3.0, math.inf])).axes
    assert left.get_title() == "2 of 4 samples are below"
    mean = math.log(3 / 4)  # of four weights, two of them none
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[1, -mean], [2, math.log(2) - mean]], atol=1e-6)
    np.testing.assert_allclose(right.lines[0].get_ydata(), [2 / 3, 1, 1, 1], atol=1e-6)
    assert right.lines[0].get_label() == f"ESS {100 * 9 / 5 / 4:.1f} %"


def test_equal_weights_lie_on_their_line():
    left, right = weight_figure(torch.zeros(10), torch.arange(10.0)).axes
    assert not left.get_title()
    assert right.lines[0].get_ydata() == pytest.approx(right.lines[1].get_ydata())
