"""Laws of the tracked density: symmetries, hooks, batches, gradients."""

import pytest
import torch

from sciflow.errors import InputError
from sciflow.manifolds import (
    SO3,
    SPD,
    Ball,
    Euclidean,
    FlatTorus,
    Hyperbolic,
    Normal,
    Product,
    Simplex,
    Sphere,
    tree_map,
)
from sciflow.manifolds.quaternion import rotate
from sciflow.nets import EGNNField, FunctionField, MLPField
from sciflow.rng import sample_generators
from sciflow.sampling import RK4, log_prob, sample

F64 = torch.float64


def grid(n, start=0.0, end=1.0):
    return torch.linspace(start, end, n + 1, dtype=F64)


def test_hutchinson_is_exact_for_diagonal_fields():
    """Signs square to one, so only off-diagonal terms of the Jacobian make noise."""
    rates = torch.tensor([0.5, -2.0, 1.0], dtype=F64)
    field = FunctionField(Euclidean(3), lambda x, t: rates * x)
    x1 = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    exact = log_prob(field, x1, Normal(3))
    estimate = log_prob(field, x1, Normal(3), divergence="hutchinson", generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(estimate, exact, rtol=0, atol=1e-12)


def test_by_points_is_exact_where_points_do_not_meet_and_unbiased_where_they_do():
    """Whole matrices act within a point; between points the mean over signs is the exact value."""
    inside, across = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=F64)

    def density(coupling, divergence, n):
        field = FunctionField(Euclidean(3), lambda x, t: (x @ inside).sin() + coupling * (x.flip(-2) @ across).sin())
        x1 = torch.linspace(-1, 1, 6, dtype=F64).view(1, 2, 3).expand(n, -1, -1).contiguous()
        generator = torch.Generator().manual_seed(1)
        return log_prob(field, x1, Normal(3), divergence, RK4(), grid(8, 1.0, 0.0), generator=generator)

    torch.testing.assert_close(density(0, "points", 1), density(0, "exact", 1), rtol=0, atol=1e-12)
    values = density(0.5, "points", 40).round(decimals=9).unique()
    assert len(values) == 2  # two points' signs are alike, or not
    torch.testing.assert_close(values.mean(), density(0.5, "exact", 1)[0], rtol=0, atol=1e-8)


def test_sample_does_not_depend_on_its_batch():
    """One generator a sample: sample i is the same alone and among others, source, probe and log q."""
    torch.manual_seed(0)
    manifold = Product(r=Euclidean(3), q=SO3())
    field = MLPField(manifold, (2,), width=16, depth=1).double()

    def run(start, n):
        generators = sample_generators(7, start, n)
        x0 = manifold.random(n, 2, generator=generators, dtype=F64)
        return sample(field, x0, grid(4), RK4(), track_logq=True, generator=generators, divergence="hutchinson")

    among, alone = run(0, 5), run(3, 1)
    for name in among.x:
        torch.testing.assert_close(among.x[name][3:4], alone.x[name], rtol=0, atol=1e-13)
    torch.testing.assert_close(among.logq[3:4], alone.logq, rtol=0, atol=1e-13)


