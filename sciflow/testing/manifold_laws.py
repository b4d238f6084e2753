"""The laws of Riemannian geometry."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..manifolds import Manifold, leaves, scale, tree_map
from ..rng import sample_generators, step_generator
from .volume_laws import assert_volume_laws
from .zero import TOLERANCE, assert_zero

__all__ = ["assert_manifold_laws"]

_ROW, _COLUMN = (slice(None), None), (None, slice(None))
_FARTHEST = 3.0  # tangents on manifolds without end; coordinates of hyperbolic space grow exponentially


def assert_manifold_laws(
    manifold: Manifold[Any], event_shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64, seed: int = 0
) -> None:
    """Hold a manifold to the laws of Riemannian geometry at random points of its prior and in degenerate places.

    Tolerances are those of coordinates of order ten, of points and tangents, and grow with larger ones.

    Checks that exp and log invert each other, dist is a metric, geodesics have constant speed and end where they
    should, transport is an isometry, projections are idempotent, ``embed`` is the derivative of ``expmap``, no
    operation mixes batch elements, all keep shapes and precision, gradients stay finite, volume terms are those of
    the metric, and the prior is a density of its samples, of which sample i depends on generator i alone.
    Without a closed-form logarithm (``has_logmap``), geodesics are held to what can be said of them from one end.

    Args:
        manifold: the manifold under test.
        event_shape: E in the state shape ``(B, *E, *point_shape)``.
        dtype: float32 or float64; decides the tolerance.
        seed: of the random points.

    Raises:
        AssertionError: naming the broken law.
    """
    n = 32
    generator = step_generator(seed)
    x, y, z = (manifold.random(n, *event_shape, generator=generator, dtype=dtype) for _ in range(3))
    y, z = (_no_farther(manifold, x, point) for point in (y, z))
    v = manifold.randn_tangent(x, generator)
    ambient = tree_map(lambda part: torch.randn(part.shape, generator=generator, dtype=dtype), v)
    u = manifold.proju(x, ambient)
    w = _inside(manifold, x, z, u)
    between = [manifold.logmap(x, y)] if manifold.has_logmap else []
    coordinates = [part.abs().max().item() for s in (x, y, z, u, w, *between) for part in leaves(s)]
    tol = TOLERANCE[dtype] * max(1.0, max(coordinates) / 10)
    t = torch.rand(n, generator=generator, dtype=dtype)

    _shapes(manifold, x, y, w)
    _projections(manifold, x, ambient, u, v, tol)
    if manifold.has_logmap:
        _exp_and_log(manifold, x, y, w, tol)
    _metric(manifold, x, y, z, tol)
    if manifold.has_logmap:
        _cut_locus(manifold, x, y, tree_map(lambda part: part / 0.95, w), tol)
        _geodesic(manifold, x, y, t, tol)
        _transport(manifold, x, y, u, v, tol)
    else:
        _shooting(manifold, x, w, u, v, tol)
    _embedding(manifold, x, w, tol)
    _batch_independence(manifold, x, y, w, tol)
    if manifold.has_logmap:
        _degenerate_places(manifold, x, w, t, tol)
    _prior(manifold, event_shape, dtype, seed, tol)
    assert_volume_laws(manifold, x, tol, seed)


def _minus(a: Any, b: Any) -> Any:
    return tree_map(torch.sub, a, b)


def _derivative(fn: Callable[[Tensor], Any], at: Tensor) -> Any:
    return torch.func.jvp(fn, (at,), (torch.ones_like(at),))[1]


def _longest(manifold: Manifold[Any], x: Any, u: Any) -> Tensor:
    return manifold.inner(x, u, u).sqrt().reshape(len(leaves(x)[0]), -1).amax(1)


def _no_farther(manifold: Manifold[Any], x: Any, y: Any) -> Any:
    """``y``, drawn towards ``x`` where it is far on a manifold without end: rounding may grow as exp(distance)."""
    if manifold.injectivity_radius < float("inf") or not manifold.has_logmap:
        return y
    u = manifold.logmap(x, y)
    return manifold.expmap(x, scale((_FARTHEST / _longest(manifold, x, u)).clamp(max=1), u))


def _inside(manifold: Manifold[Any], x: Any, z: Any, u: Any) -> Any:
    """Tangents whose geodesics stay shortest: ``u``, scaled; beside a boundary, those that lead towards ``z``."""
    if manifold.injectivity_radius == 0 and manifold.has_logmap:
        return tree_map(lambda part: 0.95 * part, manifold.logmap(x, z))
    radius = manifold.injectivity_radius
    farthest = 0.95 * (radius if radius < float("inf") else _FARTHEST)
    return scale(farthest / _longest(manifold, x, u), u)


def _shapes(manifold: Manifold[Any], x: Any, y: Any, w: Any) -> None:
    """Every operation keeps leading axes and precision."""
    first, shape = leaves(x)[0], manifold.point_shape
    lead = first.shape[: first.ndim - len(next(iter(shape.values())) if isinstance(shape, dict) else shape)]
    numbers = {"dist": manifold.dist(x, y), "inner": manifold.inner(x, w, w)}
    states = {"expmap": (manifold.expmap(x, w), x), "transp_along": (manifold.transp_along(x, w, w), w)}
    if manifold.has_logmap:
        states["logmap"] = (manifold.logmap(x, y), w)
        locus = manifold.cut_locus(x, y)
        assert locus.shape == lead, f"cut_locus has shape {tuple(locus.shape)}, not (B, *E) = {tuple(lead)}"
        assert locus.dtype == torch.bool, f"cut_locus has dtype {locus.dtype}, not bool"
    for name, number in numbers.items():
        assert number.shape == lead, f"{name} has shape {tuple(number.shape)}, not (B, *E) = {tuple(lead)}"
    for name, (state, like) in states.items():
        for part, model in zip(leaves(state), leaves(like), strict=True):
            assert part.shape == model.shape, f"{name} has shape {tuple(part.shape)}, not {tuple(model.shape)}"
    for name, state in {**numbers, **{name: state for name, (state, _) in states.items()}}.items():
        dtypes = {part.dtype for part in leaves(state)}
        assert dtypes == {first.dtype}, f"{name} of {first.dtype} is {', '.join(map(str, dtypes))}"


def _projections(manifold: Manifold[Any], x: Any, ambient: Any, u: Any, v: Any, tol: float) -> None:
    assert_zero("projx fixes points", _minus(manifold.projx(x), x), tol)
    assert_zero("proju fixes tangents", _minus(manifold.proju(x, u), u), tol)
    assert_zero("proju is orthogonal", manifold.inner(x, _minus(ambient, u), v).flatten().sum(), 10 * tol)
    tangent = manifold.tangent(x, ambient)
    assert_zero("tangent is tangent", _minus(manifold.proju(x, tangent), tangent), tol)


def _exp_and_log(manifold: Manifold[Any], x: Any, y: Any, u: Any, tol: float) -> None:
    log = manifold.logmap(x, y)
    assert_zero("log is tangent", _minus(manifold.proju(x, log), log), tol)
    assert_zero("exp(log y) = y", manifold.dist(manifold.expmap(x, log), y), tol)
    coordinates = [manifold.coordinates(state) for state in (manifold.expmap(x, log), y)]
    assert_zero("coordinates are single-valued: y and exp(log y) have the same", _minus(*coordinates), 10 * tol)
    end = manifold.expmap(x, u)
    assert_zero("exp ends on the manifold", _minus(manifold.projx(end), end), tol)
    assert_zero(
        "log(exp u) = u", _minus(manifold.logmap(x, end), u), 10 * tol
    )  # log amplifies rounding near the radius


def _cut_locus(manifold: Manifold[Any], x: Any, y: Any, w: Any, tol: float) -> None:
    """It is where two shortest geodesics differ, and nowhere else: chance does not meet it."""
    for name, point in (("x", x), ("a random point", y)):
        assert not manifold.cut_locus(x, point).any(), f"cut_locus calls {name} one of the cut points of x"
    log = manifold.logmap(x, manifold.expmap(x, w))
    apart, length = _minus(log, w), manifold.inner(x, w, w)
    two = (manifold.inner(x, apart, apart) > 0.1) & ((manifold.inner(x, log, log) - length).abs() < 100 * tol)
    missed = two & ~manifold.cut_locus(x, manifold.expmap(x, w))
    assert not missed.any(), f"cut_locus misses {int(missed.sum())} of {int(two.sum())} ends of two shortest geodesics"


def _metric(manifold: Manifold[Any], x: Any, y: Any, z: Any, tol: float) -> None:
    distance = manifold.dist(x, y)
    if manifold.has_logmap:
        log = manifold.logmap(x, y)
        assert_zero("dist = |log|", distance - manifold.inner(x, log, log).sqrt(), tol)
    assert_zero("dist is symmetric", distance - manifold.dist(y, x), tol)
    assert_zero("dist(x, x) = 0", manifold.dist(x, x), 0.0)
    rows, columns = (tree_map(lambda part, cut=cut: part[cut], s) for s, cut in ((x, slice(5)), (y, slice(5, 9))))
    pairs = manifold.dist(
        *(tree_map(lambda part, cut=cut: part[cut], s) for s, cut in ((rows, _ROW), (columns, _COLUMN)))
    )
    squares = pairs.square().reshape(5, 4, -1).sum(-1)
    found = manifold.squared_distances(rows, columns)
    assert_zero("squared_distances = Σ dist² of all pairs", found - squares, tol * (1 + squares.max().item()))
    detour = distance + manifold.dist(y, z) - manifold.dist(x, z)
    assert_zero("triangle inequality", detour.clamp(max=0), tol)
    here, there = (tree_map(lambda part: part.clone().requires_grad_(), x) for _ in range(2))
    gradients = torch.autograd.grad(manifold.dist(here, there).sum(), [*leaves(here), *leaves(there)])
    assert all(gradient.isfinite().all() for gradient in gradients), "gradients of dist(x, x) are not finite"


def _geodesic(manifold: Manifold[Any], x: Any, y: Any, t: Tensor, tol: float) -> None:
    start, end = (manifold.geodesic(x, y, torch.full_like(t, s)) for s in (0.0, 1.0))
    assert_zero("the geodesic starts at x0", manifold.dist(start[0], x), tol)
    assert_zero("the geodesic ends at x1", manifold.dist(end[0], y), tol)
    x_t, u_t = manifold.geodesic(x, y, t)
    assert_zero("u_t is tangent", _minus(manifold.proju(x_t, u_t), u_t), tol)
    assert_zero("constant speed", manifold.inner(x_t, u_t, u_t).sqrt() - manifold.dist(x, y), tol)
    derivative = _derivative(lambda s: manifold.geodesic(x, y, s)[0], t)
    assert_zero("u_t = d/dt x_t", _minus(manifold.embed(x_t, u_t), derivative), tol)


def _shooting(manifold: Manifold[Any], x: Any, w: Any, u: Any, v: Any, tol: float) -> None:
    """Geodesics from their start: they end on the manifold, carry vectors isometrically, and can be walked back."""
    end = manifold.expmap(x, w)
    assert_zero("exp ends on the manifold", _minus(manifold.projx(end), end), tol)
    moved_u, moved_v, moved_w = (manifold.transp_along(x, w, vector) for vector in (u, v, w))
    assert_zero("transported vectors are tangent", _minus(manifold.proju(end, moved_u), moved_u), 10 * tol)
    assert_zero("transport is an isometry", manifold.inner(end, moved_u, moved_v) - manifold.inner(x, u, v), 10 * tol)
    back = tree_map(torch.neg, moved_w)
    assert_zero("the way back ends at the start", _minus(manifold.expmap(end, back), x), 10 * tol)
    restored = manifold.transp_along(end, back, moved_u)
    assert_zero("transport there and back changes nothing", _minus(restored, u), 10 * tol)
    assert_zero("exp(0) = x", _minus(manifold.expmap(x, tree_map(torch.zeros_like, w)), x), tol)


def _transport(manifold: Manifold[Any], x: Any, y: Any, u: Any, v: Any, tol: float) -> None:
    moved_u, moved_v = manifold.transp(x, y, u), manifold.transp(x, y, v)
    assert_zero("transported vectors are tangent", _minus(manifold.proju(y, moved_u), moved_u), 10 * tol)
    assert_zero("transport is an isometry", manifold.inner(y, moved_u, moved_v) - manifold.inner(x, u, v), 10 * tol)
    forth, back = manifold.logmap(x, y), manifold.logmap(y, x)
    reversal = tree_map(torch.add, manifold.transp(x, y, forth), back)
    assert_zero("transport carries log_x(y) to −log_y(x)", reversal, 10 * tol)


def _embedding(manifold: Manifold[Any], x: Any, u: Any, tol: float) -> None:
    zero = torch.zeros((), dtype=leaves(x)[0].dtype)
    derivative = _derivative(lambda s: manifold.expmap(x, tree_map(lambda part: s * part, u)), zero)
    assert_zero("embed = d/dε expmap(x, ε·u)", _minus(manifold.embed(x, u), derivative), tol)


def _batch_independence(manifold: Manifold[Any], x: Any, y: Any, u: Any, tol: float) -> None:
    row_x, row_y, row_u = (tree_map(lambda part: part[3:4], state) for state in (x, y, u))
    outcomes = [
        ("expmap", manifold.expmap(x, u), manifold.expmap(row_x, row_u)),
        ("transp_along", manifold.transp_along(x, u, u), manifold.transp_along(row_x, row_u, row_u)),
        ("dist", manifold.dist(x, y), manifold.dist(row_x, row_y)),
    ]
    if manifold.has_logmap:
        outcomes.append(("logmap", manifold.logmap(x, y), manifold.logmap(row_x, row_y)))
        outcomes.append(("transp", manifold.transp(x, y, u), manifold.transp(row_x, row_y, row_u)))
    for name, whole, row in outcomes:
        alone = tree_map(lambda part: part[3:4], whole)
        assert_zero(f"{name} does not mix batch elements", _minus(alone, row), tol)


def _degenerate_places(manifold: Manifold[Any], x: Any, u: Any, t: Tensor, tol: float) -> None:
    """Coincident points, and points at the injectivity radius, where a cut locus may lie."""
    stay = tree_map(torch.zeros_like, u)
    leave = tree_map(lambda part: part / 0.95, u)
    for place, w in (("x1 = x0", stay), ("the injectivity radius", leave)):
        x0, x1 = (tree_map(lambda part: part.clone().requires_grad_(), s) for s in (x, manifold.expmap(x, w)))
        x_t, u_t = manifold.geodesic(x0, x1, t)
        assert_zero(f"|u_t| = dist at {place}", manifold.inner(x_t, u_t, u_t) - manifold.inner(x, w, w), 100 * tol)
        outcome = torch.stack([part.sum() for s in (x_t, u_t, manifold.dist(x0, x1)) for part in leaves(s)])
        gradients = torch.autograd.grad(outcome.sum(), [*leaves(x0), *leaves(x1)])
        assert all(gradient.isfinite().all() for gradient in gradients), f"gradients are not finite at {place}"


def _prior(manifold: Manifold[Any], event_shape: tuple[int, ...], dtype: torch.dtype, seed: int, tol: float) -> None:
    whole = manifold.random(6, *event_shape, generator=sample_generators(seed, 0, 6), dtype=dtype)
    part = manifold.random(2, *event_shape, generator=sample_generators(seed, 3, 2), dtype=dtype)
    # to rounding, which in linear algebra may depend on the place of a matrix in memory
    assert_zero("sample i depends on generator i alone", _minus(tree_map(lambda p: p[3:5], whole), part), tol)
    log_prob = manifold.prior().log_prob(whole)
    assert log_prob.shape == (6,), f"log_prob has shape {tuple(log_prob.shape)}, not (B,)"
    assert log_prob.isfinite().all(), "log_prob is not finite at the prior's own samples"
