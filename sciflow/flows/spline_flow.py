"""Neural spline flows over numbers and angles, and over the Cartesian coordinates of a molecule."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..errors import InputError
from ..rng import step_generator
from .base import MixedBase
from .coupling import Coupling, SmoothCoupling, SplineCoupling
from .internal_coordinates import InternalCoordinates
from .mixed_coordinates import MixedCoordinates
from .normalizing_flow import NormalizingFlow
from .rotors import Rotors
from .transform import Composed
from .unbound import Unbound, circular_torsions
from .whitening import Whiten

__all__ = ["smooth_couplings", "smooth_flow", "spline_couplings", "spline_flow"]


def spline_couplings(
    circular: Tensor,
    couplings: int = 8,
    width: int = 96,
    bins: int = 8,
    *,
    bound: float = 8.0,
    depth: int = 2,
    seed: int = 0,
) -> Composed:
    """Coupling layers over vectors (…, D), in pairs that move complementary random halves of the dimensions.

    Args:
        circular: BoolTensor (D,), the dimensions that are angles.
        couplings, width, bins, bound, depth: see `SplineCoupling`.
        seed: names the masks, seams and initial weights.
    """
    return _couplings(SplineCoupling, circular, couplings, width, bins, bound, depth, seed)


def smooth_couplings(
    circular: Tensor,
    couplings: int = 8,
    width: int = 96,
    bins: int = 8,
    *,
    bound: float = 8.0,
    depth: int = 2,
    seed: int = 0,
) -> Composed:
    """As `spline_couplings`, with mixtures of ``bins`` bumps: a density whose derivatives are all continuous."""
    return _couplings(SmoothCoupling, circular, couplings, width, bins, bound, depth, seed)


def _couplings(
    kind: type[Coupling],
    circular: Tensor,
    couplings: int,
    width: int,
    bins: int,
    bound: float,
    depth: int,
    seed: int,
) -> Composed:
    d = len(circular)
    layers = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for n in range(couplings):
            half = torch.randperm(d, generator=step_generator(seed, n // 2)) < d // 2
            mask = half if n % 2 == 0 else ~half
            seams = step_generator(seed, n // 2, n % 2)
            layers.append(kind(circular, mask, bins, bound, width, depth, generator=seams))
    return Composed(*layers)


def spline_flow(
    zmatrix: Tensor,
    training_coordinates: Tensor,
    couplings: int = 8,
    width: int = 96,
    bins: int = 8,
    *,
    core: Sequence[int] | None = None,
    rotors: Sequence[Sequence[int]] = (),
    decorrelate: bool = True,
    bound: float = 8.0,
    depth: int = 2,
    seed: int = 0,
) -> NormalizingFlow:
    """Flow on Cartesian coordinates (B, N, 3) in nm: internal or mixed coordinates, whitening, spline couplings.

    A torsion is a number if every training frame lies within 2.5 rad of its circular mean, else an angle. Densities are
    with respect to Cartesian volume modulo rigid motions (see `InternalCoordinates`). Coordinates and whitening are in
    float64, the network in float32; ``.double()`` makes all of it float64.

    Args:
        zmatrix: LongTensor (N, 4), see `InternalCoordinates`.
        training_coordinates: (frames, N, 3) in nm; fits the whitening.
        core: atoms described by Cartesian components instead, see `MixedCoordinates`.
        rotors: triples of interchangeable atoms round an axis, see `Rotors`.
        decorrelate: whiten; otherwise every number only gets mean 0 and variance 1.
        couplings, width, bins, bound, depth, seed: see `spline_couplings`.

    Raises:
        InputError: for a malformed Z-matrix or core, or frames that do not fit it or do not vary.

    Source: Noé et al. 2019 (arXiv:1812.01729); Midgley et al. 2023 (arXiv:2208.01893) for the coordinates.
    """
    stack = partial(spline_couplings, couplings=couplings, width=width, bins=bins, bound=bound, depth=depth, seed=seed)
    return _molecular_flow(stack, zmatrix, training_coordinates, core, rotors, decorrelate)


def smooth_flow(
    zmatrix: Tensor,
    training_coordinates: Tensor,
    couplings: int = 8,
    width: int = 96,
    bins: int = 8,
    *,
    core: Sequence[int] | None = None,
    rotors: Sequence[Sequence[int]] = (),
    decorrelate: bool = True,
    bound: float = 8.0,
    depth: int = 2,
    seed: int = 0,
) -> NormalizingFlow:
    """As `spline_flow`, with `smooth_couplings`: its forces are smooth, its samples cost a search for roots."""
    stack = partial(smooth_couplings, couplings=couplings, width=width, bins=bins, bound=bound, depth=depth, seed=seed)
    return _molecular_flow(stack, zmatrix, training_coordinates, core, rotors, decorrelate)


def _molecular_flow(
    stack: Callable[[Tensor], Composed],
    zmatrix: Tensor,
    frames: Tensor,
    core: Sequence[int] | None,
    rotors: Sequence[Sequence[int]],
    decorrelate: bool,
) -> NormalizingFlow:
    internal = InternalCoordinates(zmatrix)
    if frames.shape[1:] != (internal.n_atoms, 3):
        raise InputError(
            f"training coordinates of shape {tuple(frames.shape)}: the Z-matrix needs (frames, {internal.n_atoms}, 3)"
        )
    bonds = internal(frames)[:, : internal.n_atoms - 1]
    coordinates = internal if core is None else MixedCoordinates.fit(zmatrix, core, frames)
    y = coordinates(frames)
    if rotors:
        folded = Rotors.fit(coordinates.placement.rows, rotors, y, coordinates.sizes)
        y = folded(y)
    numbers = sum(coordinates.sizes[:3])
    centre, rotating = circular_torsions(y[:, numbers:])
    unbound = Unbound(centre, rotating, coordinates.sizes)
    circular = torch.cat((rotating.new_zeros(numbers), rotating))
    whiten = (Whiten.fit if decorrelate else Whiten.standardise)(unbound(y), circular)
    rigid = internal.zmatrix[1:, :2][bonds.std(0) < 1e-4 * bonds.mean(0)].tolist()
    if rigid:
        raise InputError(f"bonds {rigid} have a constant length in the training frames: simulate without constraints")
    first = Composed(coordinates, folded) if rotors else coordinates
    return NormalizingFlow(MixedBase(circular), Composed(first, unbound, whiten, stack(circular)))
