"""The toy: its laws, its floors, and the whole study, small."""

import math

import pytest
import torch

from sciflow.errors import InputError
from sciflow.pipeline import evaluate, load_config, prepare, sample, train
from sciflow.rng import step_generator
from sciflow.sequences import ToySimplex
from sciflow.sequences.toy import divergence, draw_tokens, target_law, uniform_divergence

TINY = ["study.k=5", "study.target=peaked", "rows=2000", "trainer.steps=60", "trainer.batch_size=64", "model.width=16"]
TINY += ["n=400", "sampler.steps=4"]


def test_exact_draws_are_off_by_the_letters_over_twice_their_number() -> None:
    """Of KL(q ‖ p) the mean over draws is (K−1)/2n, its variance (K−1)/2n² a site (Wilks 1938)."""
    k, sites, n = 20, 200, 5000
    law = target_law("flat", sites, k, step_generator(0))
    found = divergence(draw_tokens(law, n, step_generator(1)), law)
    assert abs(found.mean() - (k - 1) / (2 * n)) < 4 * ((k - 1) / 2 / sites) ** 0.5 / n


@pytest.mark.parametrize("k", [4, 20, 100, 160])
def test_a_model_that_has_learnt_nothing_is_as_far_from_flat_laws_as_it_must(k: int) -> None:
    """log mean e^u − mean u, u uniform: ``log(e − 1) − ½ − Var(e^u)/2K(E e^u)²`` up to 1/K²."""
    relative = ((math.e**2 - 1) / 2 - (math.e - 1) ** 2) / (math.e - 1) ** 2
    expected = math.log(math.e - 1) - 0.5 - relative / (2 * k)
    found = float(uniform_divergence(target_law("flat", 4000, k, step_generator(2))).mean())
    assert abs(found - expected) < 4 * 0.024 / (4000 * k) ** 0.5 + relative**2 / k**2 + 2e-4


def test_the_divergence_of_counts_that_are_the_law_is_zero_and_of_one_letter_its_surprise() -> None:
    law = torch.tensor([[0.25, 0.75], [0.5, 0.5]], dtype=torch.float64)
    x = torch.tensor([[0, 0], [1, 0], [1, 1], [1, 1]])
    torch.testing.assert_close(divergence(x, law), torch.zeros(2, dtype=torch.float64))
    assert divergence(torch.zeros(3, 2, dtype=torch.long), law).tolist() == pytest.approx([math.log(4), math.log(2)])


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"study\.target='round': use one of flat, peaked"):
        ToySimplex(target="round")
    with pytest.raises(InputError, match=r"study\.k=1 must be greater than 1"):
        ToySimplex(k=1)


@pytest.mark.e2e
def test_from_laws_to_divergences(tmp_path) -> None:
    config = load_config("toy_simplex", TINY)
    prepare(config, tmp_path / "data")
    train(config, tmp_path / "data", tmp_path / "model")
    sample(config, tmp_path / "data", tmp_path / "model", tmp_path / "samples")
    metrics = evaluate(config, tmp_path / "data", tmp_path / "samples", tmp_path).metrics
    assert metrics["kl"].value < metrics["kl"].floor / 2  # of what has learnt nothing
    assert metrics["kl"].reference == pytest.approx(4 / 800, rel=0.5)
    with pytest.raises(InputError, match=r"was prepared with study\.k=5"):
        load_config("toy_simplex", ["study.k=6"]).study.dataset(tmp_path / "data", "train")
