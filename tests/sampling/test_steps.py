"""Laws of the steps: order of convergence on every manifold, exactness, reversal."""

import math

import pytest
import torch

from sciflow.errors import InputError
from sciflow.manifolds import SO3, SPD, Euclidean, FlatTorus, Hyperbolic, Product, Simplex, Sphere, tree_map
from sciflow.nets import FunctionField, MLPField
from sciflow.paths import Cosine, Exponential, GeodesicPath, Linear
from sciflow.sampling import RK4, Dopri5, Euler, Midpoint, PathEuler, sample

MANIFOLDS = {
    "euclidean": (Euclidean(2), ()),
    "centered": (Euclidean(3, centered=True), (3,)),
    "sphere": (Sphere(2), (2,)),
    "torus": (FlatTorus(2), ()),
    "so3": (SO3(), (2,)),
    "hyperbolic": (Hyperbolic(2), (2,)),
    "spd": (SPD(2), ()),
    "product": (Product(r=Euclidean(3), q=SO3(), s=Sphere(2), a=FlatTorus(1)), ()),
}


@pytest.fixture(params=MANIFOLDS)
def flow(request):
    """A smooth field that depends on place and time, and three points."""
    manifold, event = MANIFOLDS[request.param]
    g = torch.Generator().manual_seed(3)

    def velocity(x, t):
        def part(m, x):
            f = m.coordinates(x)
            weight = torch.randn(f.shape[-1], math.prod(m.tangent_shape), generator=g.manual_seed(5), dtype=f.dtype)
            wave = torch.sin(f @ weight + t.reshape(-1, *(1,) * (f.ndim - 1)))
            return m.proju(x, (wave + (wave.roll(1, 1) if event else 0)).unflatten(-1, m.tangent_shape))

        if isinstance(manifold, Product):
            return {name: part(m, x[name]) for name, m in manifold.factors.items()}
        return part(manifold, x)

    return FunctionField(manifold, velocity), manifold.random(3, *event, generator=g, dtype=torch.float64)


def grid(n, start=0.0, end=1.0):
    return torch.linspace(start, end, n + 1, dtype=torch.float64)


def gap(manifold, x, y):
    return float(manifold.dist(x, y).max())


@pytest.mark.parametrize(("step", "order", "n"), [(Euler(), 1, 64), (Midpoint(), 2, 32), (RK4(), 4, 16)])
@pytest.mark.parametrize("track_logq", [False, True])
def test_order(flow, step, order, n, track_logq):
    """Halving the step divides the error by 2^order, of the states and of log q alike."""
    field, x0 = flow
    exact = sample(field, x0, grid(1), Dopri5(1e-12, 1e-12), track_logq=track_logq)
    coarse, fine = (sample(field, x0, grid(k), step, track_logq=track_logq) for k in (n, 2 * n))
    errors = [gap(field.manifold, r.x, exact.x) for r in (coarse, fine)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)  # next order: h ≈ 1/50 relative
    if track_logq:
        errors = [float((r.logq - exact.logq).abs().max()) for r in (coarse, fine)]
        assert math.log2(errors[0] / errors[1]) > order - 0.35


@pytest.mark.parametrize("span", [(0.0, 1.0), (0.9, 0.2)], ids=str)
def test_dopri5_error_is_its_tolerance(flow, span):
    """Of states and log q, forwards, backwards and from anywhere: the tolerance up to a small factor, as it falls."""
    field, x0 = flow
    exact = sample(field, x0, grid(1, *span), Dopri5(1e-11, 1e-11), track_logq=True)
    tolerances = [1e-4, 1e-6, 1e-8]
    runs = [sample(field, x0, grid(1, *span), Dopri5(tol, tol), track_logq=True) for tol in tolerances]
    errors = [gap(field.manifold, run.x, exact.x) for run in runs]
    assert all(error < 20 * tol for error, tol in zip(errors, tolerances, strict=True))
    assert all(float((r.logq - exact.logq).abs().max()) < 20 * tol for r, tol in zip(runs, tolerances, strict=True))
    assert errors == sorted(errors, reverse=True)
    assert runs[0].nfe < runs[1].nfe < runs[2].nfe


