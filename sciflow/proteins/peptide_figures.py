"""Peptides in pockets, drawn: side chains, sequences, poses, each beside the crystals."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .peptide_metrics import Bound, Hidden, Library, chi_error, turned
from .residues import AMINO_ACIDS, sequence

__all__ = ["figures"]

# Okabe & Ito's palette, readable by everyone.
CRYSTAL, SAMPLED, FLOOR = "#0072B2", "#D55E00", "#999999"
Drawings = dict[str, tuple[Figure, str]]


def figures(
    samples: Sequence[Bound],
    natives: Sequence[Bound],
    hidden: Hidden,
    library: Library,
    names: Sequence[str],
    seed: int,
) -> Drawings:
    """Figures of what the task hides, with their captions; sample i is of complex i mod M, of that name."""
    of = [natives[i % len(natives)] for i in range(len(samples))]
    drawn: Drawings = {}
    if hidden.torsions:
        drawn["side_chains"] = _side_chains(samples, of, library)
    if hidden.sequence:
        drawn["sequences"] = _sequences(samples, of, library, names)
    if hidden.frames:
        drawn["poses"] = _poses(samples, of, names, seed)
    return drawn


def _side_chains(samples: Sequence[Bound], of: Sequence[Bound], library: Library) -> tuple[Figure, str]:
    rows = []
    for s, native in zip(samples, of, strict=True):
        shown = native.torsion_mask[:, 1] & native.peptide & (s.aatype == native.aatype)
        rows.append((s.torsions[shown, 1:], native.torsions[shown, 1:], native.aatype[shown]))
    found, true, types = (torch.cat(column) for column in zip(*rows, strict=True))
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    plane, errors = figure.subplots(1, 2)
    plane.plot(*np.degrees([true[:, 0], found[:, 0]]), ".", color=SAMPLED, ms=3, alpha=0.5)
    plane.plot([-180, 180], [-180, 180], color=CRYSTAL, lw=1)
    plane.set(xlabel="χ1 of the crystal [°]", ylabel="χ1 of the sample [°]", xlim=(-180, 180), ylim=(-180, 180))
    plane.set(aspect="equal", xticks=range(-180, 181, 90), yticks=range(-180, 181, 90))
    bins = np.linspace(0, 180, 19)
    for chi, colour, label in (
        (found, SAMPLED, "samples"),
        (library.modes.to(true)[types], FLOOR, "commonest rotamer"),
    ):
        errors.hist(
            np.degrees(chi_error(chi, true, types)[:, 0]), bins, histtype="step", color=colour, label=label, lw=2
        )
    errors.set(xlabel="error of χ1 [°]", ylabel="residues")
    errors.legend(frameon=False)
    return figure, (
        "χ1 of held-out peptides: samples against crystals (left; the line is a perfect answer), and errors beside "
        "those of the commonest rotamer of training receptors (right). Residues of the right type only."
    )


def _sequences(
    samples: Sequence[Bound], of: Sequence[Bound], library: Library, names: Sequence[str]
) -> tuple[Figure, str]:
    figure = Figure(figsize=(9, 6), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    places, kinds, logo = (figure.add_subplot(place) for place in (grid[0, 0], grid[0, 1], grid[1, :]))
    longest = max(int(native.peptide.sum()) for native in of)
    right, total = torch.zeros(longest), torch.zeros(longest)
    for s, native in zip(samples, of, strict=True):
        hit = (s.aatype == native.aatype)[native.peptide]
        right[: len(hit)] += hit
        total[: len(hit)] += 1
    places.bar(range(1, longest + 1), (right / total).numpy(), color=SAMPLED)
    places.axhline(library.background.square().sum().item(), color=FLOOR, label="chance")
    places.set(xlabel="place in the peptide", ylabel="fraction recovered", ylim=(0, 1))
    places.legend(frameon=False)
    for shift, part, colour, label in ((-0.2, of, CRYSTAL, "crystals"), (0.2, samples, SAMPLED, "samples")):
        share = torch.bincount(torch.cat([b.aatype[b.peptide] for b in part]), minlength=21)[:20].double()
        kinds.bar(np.arange(20) + shift, (share / share.sum()).numpy(), 0.4, color=colour, label=label)
    kinds.set(xticks=range(20), xticklabels=list(AMINO_ACIDS), ylabel="share of residues")
    kinds.legend(frameon=False)
    _logo(logo, [s.aatype[s.peptide] for s in samples[:: len(names)]], sequence(of[0].aatype[of[0].peptide]))
    return figure, (
        "Sequences: recovery by place (left; chance is by frequencies of training peptides), amino acids of samples "
        f"and crystals (right), and the letters drawn for {names[0]} above those of its crystal (below; coloured "
        "where they agree)."
    )


def _logo(axis: Axes, drawn: Sequence[torch.Tensor], native: str) -> None:
    for place, letters in enumerate(torch.stack(list(drawn)).T):
        base = 0.0
        for kind, count in zip(*letters.unique(return_counts=True), strict=True):
            height = float(count) / len(letters)
            axis.bar(place, height, 0.9, base, color=SAMPLED if AMINO_ACIDS[kind] == native[place] else "#DDDDDD")
            axis.text(place, base + height / 2, AMINO_ACIDS[kind], ha="center", va="center", fontsize=9)
            base += height
    axis.set(
        xticks=range(len(native)), xticklabels=list(native), xlabel="crystal", ylabel="share of samples", ylim=(0, 1)
    )


def _poses(samples: Sequence[Bound], of: Sequence[Bound], names: Sequence[str], seed: int) -> tuple[Figure, str]:
    figure = Figure(figsize=(10, 6.5), layout="constrained")
    floors = [turned(native, seed, i) for i, native in enumerate(of[: len(names)])]
    apart, beside = (
        [float((s.ca - native.ca).square().sum(-1).mean().sqrt()) for s, native in zip(part, of, strict=False)]
        for part in (samples, floors)
    )
    histogram = figure.add_subplot(2, 2, 1)
    bins = np.linspace(0, max(1.0, *apart, *beside), 21).tolist()
    for values, colour, label in ((apart, SAMPLED, "samples"), (beside, FLOOR, "crystals' own, turned at random")):
        weights = np.full(len(values), 1 / len(values))
        histogram.hist(values, bins, weights=weights, histtype="step", color=colour, label=label, lw=2)
    histogram.set(xlabel="RMSD of Cα [nm]", ylabel="share")
    histogram.legend(frameon=False, fontsize=8)
    best = int(np.argsort(apart)[len(apart) // 2])
    sample, native = samples[best], of[best]
    for place, part, title in ((2, native, f"crystal {names[best % len(names)]}"), (4, sample, f"sample_{best:04d}")):
        axis = figure.add_subplot(2, 2, place)
        contacts = part.contacts().numpy()
        extent = (0.5, contacts.shape[1] + 0.5, contacts.shape[0] + 0.5, 0.5)
        axis.imshow(contacts, cmap="Greys", vmin=0, vmax=1, aspect="auto", interpolation="nearest", extent=extent)
        axis.set(title=f"contacts, {title}", xlabel="residue of the pocket", ylabel="of the peptide")
    view: Axes = figure.add_subplot(2, 2, 3, projection="3d")
    pocket = native.atoms[~native.peptide, 1]
    view.plot(*pocket.T.numpy(), "o", color=FLOOR, ms=4, alpha=0.6, label="pocket")
    view.plot(*native.ca.T.numpy(), "-o", color=CRYSTAL, ms=3, label="crystal")
    view.plot(*sample.ca.T.numpy(), "-o", color=SAMPLED, ms=3, label="sample")
    view.set(xlabel="x [nm]", ylabel="y [nm]", zlabel="z [nm]", box_aspect=(1, 1, 1))
    view.locator_params(nbins=3)
    view.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(-0.5, 0.5))
    return figure, (
        "Poses: RMSD of Cα in the frame of the receptor, beside the floor; for the sample of median RMSD its contacts "
        "(Cβ within 0.8 nm) below those of the crystal, and Cα of both in the pocket."
    )
