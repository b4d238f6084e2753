"""How likely given letters are: lower bounds for samplers that draw them from posteriors."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Euclidean
from ..nets import FunctionField
from ..paths import CategoricalPath
from ..paths.categorical import log_floored
from ..rng import Generator, uniform
from .posterior import Denoise
from .rollout import Divergence, sample
from .steps import Dopri5

__all__ = ["token_bound"]


def token_bound(
    denoise: Denoise,
    tokens: Tensor,
    path: CategoricalPath,
    until: float | None = None,
    draws: int = 32,
    divergence: Divergence = "exact",
    cond: Mapping[str, Tensor] | None = None,
    generator: Generator = None,
) -> Tensor:
    r"""Unbiased draws ``(B,)`` of a lower bound of ``log P(x1)``, x1 the tokens ``(B, L)``.

    The model follows its path to the time T, and draws every letter there from its posterior ``p_T(x1 | x)``. So

    .. math:: \log P(x_1) ≥ E_{x ∼ p_T(x | x_1)} [\log p_T(x_1 | x)] − D_T

    where ``D_T = E[log p_T(x | x1) − log p_T(x)]`` on the simplex, with the density of the flow there, along its ODE
    in ``log x``, whose tolerances hold near vertices too, where letters are tiny coordinates of x: of independent
    letters and an exact posterior every draw is ``log P(x1)`` itself. On tokens it is the divergence of
    the process that leads to x1 from the model's, from the common source to T, with the rate a = κ̇/(1 − κ) and the
    posterior p at ``x_t ∼ p_t(x | x1)``:

    .. math:: D_T = \int_0^T a \; E \sum_i \begin{cases} −\log p(x_1^i) − p(x_t^i) & x_t^i ≠ x_1^i \\
       1 − p(x_t^i) & x_t^i = x_1^i \end{cases} \; dt,

    summed over the places that may be noise: of masks, ``−log p`` of those that are masked. Times are stratified and
    crowd near the end as ``t = 1 − v²``, where the variance of uniform ones is infinite.

    Args:
        until: T; 0.9999 for tokens, where later is tighter, and 0.9 on the simplex, whose densities are singular at 1.
        draws: of times and noise, each of one call of the network (on the simplex, of one ODE: take few).
        divergence: of the ODE on the simplex, as in ``log_prob``. ``"points"`` costs k pullbacks and is exact where
            sites are independent; Hutchinson's one has two to four times its error on trained networks.
        cond: passed to the posterior; places that ``mask (B, L)`` leaves out count nothing.

    Raises:
        ValueError: when ``until`` is not between 0 and 1.

    Source: rates: Campbell et al. 2022, arXiv:2205.14987; Shaul et al. 2024, arXiv:2412.03487; masks: Shi et al. 2024,
    arXiv:2406.04329; Sahoo et al. 2024, arXiv:2406.07524.
    """
    end = (0.9999 if path.discrete else 0.9) if until is None else until
    if not 0 < end < 1:
        raise ValueError(f"until={until} is no time between 0 and 1")
    known: dict[str, Any] = dict(cond or {})
    real = known["mask"].bool() if "mask" in known else torch.ones_like(tokens, dtype=torch.bool)
    if path.discrete:
        return _of_jumps(denoise, tokens, path, end, draws, known, real, generator)
    each = [_of_flow(denoise, tokens, path, end, divergence, known, real, generator) for _ in range(draws)]
    return torch.stack(each).mean(0)


def _of_jumps(
    denoise: Denoise,
    tokens: Tensor,
    path: Any,
    until: float,
    draws: int,
    known: dict[str, Tensor],
    real: Tensor,
    generator: Generator,
) -> Tensor:
    def noisy(t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x0 = path.prior.sample(*tokens.shape, generator=generator, device=tokens.device)
        x = path.sample(x0, tokens, t, generator).x_t
        p = denoise(x, t, **known)
        log_letter = p.gather(-1, tokens[..., None])[..., 0].log()
        stays = p.gather(-1, x.clamp_max(path.k - 1)[..., None])[..., 0] * (x < path.k)
        counted = real & path.uncertain(x)
        cost = torch.where(x != tokens, -log_letter - stays, 1 - stays)
        return x, log_letter.where(counted, 0).sum(-1), cost.where(counted, 0).sum(-1)

    least = (1 - until) ** 0.5
    bound = 0.0
    for j in range(draws):
        u = (j + uniform(len(tokens), generator=generator, device=tokens.device)) / draws
        v = least + (1 - least) * u
        t = 1 - v.square()
        rate = path.schedule.dkappa(t) / path.schedule.ahead(t)
        bound = bound - 2 * (1 - least) / draws * v * rate * noisy(t)[2]
    return bound + noisy(torch.full_like(t, until))[1]


def _of_flow(
    denoise: Denoise,
    tokens: Tensor,
    path: CategoricalPath,
    until: float,
    divergence: Divergence,
    known: dict[str, Tensor],
    real: Tensor,
    generator: Generator,
) -> Tensor:
    x0 = path.prior.sample(*tokens.shape, generator=generator, device=tokens.device)
    t = x0.new_full((len(x0),), until)
    inside = real[..., None]
    x = path.sample(x0, tokens, t, generator).x_t.where(inside, x0)  # padding stays at its source, which cancels

    def velocity(z: Tensor, t: Tensor) -> Tensor:
        x = z.softmax(-1)
        v = path.velocity(denoise(x, t, **known), x, t)
        return (v / x.clamp_min(torch.finfo(x.dtype).tiny)).where(inside, 0)

    def letter(logs: Tensor) -> Tensor:
        return logs.gather(-1, tokens[..., None])[..., 0]

    field, grid, z = FunctionField(Euclidean(path.k), velocity), torch.tensor([until, 0.0]), log_floored(x)
    back = sample(field, z, grid, Dopri5(), track_logq=True, generator=generator, divergence=divergence)
    assert isinstance(back.x, Tensor)
    assert back.logq is not None
    density = path.prior.log_prob(back.x.softmax(-1)) - back.logq
    conditional = letter(path.log_conditional(x, t).where(inside, path.log_conditional(x, 0 * t)))
    decoded = letter(denoise(x, t, **known).log()).where(real, 0)
    volume = _log_volume(back.x) - _log_volume(z)
    return density + (decoded - conditional + volume).sum(-1)


def _log_volume(z: Tensor) -> Tensor:
    """``log k Π x_i`` (B, L): the volume of the simplex, of that of centred logits; ``x = softmax(z)``."""
    return z.log_softmax(-1).sum(-1) + math.log(z.shape[-1])
