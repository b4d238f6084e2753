"""Errors of what correlated draws say: whole chains are drawn again, not their draws."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..rng import step_generator

__all__ = ["bootstrap", "mbar_covariance"]


def bootstrap(
    statistic: Callable[..., float], values: Sequence[Tensor], chains: Sequence[Tensor], seed: int = 0, draws: int = 200
) -> tuple[float, float | None]:
    """A statistic of sets of draws and its standard error; None where a set is of less than two chains.

    Of each set as many chains as there are come with replacement, with all of their draws. That is too narrow by
    (C − 1)/C in variance, of the set with the fewest chains C: the error is that much larger.

    Args:
        statistic: of as many tensors as there are sets.
        values: of each set, ``(n, …)``; sets are drawn independently of each other.
        chains: of each of its draws, ``(n,)``: what is correlated, or the same, has one number.

    Source: Efron 1979, https://doi.org/10.1214/aos/1176344552; of clusters Davison, Hinkley 1997, ch. 3.8.
    """
    generator = step_generator(seed)
    members = [[(chain == k).nonzero().flatten() for k in chain.unique()] for chain in chains]
    fewest = min(map(len, members))
    value = statistic(*values)
    if fewest < 2:
        return value, None
    again = []
    for _ in range(draws):
        picked = [torch.randint(len(part), (len(part),), generator=generator).tolist() for part in members]
        index = [torch.cat([part[k] for k in pick]) for part, pick in zip(members, picked, strict=True)]
        again.append(statistic(*(x[i] for x, i in zip(values, index, strict=True))))
    spread = torch.tensor(again, dtype=torch.float64).std(correction=0)
    return value, float(spread) * (fewest / (fewest - 1)) ** 0.5


def mbar_covariance(energies: Tensor, delta_f: Tensor, ensembles: Tensor, chains: Tensor) -> Tensor:
    r"""Covariance (K, K) of MBAR's free energies F_k − F_0 from chains of correlated draws.

    With P_k(x) = n_k exp(F_k − u_k(x)) / Σ_l n_l exp(F_l − u_l(x)), MBAR solves Σ_x P_k(x) = n_k. Its covariance is
    :math:`H^+ S H^+`, with H = Σ_x (diag P − P Pᵀ) and S the covariance of Σ_x P(x), in which the chains of an ensemble
    are independent and alike. For chains of one draw that is the usual one.

    Args:
        energies: u_k(x_n) ``(K, N)`` in kT.
        delta_f: F_k − F_0 ``(K,)`` by MBAR of them.
        ensembles, chains: of each draw, ``(N,)``; a chain has one ensemble.

    Source: Geyer 1994, "Estimating normalizing constants and reweighting mixtures", Univ. of Minnesota, TR 568.
    """
    counts = torch.bincount(ensembles, minlength=len(energies)).double()
    p = (counts.log()[:, None] + delta_f[:, None] - energies.double()).softmax(0).T  # (N, K)
    hessian = p.sum(0).diag() - p.T @ p
    spread = torch.zeros_like(hessian)
    for k in ensembles.unique():
        own = ensembles == k
        names = chains[own].unique(return_inverse=True)[1]
        total = p.new_zeros(int(names.max()) + 1, p.shape[1]).index_add_(0, names, p[own])
        size = torch.bincount(names).to(total)
        residual = total - size[:, None] * p[own].mean(0)
        spread += residual.T @ residual * len(total) / (len(total) - 1)
    inverse = torch.linalg.pinv(hessian, hermitian=True)
    covariance = inverse @ spread @ inverse
    return covariance - covariance[:1] - covariance[:, :1] + covariance[0, 0]
