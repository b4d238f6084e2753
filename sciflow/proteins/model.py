"""A model of proteins: a field of endpoints, trained on what tasks hide, sampled around what they give.

States are padded, with a point of rest beyond each protein (``tensors.padded``). ``cond["x"]`` holds what is known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Product, tree_map
from ..nets import Field, FunctionField
from ..objectives.times import stratified
from ..paths import GeodesicPath
from ..rng import Generator, uniform
from ..sampling import PathEuler, optimal_grid
from ..training import Model, Samples
from .guidance import Motif, Steered
from .losses import ProteinLoss
from .sources import Given, ProteinCoupler, ProteinPrior, State, hold

__all__ = ["CONDITIONS", "ProteinModel"]

#: What the field is told. The types of residues are among it only where a model has no sequence to generate.
CONDITIONS = (
    "mask",
    "residue_index",
    "chain",
    "aatype",
    "torsion_mask",
    "known_frames",
    "known_torsions",
    "known_sequence",
)


CANDIDATES = 64  # steps between which an optimal grid chooses
ARM = 0.15  # nm that a radian moves an atom


class ProteinModel(Model):
    """Flow matching of frames, torsions and sequences, with self-conditioning.

    Args:
        field: ``denoise(x, t, previous=None, **conditions)`` gives endpoints, ``toward(end, x, t, …)`` the velocity.
        path: on the product of ``translation``, ``rotation``, and where they are generated ``torsions``, ``sequence``.
        scale: [nm] of the normal law that translations start from.
        tasks: how often each task is drawn in training, see ``tasks.TASKS``.
        loss: weights of its terms.
        earliness: training draws the times ``u ** earliness``, u uniform: above 1 it dwells where samples start.
    """

    def __init__(
        self,
        field: Field,
        path: GeodesicPath,
        scale: float,
        tasks: Mapping[str, float],
        loss: ProteinLoss,
        earliness: float = 1.0,
    ) -> None:
        super().__init__()
        assert isinstance(path.manifold, Product)
        self.field: Any = field
        self.path = path
        self.manifold = path.manifold
        self.prior = ProteinPrior(path.manifold, scale)
        self.tasks = dict(tasks)
        self.objective = loss
        self.earliness = earliness

    @property
    def coupler(self) -> ProteinCoupler:  # type: ignore[override]
        return ProteinCoupler(self.prior, self.tasks)

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        """Of a coupled batch; a plain one (``x``, ``mask``, ``residue_index``, ``chain``, …) is coupled first.

        ``context (B, N)`` in it marks residues of which everything is given, whatever the task.
        """
        coupled = batch if "weight" in batch else self.coupler(batch, generator)
        weight, cond = coupled["weight"], self._conditions(coupled)
        t = stratified(weight, generator) ** self.earliness
        with torch.autocast(weight.device.type, enabled=False):  # mixed precision is for networks, not for geodesics
            drawn = self.path.sample(coupled["x0"], coupled["x"], t)
            drawn = replace(drawn, x_t=hold(drawn.x_t, coupled["x"], coupled))
        previous = None
        if uniform(1, generator=generator, device=weight.device) < 0.5:
            with torch.no_grad():
                previous = self.field.denoise(drawn.x_t, t, **cond)
        end = tree_map(lambda leaf: leaf.to(weight.dtype), self.field.denoise(drawn.x_t, t, previous=previous, **cond))
        with torch.autocast(weight.device.type, enabled=False):
            return weight * self.objective(self.path, end, drawn, coupled)

    @torch.no_grad()
    def sample(  # type: ignore[override]  # its solver settings, by name
        self,
        n: int,
        cond: dict[str, Any] | None = None,
        generator: Generator = None,
        *,
        steps: int = 50,
        grid: Tensor | None = None,
    ) -> Samples:
        """Proteins of given lengths around what is known of them.

        Args:
            cond: ``mask``, ``residue_index``, ``chain`` ``(n, N)`` and, where something is known, masks ``known_…``
                and the state ``x`` that holds it: samples have it bit by bit, and nothing else of ``x`` enters. For
                guidance ``motif (n, N)``, its frames in ``x``, and ``guidance (n,)``, how hard they pull; 0 is none.
            steps: equal time steps from 0 to 1, where ``grid`` does not give the times.
        """
        if cond is None:
            raise ValueError("cond: a protein needs its mask, residue_index and chain")
        given, times = self._given(cond), self._times(steps, grid)
        x0 = given.kept(self.prior.sample(given.mask, given.known["known_frames"], generator, times.dtype))
        *_, x = self._follow(x0, given, cond, times)
        return Samples(given.absolute(x), None, len(times) - 1, x0=given.absolute(x0))

    @torch.no_grad()
    def trajectory(
        self, x0: State, cond: dict[str, Any], *, steps: int = 50, grid: Tensor | None = None
    ) -> list[State]:
        """The states on the way from sources ``x0`` of :meth:`sample`, at every time."""
        given = self._given(cond)
        return [given.absolute(x) for x in self._follow(given.relative(x0), given, cond, self._times(steps, grid))]

    @torch.no_grad()
    def optimal_grid(  # type: ignore[override]  # as ``sample``
        self, n: int, cond: dict[str, Any] | None = None, generator: Generator = None, *, steps: int = 50
    ) -> Tensor:
        """Times of ``steps`` steps that err least, as :meth:`sample` takes them: each reads the endpoints before it."""
        if cond is None:
            raise ValueError("cond: a protein needs its mask, residue_index and chain")
        given, fine = self._given(cond), self._times(max(CANDIDATES, 2 * steps), None)
        x0 = given.kept(self.prior.sample(given.mask, given.known["known_frames"], generator, fine.dtype))
        field = FunctionField(self.manifold, self._steered(given, cond).velocity)
        step = self._step(given)
        return optimal_grid(field, x0, steps, fine, step, along=step, dist=self._apart)

    def _apart(self, x: State, y: State) -> Tensor:
        """How far [nm] the atoms of residues ``(B, N)`` are moved from one state to the other, about."""
        scales = {"translation": 1.0} | {name: ARM for name in self.manifold.factors if name != "translation"}
        parts = [scales[k] * f.dist(x[k], y[k]) for k, f in self.manifold.factors.items()]
        return torch.stack(parts).norm(dim=0)

    def _follow(self, x: State, given: Given, cond: Mapping[str, Any], times: Tensor) -> Iterator[State]:
        """States about the centre of what is given, from ``x`` on."""
        steered, step = self._steered(given, cond), self._step(given)
        yield x
        for t, h in zip(times[:-1], times.diff(), strict=True):
            x = step(steered.velocity, self.manifold, x, t.expand(len(given.mask)), h)
            yield x

    def _steered(self, given: Given, cond: Mapping[str, Any]) -> Steered:
        motif = self._motif(cond, given.centre.dtype)
        return Steered(self.field, self._conditions({**cond, **given.known}), motif)

    def _step(self, given: Given) -> Any:
        """A step as far as the path goes, that leaves what is given."""
        step: Any = PathEuler(self.field.path)
        return lambda *at: given.kept(step(*at))

    def _given(self, cond: Mapping[str, Any]) -> Given:
        return Given(cond, self.manifold, self._times(1, None).dtype)

    def _times(self, steps: int, grid: Tensor | None) -> Tensor:
        like = next(self.parameters(), torch.empty(0))
        return (torch.linspace(0, 1, steps + 1) if grid is None else grid).to(like)

    def _conditions(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        typed = "torsions" in self.manifold.factors and "sequence" not in self.manifold.factors
        return {name: batch[name] for name in CONDITIONS if name in batch and (typed or name != "aatype")}

    def _motif(self, cond: Mapping[str, Any], dtype: torch.dtype) -> Motif | None:
        if "guidance" not in cond or not cond["guidance"].any():
            return None
        frames = {name: cond["x"][name].to(dtype) for name in ("translation", "rotation")}
        return Motif(frames, cond["motif"] & cond["mask"], cond["guidance"].to(dtype))
