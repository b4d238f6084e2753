"""What is said of samples that are good, collapsed, mirrored, copied or all the same; and that figures can be drawn."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sciflow.manifolds.quaternion import conjugate, multiply, rotate
from sciflow.proteins.conformation import Backbones
from sciflow.proteins.figures import backbone_figures
from sciflow.proteins.frames import backbone, frames
from sciflow.proteins.metrics import backbone_metrics
from sciflow.proteins.structure import Chain

Natives = Callable[[int, int], Backbones]
LOOPS = ((-90, 0), (-70, 140), (-120, 130), (-75, 160), (-80, -20))


@pytest.fixture
def natives(build: Callable[..., Chain]) -> Natives:
    """``natives(n, seed)``: helices of eight residues, joined by loops of three, folded by chance."""

    def step(phi: float, psi: float) -> tuple[Tensor, Tensor]:
        """From the frame of a residue to that of the next."""
        (a, b), (p, q) = frames(*build("AA", phi=phi, psi=psi).atoms[:, :3].unbind(1))
        return rotate(conjugate(p), b - a), multiply(conjugate(p), q)

    helix, loops = step(-60, -45), [step(*angles) for angles in LOOPS]

    def native(length: int, generator: torch.Generator) -> Tensor:
        where, turn = [torch.zeros(3).double()], [torch.tensor([1.0, 0, 0, 0]).double()]
        for i in range(length - 1):
            drawn = int(torch.randint(len(loops), (), generator=generator))
            move, rotation = loops[drawn] if i % 11 > 7 else helix
            where.append(where[-1] + rotate(turn[-1], move))
            turn.append(multiply(turn[-1], rotation))
        return backbone(torch.stack(where), torch.stack(turn))

    def natives(n: int, seed: int) -> Backbones:
        g = torch.Generator().manual_seed(seed)
        return Backbones.of([native(40 + 2 * k, g) for k in range(n)])

    return natives


def changed(chains: Backbones, atoms: Tensor) -> Backbones:
    return Backbones(atoms, chains.mask, chains.residue_index)


def test_good_samples_are_near_the_reference_and_not_the_floor(natives: Natives) -> None:
    found = backbone_metrics(natives(6, 1), natives(8, 2), natives(6, 3))
    assert set(found) >= {"ca_ca", "c_n", "ramachandran", "handedness", "helix", "strand", "coil", "size", "copies"}
    for name in ("ca_ca", "c_n", "ca_c_n", "c_n_ca", "breaks", "ramachandran", "handedness", "helix", "coil"):
        metric = found[name]
        assert metric.floor is not None
        assert metric.reference is not None
        from_reference, from_floor = abs(metric.value - metric.reference), abs(metric.value - metric.floor)
        assert from_reference <= from_floor / 4 or name == "ca_ca", name  # which a random walk has by construction
    assert (found["ca_ca"].value, found["breaks"].value, found["handedness"].value) == (1, 0, 1)
    assert found["helix"].value + found["strand"].value + found["coil"].value == pytest.approx(1)
    assert found["max_tm_to_train"].reference < 0.9


@pytest.mark.parametrize("scale", [0.0, 0.05])
def test_collapsed_chains_fail(natives: Natives, scale: float) -> None:
    good = natives(4, 1)
    found = backbone_metrics(changed(good, scale * good.atoms), natives(5, 2), natives(3, 3))
    assert found["ca_ca"].value == found["c_n"].value == 0
    assert found["clashes"].value > 1000
    assert found["size"].value < 0.06 * found["size"].reference
    if scale == 0:
        assert found["ramachandran"].value < 0.05
        assert found["ca_c_n"].value > 50


def test_mirror_images_fail(natives: Natives) -> None:
    good = natives(4, 1)
    found = backbone_metrics(changed(good, -good.atoms), natives(5, 2), natives(3, 3))
    assert found["ca_ca"].value == found["ca_ca"].reference  # bonds cannot tell
    assert found["handedness"].value == 0
    assert found["ramachandran"].value < 0.1
    assert found["helix"].value == pytest.approx(found["helix"].reference, abs=0.05)  # nor can hydrogen bonds


def test_copies_are_found_however_they_are_turned(natives: Natives) -> None:
    train = natives(5, 2)
    turn = torch.tensor([0.1, 0.7, -0.7, 0.1], dtype=torch.float64)
    found = backbone_metrics(changed(train, rotate(turn, train.atoms) + 4.0), train, natives(4, 3))
    assert found["max_tm_to_train"].value == pytest.approx(1, abs=1e-3)
    assert found["copies"].value == 1
    assert found["copies"].reference == 0


def test_one_chain_again_and_again_has_no_diversity(natives: Natives) -> None:
    found = backbone_metrics(natives(1, 1)[[0] * 5], natives(4, 2), natives(4, 3))
    assert found["pairwise_tm"].value == pytest.approx(1, abs=1e-3)
    assert found["pairwise_tm"].reference < 0.9
    assert found["helix"].error == pytest.approx(0, abs=1e-12)


def test_errors_are_those_of_a_mean_over_chains(natives: Natives) -> None:
    """Of chains equally long the share of helix is a mean over chains, whose error is std/√n; ±7 % of 100 resamples."""
    samples = natives(30, 1)
    samples = Backbones.of([atoms[:40] for atoms in samples.atoms])
    shares = (samples.secondary_structure() == 0).double().mean(1)
    error = backbone_metrics(samples, natives(3, 2), natives(3, 3), most=2)["helix"].error
    assert error == pytest.approx(float(shares.std(correction=0)) / 30**0.5, rel=0.25)


def test_one_sample_has_no_pairs(natives: Natives) -> None:
    found = backbone_metrics(natives(1, 1), natives(2, 2), natives(1, 3))
    assert "pairwise_tm" not in found
    assert found["max_tm_to_train"].n == 1


def test_figures_and_captions(natives: Natives) -> None:
    sets = natives(2, 1), natives(3, 2), natives(1, 3)
    figures, captions = backbone_figures(*sets)
    assert figures.keys() == captions.keys()
    assert "of 3 training chains, 1 held-out natives and 2 samples" in captions["ramachandran"]
    for figure in figures.values():
        figure.draw_without_rendering()
