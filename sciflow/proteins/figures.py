"""Generated backbones, drawn: torsions, distances, secondary structure, traces and sizes, beside natives."""

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from .conformation import Backbones
from .ramachandran import Region
from .tm_align import nearest_tm, tm_align

__all__ = ["NATIVE", "SAMPLED", "TRAINING", "backbone_figures"]

# Okabe & Ito's palette, readable by everyone.
NATIVE, SAMPLED, TRAINING = "#0072B2", "#D55E00", "#999999"
_SHOWN = 3  # samples drawn one by one


def backbone_figures(
    samples: Backbones, train: Backbones, test: Backbones, motif: Tensor | None = None
) -> tuple[dict[str, Figure], dict[str, str]]:
    """Figures by name, and by the same names what each shows and how to read it; ``motif (n, N)`` is marked."""
    drawn = {
        "ramachandran": _ramachandran(samples, train, test),
        "distance_maps": _distance_maps(samples, test),
        "secondary_structure": _secondary_structure(samples, train, test),
        "traces": _traces(samples, train, motif),
        "sizes": _sizes(samples, train, test),
    }
    return {name: figure for name, (figure, _) in drawn.items()}, {name: text for name, (_, text) in drawn.items()}


def _ramachandran(samples: Backbones, train: Backbones, test: Backbones) -> tuple[Figure, str]:
    region = Region.of(train)
    figure = Figure(figsize=(10.4, 3.8), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    panels = {"training": train, "held out": test, "samples": samples}
    extent = (-180, 180, -180, 180)
    for ax, (title, chains) in zip(axes, panels.items(), strict=True):
        angles, there = chains.phi_psi()
        density = Region.of(chains).density * (2 * np.pi) ** 2
        image = ax.imshow(
            density.T.cpu(), origin="lower", extent=extent, cmap="viridis", norm=LogNorm(0.05, 100, clip=True)
        )
        centres = np.linspace(-177.5, 177.5, len(density))
        ax.contour(centres, centres, region.density.T.cpu(), [float(region.level)], colors="white", linewidths=0.8)
        inside = float(region.inside(angles[there]).double().mean())
        ax.set(title=f"{title}: {100 * inside:.0f} % inside", xlabel="φ (°)")
        ax.set(xticks=range(-180, 181, 90), yticks=range(-180, 181, 90))
    axes[0].set_ylabel("ψ (°)")
    figure.colorbar(image, ax=axes, label="density / uniform density")
    return figure, (
        f"Ramachandran plot of {len(train)} training chains, {len(test)} held-out natives and {len(samples)} samples, "
        "smoothed over 5°. The white line bounds the region that holds 98 % of the training residues "
        f"({100 * region.area:.0f} % of the plane, what uniform angles would score); titles say how many lie in it."
    )


def _distance_maps(samples: Backbones, test: Backbones) -> tuple[Figure, str]:
    shown = samples.traces[:_SHOWN]
    apart = (test.lengths - float(samples.lengths[:_SHOWN].double().mean())).abs()
    panels = {f"sample {k:05d}": trace for k, trace in enumerate(shown)} | {
        "held out": test.traces[int(apart.argmin())]
    }
    figure = Figure(figsize=(2.7 * len(panels) + 0.8, 3.1), layout="constrained")
    for ax, (title, trace) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        edges = (0.5, len(trace) + 0.5, len(trace) + 0.5, 0.5)  # residues count from 1
        image = ax.imshow(torch.cdist(trace, trace).cpu(), cmap="viridis_r", vmin=0, vmax=4, extent=edges)
        ax.set(title=title, xlabel="residue")
    figure.axes[0].set_ylabel("residue")
    figure.colorbar(image, ax=figure.axes, label="Cα–Cα distance (nm)", extend="max")
    return figure, (
        f"Distances between Cα of {len(shown)} samples and of the held-out chain nearest in length. Helices thicken "
        "the diagonal, parallel strands run beside it, antiparallel strands across it; a chain without folds has none."
    )


def _secondary_structure(samples: Backbones, train: Backbones, test: Backbones) -> tuple[Figure, str]:
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    bars, plane = figure.subplots(1, 2)
    sets = (("training", train, TRAINING), ("held out", test, NATIVE), ("samples", samples, SAMPLED))
    for k, (label, chains, colour) in enumerate(sets):
        kinds = chains.secondary_structure()
        shares = torch.stack([(kinds == kind).sum(-1) / chains.lengths for kind in range(3)]).double().cpu()
        weights = (chains.lengths / chains.lengths.sum()).double().cpu()
        spread = shares.std(1, correction=0) / max(1, len(chains) - 1) ** 0.5
        bars.bar(np.arange(3) + 0.27 * (k - 1), shares @ weights, 0.25, yerr=spread, color=colour, label=label)
        plane.plot(*shares[:2], ".", color=colour, ms=5 if k else 3, alpha=0.7)
    bars.set(xticks=range(3), xticklabels=("helix", "strand", "coil"), ylabel="share of residues")
    bars.legend(frameon=False)
    plane.plot([0, 1], [1, 0], color="black", lw=0.6)
    plane.set(xlabel="helix", ylabel="strand", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure, (
        f"Secondary structure by DSSP of {len(samples)} samples beside {len(test)} held-out and {len(train)} training "
        "chains: shares of all residues with the standard error over chains (left), and the shares of each chain "
        "(right; on the line nothing is coil). A generator that has drifted to helices crowds the lower right corner."
    )


def _traces(samples: Backbones, train: Backbones, motif: Tensor | None) -> tuple[Figure, str]:
    shown = samples[:_SHOWN].traces
    scores, places = nearest_tm(shown, train.traces)
    nearest = [train.traces[i] for i in places]
    figure = Figure(figsize=(3.4 * len(shown) + 0.8, 6.4), layout="constrained")
    for k, (trace, native) in enumerate(zip(shown, nearest, strict=True)):
        centre, axes = native.mean(0), torch.linalg.svd(native - native.mean(0), full_matrices=False).Vh
        turned = [
            ((points - centre) @ axes.mT * torch.linalg.det(axes)).cpu() for points in (_onto(trace, native), native)
        ]
        reach = float(max(points.abs().max() for points in turned))
        titles = f"sample {k:05d}, N = {len(trace)}", f"nearest in training, TM {float(scores[k]):.2f}"
        for row, (title, points) in enumerate(zip(titles, turned, strict=True)):
            ax = figure.add_subplot(2, len(shown), row * len(shown) + k + 1, projection="3d")
            ax.plot(*points.T, color="#777777", lw=1)
            image = ax.scatter(*points.T, c=np.linspace(0, 1, len(points)), cmap="viridis", s=12, depthshade=False)
            if motif is not None and not row:
                ax.plot(*points[motif[k, : len(points)].cpu()].T, "o", color=SAMPLED, ms=7, mfc="none", label="motif")
                if not k:
                    ax.legend(frameon=False, loc="lower left")
            ax.set(title=title, xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
            ax.set_box_aspect((1, 1, 1), zoom=1.6)
            ax.set_axis_off()
            ax.view_init(elev=90, azim=-90)  # along the shortest axis
    figure.colorbar(image, ax=figure.axes, label="place in the chain (N to C)", shrink=0.5)
    marked = "" if motif is None else " Rings are the motif."
    return figure, (
        f"Cα traces of {len(shown)} samples (above), each over the training chain it is most like (below), superposed "
        "and seen along the same direction. TM-scores over the length of the sample: 1 is a copy, above 0.5 mostly the "
        f"same fold.{marked}"
    )


def _onto(x: Tensor, y: Tensor) -> Tensor:
    moved, _ = tm_align(x[None], torch.ones_like(x[None, :, 0]).bool(), y[None], torch.ones_like(y[None, :, 0]).bool())
    return moved[0]


def _sizes(samples: Backbones, train: Backbones, test: Backbones) -> tuple[Figure, str]:
    figure = Figure(figsize=(5.4, 4), layout="constrained")
    ax = figure.subplots()
    for label, chains, colour in (
        ("training", train, TRAINING),
        ("held out", test, NATIVE),
        ("samples", samples, SAMPLED),
    ):
        radius = chains.size().value[:, 0] * chains.lengths**0.38
        ax.plot(chains.lengths.cpu(), radius.cpu(), ".", color=colour, label=label, alpha=0.8)
    shortest, longest = ax.get_xlim()
    lengths = np.linspace(max(1.0, shortest), longest, 100)
    scale = float(train.size().value.median())
    ax.plot(lengths, scale * lengths**0.38, color="black", lw=1, label=f"{scale:.3f} nm × N^0.38")
    ax.set(xlabel="residues N", ylabel="radius of gyration (nm)")
    ax.legend(frameon=False)
    return figure, (
        f"Radius of gyration of the Cα of {len(samples)} samples against length, beside natives. The line goes through "
        "the median of the training chains with the exponent of globular proteins; chains above it are extended, "
        "below it collapsed."
    )
