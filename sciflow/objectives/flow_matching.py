"""Regress the velocity of a path."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..manifolds import tree_map
from ..nets import Field
from ..paths import Pair, Path
from ..rng import Generator
from .times import EQUAL, stratified

__all__ = ["FlowMatching"]


@dataclass(frozen=True)
class FlowMatching:
    r"""Conditional flow matching: the squared Riemannian distance between the field and the path's velocity.

    .. math:: \ell_b = w_b \sum_E \lVert v(x_t, t) - u_t \rVert^2_{x_t}, \qquad t \sim \text{time}(U[0, 1))

    Its minimiser is ``E[u_t | x_t]``, whose flow carries the source to the data (Lipman et al. 2022,
    arXiv:2210.02747; on manifolds Chen, Lipman 2023, arXiv:2302.03660). Where the conditions hold ``mask (B, N)``, E is
    its real points: padding costs nothing.

    ``time`` maps uniform numbers ``(B,)`` to times, to spend more of them where the field is hard; it changes the
    weight of the times, not the minimiser. The uniform numbers are stratified: one in each of B equal parts of [0, 1).

    With ``noise`` σ > 0 a path ends at ``exp_{x1}(σz)``, z standard normal: the flow goes to the data seen through that
    kernel, which keeps a long training on few data from ending in spikes.
    """

    time: Callable[[Tensor], Tensor] = EQUAL
    noise: float = 0.0

    def __call__(self, field: Field, path: Path, pair: Pair, generator: Generator = None) -> Tensor:
        """Losses ``(B,)``, weighted sample by sample and not reduced; conditions go to the field by name."""
        weight = pair.weight
        t = self.time(stratified(weight, generator))
        with torch.autocast(weight.device.type, enabled=False):  # mixed precision is for networks, not for geodesics
            x1 = pair.x1
            if self.noise:
                z = path.manifold.randn_tangent(x1, generator)
                x1 = path.manifold.expmap(x1, tree_map(lambda leaf: self.noise * leaf, z))
            drawn = path.sample(pair.x0, x1, t, generator)
        error = tree_map(Tensor.sub, field.velocity(drawn.x_t, t, **pair.cond), drawn.u_t)
        squared = path.manifold.inner(drawn.x_t, error, error)
        if "mask" in pair.cond:
            squared = squared * pair.cond["mask"]
        return weight * squared.reshape(len(weight), -1).sum(-1)