@pytest.mark.parametrize(
    ("step", "n", "tolerance"), [(Midpoint(), 64, 2e-3), (RK4(), 32, 5e-6), (Dopri5(1e-9, 1e-9), 1, 1e-7)]
)
def test_reversed_grid_inverts(flow, step, n, tolerance):
    """There and back again, to the order of the step; log q comes back as well."""
    field, x0 = flow
    there = sample(field, x0, grid(n, 0.2, 0.9), step, track_logq=True)
    back = sample(field, there.x, grid(n, 0.9, 0.2), step, track_logq=True, logq0=there.logq)
    assert gap(field.manifold, back.x, x0) < tolerance
    assert back.logq.abs().max() < 10 * tolerance


@pytest.mark.parametrize("step", [Euler(), Midpoint(), RK4(), Dopri5()])
def test_states_stay_on_the_manifold(flow, step):
    field, x0 = flow
    x = sample(field, x0, grid(10), step).x
    tree_map(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=1e-13), x, field.manifold.projx(x))


def test_euler_lands_on_a_perfect_prediction(flow):
    """One step along the velocity of a geodesic ends at its end."""
    field, x0 = flow
    manifold = field.manifold
    x1 = tree_map(lambda x: x.flip(0), x0)
    straight = FunctionField(manifold, lambda x, t: manifold.logmap(x, x1))
    assert gap(manifold, sample(straight, x0, grid(1), Euler()).x, x1) < 1e-13


FACTORS = {
    "translation": (Euclidean(3), Linear()),
    "rotation": (SO3(), Exponential(10.0)),
    "torsions": (FlatTorus(5), Exponential(3.0)),
    "sequence": (Simplex(20), Linear()),
}


def perfect(factors, n=64, dtype=torch.float64):
    """Sources, ends, and the field that predicts the ends from anywhere; some rotations lie half a turn apart."""
    path = GeodesicPath(Product(**{k: m for k, (m, _) in factors.items()}), {k: s for k, (_, s) in factors.items()})
    g = torch.Generator().manual_seed(0)
    x0, x1 = (path.manifold.random(n, 2, generator=g, dtype=torch.float64) for _ in range(2))
    turn = torch.tensor([math.pi, 0.0, 0.0], dtype=torch.float64)
    x1["rotation"][:8] = SO3().expmap(x0["rotation"][:8], turn)
    x0, x1 = (tree_map(lambda x: x.to(dtype), x) for x in (x0, x1))
    return path, x0, x1, FunctionField(path.manifold, lambda x, t: path.velocity(x1, x, t))


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize("clock", [lambda t: t, lambda t: 1 - (1 - t) ** 2], ids=["equal", "late"])
def test_path_euler_lands_on_a_perfect_prediction(n, clock):
    """Of every factor by its own schedule; half turns too. Euler's step misses the rotations."""
    path, x0, x1, field = perfect(FACTORS)
    end = sample(field, x0, clock(grid(n)), PathEuler(path)).x
    assert gap(path.manifold, end, x1) < 1e-12
    if n > 1:
        assert gap(SO3(), sample(field, x0, clock(grid(n)), Euler()).x["rotation"], x1["rotation"]) > 1e-3


def test_path_euler_stays_on_the_path():
    """On the way too, it is where the path is: x_t = exp_{x0}(κ(t) log_{x0} x1), from anywhere inside the cut locus."""
    path, x0, x1, field = perfect(FACTORS)
    x0, x1 = (tree_map(lambda x: x[8:], x) for x in (x0, x1))
    field = FunctionField(path.manifold, lambda x, t: path.velocity(x1, x, t))
    exact = path.sample(x0, x1, torch.full((56,), 0.6, dtype=torch.float64)).x_t
    assert gap(path.manifold, sample(field, x0, grid(3, 0.0, 0.6), PathEuler(path)).x, exact) < 1e-12


