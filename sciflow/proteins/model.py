"""A model of proteins: a field of endpoints, trained on what tasks hide, sampled around what they give.

States are padded, with a point of rest beyond each protein (``tensors.padded``). ``cond["x"]`` holds what is known.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Product, tree_map
from ..nets import Field
from ..objectives.times import stratified
from ..paths import GeodesicPath
from ..rng import Generator, uniform
from ..sampling import PathEuler
from ..training import Model, Samples
from .guidance import Motif, Steered
from .losses import ProteinLoss
from .sources import ProteinCoupler, ProteinPrior, State, hold, origin
from .tasks import FACTORS
from .tensors import padded

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


class ProteinModel(Model):
    """Flow matching of frames, torsions and sequences, with self-conditioning.

    Args:
        field: ``denoise(x, t, previous=None, **conditions)`` gives endpoints, ``toward(end, x, t, …)`` the velocity.
        path: on the product of ``translation``, ``rotation``, and where they are generated ``torsions``, ``sequence``.
        scale: [nm] of the normal law that translations start from.
        tasks: how often each task is drawn in training, see ``tasks.TASKS``.
        loss: weights of its terms.
    """

    def __init__(
        self, field: Field, path: GeodesicPath, scale: float, tasks: Mapping[str, float], loss: ProteinLoss
    ) -> None:
        super().__init__()
        assert isinstance(path.manifold, Product)
        self.field: Any = field
        self.path = path
        self.manifold = path.manifold
        self.prior = ProteinPrior(path.manifold, scale)
        self.tasks = dict(tasks)
        self.objective = loss

    @property
    def coupler(self) -> ProteinCoupler:  # type: ignore[override]
        return ProteinCoupler(self.prior, self.tasks)

    def loss(self, batch: Mapping[str, Any], generator: torch.Generator) -> Tensor:
        """Of a coupled batch; a plain one (``x``, ``mask``, ``residue_index``, ``chain``, …) is coupled first.

        ``context (B, N)`` in it marks residues of which everything is given, whatever the task.
        """
        coupled = batch if "weight" in batch else self.coupler(batch, generator)
        weight, cond = coupled["weight"], self._conditions(coupled)
        t = stratified(weight, generator)
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
        calls = len(grid) - 1 if grid is not None else steps
        x0, *_, x = self.flow(cond, generator, steps=steps, grid=grid)
        return Samples(x, None, calls, x0=x0)

    @torch.no_grad()
    def flow(
        self, cond: dict[str, Any], generator: Generator = None, *, steps: int = 50, grid: Tensor | None = None
    ) -> Iterator[State]:
        """The states of :meth:`sample` at every time of its grid, from the sources to the samples."""
        like = next(self.parameters(), torch.empty(0))
        cond = {name: tree_map(lambda leaf: leaf.to(like.device), value) for name, value in cond.items()}
        mask = cond["mask"]
        known = {name: mask & cond.get(name, False) for name in set(FACTORS.values())}
        given = self._shown(cond, known, like.dtype)
        centre = origin(given["translation"], known["known_frames"], mask)
        held = given | {"translation": given["translation"] - centre}
        x = hold(self.prior.sample(mask, known["known_frames"], generator, like.dtype), held, known)
        times = (torch.linspace(0, 1, steps + 1) if grid is None else grid).to(like)
        steered = Steered(self.field, self._conditions(cond | known), self._motif(cond, like.dtype))
        step = PathEuler(self.field.path)

        def absolute(x: State) -> State:
            return padded(hold(x | {"translation": x["translation"] + centre}, given, known), mask)

        yield absolute(x)
        for t, h in zip(times[:-1], times.diff(), strict=True):
            moved: Any = step(steered.velocity, self.manifold, x, t.expand(len(mask)), h)
            x = padded(hold(moved, held, known), mask)
            yield absolute(x)

    def _conditions(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        typed = "torsions" in self.manifold.factors and "sequence" not in self.manifold.factors
        return {name: batch[name] for name in CONDITIONS if name in batch and (typed or name != "aatype")}

    def _shown(self, cond: Mapping[str, Any], known: Mapping[str, Tensor], dtype: torch.dtype) -> State:
        """The known part of ``cond["x"]``, and rest elsewhere: what is hidden is not even read."""
        mask, shapes = cond["mask"], self.manifold.point_shape
        x = {name: torch.zeros(*mask.shape, *shape, dtype=dtype, device=mask.device) for name, shape in shapes.items()}
        rest = padded(x, torch.zeros_like(mask))
        return hold(rest, {name: cond["x"][name].to(dtype) for name in rest}, known) if "x" in cond else rest

    def _motif(self, cond: Mapping[str, Any], dtype: torch.dtype) -> Motif | None:
        if "guidance" not in cond or not cond["guidance"].any():
            return None
        frames = {name: cond["x"][name].to(dtype) for name in ("translation", "rotation")}
        return Motif(frames, cond["motif"] & cond["mask"], cond["guidance"].to(dtype))