def test_hooks_compose_left_to_right_and_their_divergence_is_tracked():
    """Doubling then damping x ↦ x gives rate 2 − 1; log q falls by d times that, whatever the field alone would do."""
    field = FunctionField(Euclidean(2), lambda x, t, gain: gain[:, None] * x)
    seen = []

    def double(velocity):
        seen.append("double")
        return lambda x, t, **cond: 2 * velocity(x, t, **cond)

    def damp(velocity):
        seen.append("damp")
        return lambda x, t, **cond: velocity(x, t, **cond) - x

    x0 = torch.randn(3, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    cond = {"gain": torch.tensor([1.0, 1.0, 0.5], dtype=F64)}
    run = sample(field, x0, grid(40), RK4(), hooks=(double, damp), track_logq=True, cond=cond)
    rate = 2 * cond["gain"] - 1
    torch.testing.assert_close(run.x, rate.exp()[:, None] * x0, rtol=1e-7, atol=0)
    torch.testing.assert_close(run.logq, -2 * rate, rtol=1e-7, atol=0)
    assert seen == ["double", "damp"]
    assert run.logw is None
    assert run.nfe == 160


def test_molecule_density_is_on_the_centred_subspace_and_invariant():
    """A turned molecule is as likely; padding changes nothing."""
    torch.manual_seed(0)
    field = EGNNField([0, 0, 1, 2], width=8, depth=2).double()
    prior = field.manifold.prior()
    x = field.manifold.random(3, 4, generator=torch.Generator().manual_seed(1), dtype=F64)
    q = SO3().random(generator=torch.Generator().manual_seed(2), dtype=F64)
    turned, plain = (log_prob(field, y, prior, step=RK4(), grid=grid(4, 1.0, 0.0)) for y in (rotate(q, x), x))
    torch.testing.assert_close(turned, plain, rtol=0, atol=1e-12)

    padded = torch.cat([x, torch.zeros(3, 2, 3, dtype=F64)], 1)
    cond = {
        "mask": torch.tensor([[1, 1, 1, 1, 0, 0]]).bool().expand(3, -1),
        "atom_types": torch.tensor([[0, 0, 1, 2, 0, 0]]).expand(3, -1),
    }
    ragged = sample(field, padded, grid(4), RK4(), track_logq=True, cond=cond)
    dense = sample(field, x, grid(4), RK4(), track_logq=True)
    torch.testing.assert_close(ragged.x[:, :4], dense.x, rtol=0, atol=1e-12)
    torch.testing.assert_close(ragged.logq, dense.logq, rtol=0, atol=1e-12)


def test_likelihood_trains_parameters():
    """d/dθ of mean log p at the maximum of the likelihood vanishes; away from it, it points there."""
    x1 = 2 * torch.randn(2000, 1, generator=torch.Generator().manual_seed(0), dtype=F64)
    best = float(x1.square().mean().sqrt().log())  # flow of v = θx is e^θ x0
    for theta, sign in ((best, 0), (best - 0.2, 1), (best + 0.2, -1)):
        rate = torch.tensor(theta, dtype=F64, requires_grad=True)
        field = FunctionField(Euclidean(1), lambda x, t, rate=rate: rate * x)
        log_prob(field, x1.clone().requires_grad_(), Normal(1), step=RK4(), grid=grid(16, 1.0, 0.0)).mean().backward()
        assert float(rate.grad.sign()) == sign if sign else abs(float(rate.grad)) < 1e-5


@pytest.mark.parametrize("divergence", ["exact", "hutchinson"])
@pytest.mark.parametrize(
    "manifold",
    [
        SPD(3),
        Simplex(3),
        Product(x=Euclidean(1), s=Sphere(2), a=FlatTorus(1), q=SO3(), h=Hyperbolic(2), c=SPD(2), b=Ball(2)),
    ],
    ids=str,
)
def test_gradients_of_a_likelihood_are_its_differences(manifold, divergence):
    """Every operation of every manifold is differentiated twice, the first time in a batch of directions."""
    torch.manual_seed(0)
    field = MLPField(manifold, width=8, depth=1).double()
    x = manifold.random(4, generator=torch.Generator().manual_seed(1), dtype=F64)
    x = tree_map(lambda part: part.requires_grad_(), x)

    def loss():
        probe = torch.Generator().manual_seed(2)
        return log_prob(field, x, manifold.prior(), divergence, RK4(), grid(2, 1.0, 0.0), generator=probe).mean()

    weight, step = field.inward.weight, 1e-5
    (slope,) = torch.autograd.grad(loss(), weight)
    direction = slope / slope.norm()
    with torch.no_grad():
        weight += step * direction
        ahead = float(loss())
        weight -= 2 * step * direction
        difference = (ahead - float(loss())) / (2 * step)
    assert difference == pytest.approx(float(slope.norm()), rel=1e-8)  # step² + rounding/step


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"grid": grid(4)}, "falling"),
        ({"grid": torch.ones(1)}, "falling"),
        ({"divergence": "Hutchinson"}, "exact, hutchinson"),
    ],
)
def test_what_would_pass_for_a_density_is_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        log_prob(FunctionField(Euclidean(1), lambda x, t: x), torch.ones(1, 1, dtype=F64), Normal(1), **wrong)