def test_path_euler_lands_in_single_precision():
    """After 500 steps, when 1 − κ of the rotations has fallen to 1e-6."""
    path, x0, x1, field = perfect(FACTORS, dtype=torch.float32)
    end = sample(field, x0, grid(500), PathEuler(path)).x
    assert gap(path.manifold, end, x1) < 1e-5


def test_path_euler_is_of_order_one(flow):
    """On a field that no path made; log q of the same order."""
    field, x0 = flow
    step = PathEuler(GeodesicPath(field.manifold, Exponential(2.0)))
    exact = sample(field, x0, grid(1), Dopri5(1e-10, 1e-10), track_logq=True)
    coarse, fine = (sample(field, x0, grid(k), step, track_logq=True) for k in (64, 128))
    errors = [gap(field.manifold, r.x, exact.x) for r in (coarse, fine)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.25)
    errors = [float((r.logq - exact.logq).abs().max()) for r in (coarse, fine)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.35)


def test_path_euler_needs_a_path_that_moves():
    with pytest.raises(ValueError, match="starts at rest"):
        PathEuler(GeodesicPath(SO3(), Cosine()))


def test_evaluations_are_counted():
    """Stages times steps, tracked or not; an adaptive step shares its last stage with the next substep."""
    field = FunctionField(Euclidean(2), lambda x, t: -x)
    x0 = torch.ones(4, 2, dtype=torch.float64)
    for step, stages in ((Euler(), 1), (Midpoint(), 2), (RK4(), 4)):
        assert sample(field, x0, grid(5), step).nfe == 5 * stages
        assert sample(field, x0, grid(5), step, track_logq=True).nfe == 5 * stages
    assert sample(field, x0, grid(1), Dopri5()).nfe % 6 == 1


def test_dopri5_names_where_it_stalls():
    field = FunctionField(Euclidean(1), lambda x, t: torch.where(t[:, None] > 0.5, torch.nan, x))
    with pytest.raises(ArithmeticError, match=r"t=0\.5"):
        sample(field, torch.ones(1, 1, dtype=torch.float64), grid(1), Dopri5())


@pytest.mark.parametrize(
    "times", [[0.0, 0.5, 0.5, 1.0], [0.0, 1.0, 0.5], [[0.0, 1.0]], 0.0, [], [0.0, math.inf], [0.0, math.nan]]
)
def test_a_grid_that_turns_or_has_no_end_is_refused(times):
    with pytest.raises(InputError, match="time grid"):
        sample(FunctionField(Euclidean(1), lambda x, t: x), torch.ones(1, 1), torch.tensor(times))


def test_gradients_only_where_asked():
    """Parameters alone do not make a graph of the whole rollout; a source that requires gradients does."""
    rate = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    field = FunctionField(Euclidean(1), lambda x, t: rate * x)
    x0 = torch.ones(2, 1, dtype=torch.float64)
    assert not sample(field, x0, grid(8), RK4(), track_logq=True).x.requires_grad
    run = sample(field, x0.requires_grad_(), grid(8), RK4(), track_logq=True)
    (slope,) = torch.autograd.grad(run.logq.sum(), rate, retain_graph=True)
    torch.testing.assert_close(slope, torch.tensor(-2.0, dtype=torch.float64))  # log q = -rate, two samples
    (slope,) = torch.autograd.grad(run.x.sum(), rate)
    torch.testing.assert_close(slope, 2 * rate.exp().detach(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("step", [Euler(), Midpoint(), RK4(), Dopri5()])
def test_no_samples_are_no_error(step):
    field = MLPField(Product(r=Euclidean(3), q=SO3()), (2,), width=8, depth=1)
    run = sample(field, field.manifold.random(0, 2), grid(1), step, track_logq=True)
    assert run.x["q"].shape == (0, 2, 4)
    assert run.logq.shape == (0,)
