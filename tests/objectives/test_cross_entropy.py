"""Laws of the cross-entropy of letters, and of the clock that a path's information gives."""

import math

import pytest
import torch

from sciflow.nets import FunctionField
from sciflow.objectives import CrossEntropy, InformationClock
from sciflow.paths import Cosine, FisherPath, GumbelSoftmaxPath, LinearSimplexPath, MaskingPath, Pair, UniformPath

F64 = torch.float64
K, N = 3, 5000
LAW = torch.tensor([[0.3, 0.0, 0.1], [0.05, 0.2, 0.0], [0.0, 0.1, 0.25]], dtype=F64)  # of two letters, not independent


class Exact(FunctionField):
    """The posterior of two letters of a joint law, by Bayes' rule."""

    def __init__(self, path: object, law: torch.Tensor = LAW) -> None:
        super().__init__(path.manifold, lambda x, t: x)  # type: ignore[attr-defined, arg-type]
        self.path, self.law = path, law

    def log_posterior(self, x: torch.Tensor, t: torch.Tensor, **cond: torch.Tensor) -> torch.Tensor:
        said = self.path.log_conditional(x, t).clamp_min(-1e6)  # type: ignore[attr-defined]
        joint = said[:, 0, :, None] + said[:, 1, None, :] + self.law.log()
        return torch.stack([joint.logsumexp(2), joint.logsumexp(1)], 1).log_softmax(-1)


def pair(path: object, generator: torch.Generator, n: int = N, **cond: torch.Tensor) -> Pair:
    place = torch.multinomial(LAW.flatten(), n, replacement=True, generator=generator)
    x1 = torch.stack([place // K, place % K], 1)
    x0 = path.prior.sample(n, 2, generator=generator, dtype=F64)  # type: ignore[attr-defined]
    return Pair(x0, x1, torch.ones(n, dtype=F64), cond)


def test_on_masks_the_loss_at_late_times_is_the_negative_log_likelihood() -> None:
    """With the exact posterior the bound is tight in the mean: the entropy of the joint law.

    Times of density ∝ 1/(1 − t), as far as 1 − e⁻⁶, where masks are left to a thousandth of the entropy.
    """
    path, generator = MaskingPath(K), torch.Generator().manual_seed(0)
    objective = CrossEntropy(time=lambda u: -torch.expm1(-6 * u))
    loss = 6 * objective(Exact(path), path, pair(path, generator, 4 * N), generator)
    entropy = -(LAW[LAW > 0] * LAW[LAW > 0].log()).sum()
    assert (loss.mean() - entropy).abs() < 4 * loss.std() / math.sqrt(4 * N)
    assert loss.std() / math.sqrt(4 * N) < 0.03 * entropy


@pytest.mark.parametrize("path", [MaskingPath(K), UniformPath(K), FisherPath(K), GumbelSoftmaxPath(K)], ids=repr)
def test_the_posterior_of_the_data_is_the_least(path: object) -> None:
    """Bayes' rule with the law of the data beats Bayes' rule with any law near it, on the same draws."""
    losses = []
    other = LAW * torch.rand(8, K, K, dtype=F64, generator=torch.Generator().manual_seed(1)).add(0.5)
    for law in (LAW, *(each / each.sum() for each in other)):
        generator = torch.Generator().manual_seed(0)
        losses.append(CrossEntropy()(Exact(path, law), path, pair(path, generator), generator).mean())
    assert all(losses[0] < other for other in losses[1:])


def test_hidden_places_and_weights_count_as_they_say() -> None:
    path, n = GumbelSoftmaxPath(K), 200

    def losses(weight: torch.Tensor, **cond: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        drawn = pair(path, generator, n, **cond)
        return CrossEntropy()(Exact(path), path, Pair(drawn.x0, drawn.x1, weight, drawn.cond), generator)

    weight = torch.arange(1.0, n + 1, dtype=F64)
    whole = losses(torch.ones(n, dtype=F64))
    first, second = (losses(weight, mask=torch.tensor([[k == 0, k == 1]] * n)) for k in (0, 1))
    assert first.mean() > 0 < second.mean()
    torch.testing.assert_close(first + second, weight * whole)


@pytest.mark.parametrize("path", [UniformPath(4), FisherPath(4), LinearSimplexPath(4), GumbelSoftmaxPath(4)], ids=repr)
def test_the_clock_tells_as_much_in_every_part(path: object) -> None:
    """Against an independent estimate of the information at three times, from other draws."""
    clock = InformationClock(path)  # type: ignore[arg-type]
    u = torch.linspace(0, 1, 5, dtype=F64)
    times = clock(u)
    assert times[0] == 0
    assert times[-1] == 1
    torch.testing.assert_close(clock.fraction(times), u, rtol=0, atol=1e-6)
    generator, n = torch.Generator().manual_seed(5), N
    x1 = torch.randint(4, (n, 1), generator=generator)
    x0 = path.prior.sample(n, 1, generator=generator, dtype=F64)  # type: ignore[attr-defined]
    for fraction, t in list(zip(u, times, strict=True))[1:-1]:
        at = t.expand(n)
        x = path.sample(x0, x1, at, generator).x_t  # type: ignore[attr-defined]
        logp = path.log_conditional(x, at).clamp_min(-1e6).log_softmax(-1)  # type: ignore[attr-defined]
        told = 1 + (logp.exp() * logp).sum(-1).mean() / math.log(4)
        assert abs(told - fraction) < 0.04  # 4096 draws there, 5000 here: five standard errors


def test_a_path_that_tells_nothing_more_has_no_clock() -> None:
    """The published Gumbel-softmax path is one invertible map of its state at any time."""
    with pytest.raises(ValueError, match="GumbelSoftmaxPath tells no more"):
        InformationClock(GumbelSoftmaxPath(4, "published"))


def test_schedules_do_not_count_on_the_clock() -> None:
    """Masks: what is told is κ."""
    u = torch.linspace(0, 1, 9, dtype=F64)
    kappa = Cosine().kappa(InformationClock(MaskingPath(5, Cosine()))(u))
    assert (kappa - u).abs().max() < 0.03
