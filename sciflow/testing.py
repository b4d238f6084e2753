"""Laws that a user's own parts can be held to, and that our tests hold every part of sciflow to."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .manifolds import SO3, Manifold, leaves, tree_map, wrap
from .manifolds.quaternion import to_matrix
from .rng import sample_generators, step_generator

__all__ = ["assert_equivariant", "assert_manifold_laws", "assert_transform_laws"]

#: Absolute tolerance of an identity that holds exactly, by dtype: some hundred roundings of numbers of order ten.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12}


def assert_manifold_laws(
    manifold: Manifold[Any], event_shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64, seed: int = 0
) -> None:
    """Hold a manifold to the laws of Riemannian geometry at random points of its prior and in degenerate places.

    Checks that exp and log invert each other, dist is a metric, geodesics have constant speed and end where they
    should, transport is an isometry, projections are idempotent, ``embed`` is the derivative of ``expmap``, no
    operation mixes batch elements, gradients stay finite, and the prior's sample i depends on generator i alone.

    Args:
        manifold: the manifold under test.
        event_shape: E in the state shape ``(B, *E, *point_shape)``.
        dtype: float32 or float64; decides the tolerance.
        seed: of the random points.

    Raises:
        AssertionError: naming the broken law.
    """
    n, tol = 32, TOLERANCE[dtype]
    generator = step_generator(seed)
    x, y, z = (manifold.random(n, *event_shape, generator=generator, dtype=dtype) for _ in range(3))
    v = manifold.randn_tangent(x, generator)
    ambient = tree_map(lambda part: torch.randn(part.shape, generator=generator, dtype=dtype), v)
    u = manifold.proju(x, ambient)
    t = torch.rand(n, generator=generator, dtype=dtype)

    _projections(manifold, x, ambient, u, v, tol)
    _exp_and_log(manifold, x, y, u, tol)
    _metric(manifold, x, y, z, tol)
    _geodesic(manifold, x, y, t, tol)
    _transport(manifold, x, y, u, v, tol)
    _embedding(manifold, x, u, tol)
    _batch_independence(manifold, x, y, u, tol)
    _degenerate_places(manifold, x, u, t, tol)
    _prior(manifold, event_shape, dtype, seed)


def _zero(law: str, error: Any, tol: float) -> None:
    """Assert that every entry of a state-like error vanishes within ``tol`` (NaN does not)."""
    for part in leaves(error):
        worst = part.abs().max().item()
        assert worst <= tol, f"{law}: off by {worst:.2e}, tolerance {tol:.0e}"


def _minus(a: Any, b: Any) -> Any:
    return tree_map(torch.sub, a, b)


def _derivative(fn: Callable[[Tensor], Any], at: Tensor) -> Any:
    return torch.func.jvp(fn, (at,), (torch.ones_like(at),))[1]


def _with_length(manifold: Manifold[Any], x: Any, u: Any, longest: float) -> Any:
    """``u`` scaled, one factor a batch element, so that its longest tangent has the given length."""
    length = manifold.inner(x, u, u).sqrt().reshape(len(leaves(x)[0]), -1).amax(1)
    return tree_map(lambda part: (longest / length).reshape(-1, *(1,) * (part.ndim - 1)) * part, u)


def _projections(manifold: Manifold[Any], x: Any, ambient: Any, u: Any, v: Any, tol: float) -> None:
    _zero("projx fixes points", _minus(manifold.projx(x), x), tol)
    _zero("proju fixes tangents", _minus(manifold.proju(x, u), u), tol)
    _zero("proju is orthogonal", manifold.inner(x, _minus(ambient, u), v).flatten().sum(), 10 * tol)


def _exp_and_log(manifold: Manifold[Any], x: Any, y: Any, u: Any, tol: float) -> None:
    log = manifold.logmap(x, y)
    _zero("log is tangent", _minus(manifold.proju(x, log), log), tol)
    _zero("exp(log y) = y", manifold.dist(manifold.expmap(x, log), y), tol)
    u = _with_length(manifold, x, u, 0.95 * min(manifold.injectivity_radius, 10.0))
    end = manifold.expmap(x, u)
    _zero("exp ends on the manifold", _minus(manifold.projx(end), end), tol)
    _zero("log(exp u) = u", _minus(manifold.logmap(x, end), u), 10 * tol)  # log amplifies rounding near the radius


def _metric(manifold: Manifold[Any], x: Any, y: Any, z: Any, tol: float) -> None:
    distance, log = manifold.dist(x, y), manifold.logmap(x, y)
    _zero("dist = |log|", distance - manifold.inner(x, log, log).sqrt(), tol)
    _zero("dist is symmetric", distance - manifold.dist(y, x), tol)
    _zero("dist(x, x) = 0", manifold.dist(x, x), 0.0)
    detour = distance + manifold.dist(y, z) - manifold.dist(x, z)
    _zero("triangle inequality", detour.clamp(max=0), tol)


def _geodesic(manifold: Manifold[Any], x: Any, y: Any, t: Tensor, tol: float) -> None:
    start, end = (manifold.geodesic(x, y, torch.full_like(t, s)) for s in (0.0, 1.0))
    _zero("the geodesic starts at x0", manifold.dist(start[0], x), tol)
    _zero("the geodesic ends at x1", manifold.dist(end[0], y), tol)
    x_t, u_t = manifold.geodesic(x, y, t)
    _zero("u_t is tangent", _minus(manifold.proju(x_t, u_t), u_t), tol)
    _zero("constant speed", manifold.inner(x_t, u_t, u_t).sqrt() - manifold.dist(x, y), tol)
    derivative = _derivative(lambda s: manifold.geodesic(x, y, s)[0], t)
    _zero("u_t = d/dt x_t", _minus(manifold.embed(x_t, u_t), derivative), tol)


def _transport(manifold: Manifold[Any], x: Any, y: Any, u: Any, v: Any, tol: float) -> None:
    moved_u, moved_v = manifold.transp(x, y, u), manifold.transp(x, y, v)
    _zero("transported vectors are tangent", _minus(manifold.proju(y, moved_u), moved_u), 10 * tol)
    _zero("transport is an isometry", manifold.inner(y, moved_u, moved_v) - manifold.inner(x, u, v), 10 * tol)
    forth, back = manifold.logmap(x, y), manifold.logmap(y, x)
    reversal = tree_map(torch.add, manifold.transp(x, y, forth), back)
    _zero("transport carries log_x(y) to −log_y(x)", reversal, 10 * tol)


def _embedding(manifold: Manifold[Any], x: Any, u: Any, tol: float) -> None:
    zero = torch.zeros((), dtype=leaves(x)[0].dtype)
    derivative = _derivative(lambda s: manifold.expmap(x, tree_map(lambda part: s * part, u)), zero)
    _zero("embed = d/dε expmap(x, ε·u)", _minus(manifold.embed(x, u), derivative), tol)


def _batch_independence(manifold: Manifold[Any], x: Any, y: Any, u: Any, tol: float) -> None:
    row_x, row_y, row_u = (tree_map(lambda part: part[3:4], state) for state in (x, y, u))
    for name, whole, row in (
        ("expmap", manifold.expmap(x, u), manifold.expmap(row_x, row_u)),
        ("logmap", manifold.logmap(x, y), manifold.logmap(row_x, row_y)),
        ("transp", manifold.transp(x, y, u), manifold.transp(row_x, row_y, row_u)),
        ("dist", manifold.dist(x, y), manifold.dist(row_x, row_y)),
    ):
        _zero(f"{name} does not mix batch elements", _minus(tree_map(lambda part: part[3:4], whole), row), tol)


def _degenerate_places(manifold: Manifold[Any], x: Any, u: Any, t: Tensor, tol: float) -> None:
    """Coincident points, and points at the injectivity radius, where a cut locus may lie."""
    stay = tree_map(torch.zeros_like, u)
    leave = _with_length(manifold, x, u, min(manifold.injectivity_radius, 10.0))
    for place, w in (("x1 = x0", stay), ("the injectivity radius", leave)):
        x0, x1 = (tree_map(lambda part: part.clone().requires_grad_(), s) for s in (x, manifold.expmap(x, w)))
        x_t, u_t = manifold.geodesic(x0, x1, t)
        _zero(f"|u_t| = dist at {place}", manifold.inner(x_t, u_t, u_t) - manifold.inner(x, w, w), 100 * tol)
        outcome = torch.stack([part.sum() for s in (x_t, u_t, manifold.dist(x0, x1)) for part in leaves(s)])
        gradients = torch.autograd.grad(outcome.sum(), [*leaves(x0), *leaves(x1)])
        assert all(gradient.isfinite().all() for gradient in gradients), f"gradients are not finite at {place}"


def _prior(manifold: Manifold[Any], event_shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> None:
    whole = manifold.random(6, *event_shape, generator=sample_generators(seed, 0, 6), dtype=dtype)
    part = manifold.random(2, *event_shape, generator=sample_generators(seed, 3, 2), dtype=dtype)
    _zero("sample i depends on generator i alone", _minus(tree_map(lambda p: p[3:5], whole), part), 0.0)
    log_prob = manifold.prior().log_prob(whole)
    assert log_prob.shape == (6,), f"log_prob has shape {tuple(log_prob.shape)}, not (B,)"
    assert log_prob.isfinite().all(), "log_prob is not finite at the prior's own samples"


def assert_equivariant(
    fn: Callable[[Tensor], Tensor],
    x: Tensor,
    groups: Sequence[Literal["rotation", "reflection", "translation", "permutation"]] = (
        "rotation",
        "translation",
        "permutation",
    ),
    *,
    labels: Tensor | None = None,
    seed: int = 0,
) -> None:
    """Hold a field of vectors on points to its symmetries: ``fn(g·x) = g·fn(x)`` for a random element of each group.

    Rotations and reflections turn points and vectors, translations move points only, permutations reorder both.

    Args:
        fn: takes points to vectors, ``(B, N, 3)`` both; close over the time and the conditions, such as
            ``lambda x: field.velocity(x, t)``.
        x: points, best in float64: the dtype decides the tolerance, relative to the largest vector.
        groups: the symmetries to check.
        labels: integers ``(N,)``; only points with equal labels are interchanged (all points by default). Give padded
            points a label of their own.
        seed: of the group elements.

    Raises:
        AssertionError: naming the broken symmetry.
    """
    generator = step_generator(seed)
    turn = to_matrix(SO3().random(generator=generator, dtype=x.dtype, device=x.device))
    shift = torch.randn(3, generator=generator, dtype=x.dtype).to(x.device)
    order = _interchange(torch.zeros(x.shape[1]) if labels is None else labels.cpu(), generator).to(x.device)
    actions: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
        "rotation": (lambda y: y @ turn.mT, lambda v: v @ turn.mT),
        "reflection": (torch.neg, torch.neg),
        "translation": (lambda y: y + shift, lambda v: v),
        "permutation": (lambda y: y[:, order], lambda v: v[:, order]),
    }
    vectors = fn(x)
    tol = 10 * TOLERANCE[x.dtype] * float(vectors.detach().abs().max())
    for group in groups:
        on_points, on_vectors = actions[group]
        _zero(f"{group} equivariance", fn(on_points(x)) - on_vectors(vectors), tol)


def _interchange(labels: Tensor, generator: torch.Generator) -> Tensor:
    """A random permutation of the places that maps each label to itself."""
    shuffled = torch.randperm(len(labels), generator=generator)
    order = torch.empty_like(shuffled)
    order[labels.argsort(stable=True)] = shuffled[labels[shuffled].argsort(stable=True)]
    return order


def assert_transform_laws(
    transform: Any,
    x: Tensor,
    *,
    circular: Tensor | None = None,
    orbit: Callable[[Tensor], Tensor] | None = None,
    tol: float = 1e-10,
) -> None:
    """Hold an invertible map f to its laws at the points ``x``, which must be float64.

    Checks that f and its inverse undo each other, that ladj is the slogdet of the autograd Jacobian, that the ladj of
    the inverse is minus that of f, that gradients reach every parameter, and that no operation mixes batch elements.

    Args:
        transform: the map under test, a ``Transform`` with ``call_and_ladj`` (as in zuko). Perturb the parameters of
            one that starts as the identity, or no gradient passes its zero weights.
        x: batch of points (B, *event); put some on seams, at box edges and in the tails.
        circular: BoolTensor, event entries of x and f(x) that are angles: compared modulo 2π.
        orbit: for a map that forgets a symmetry, the k directions (*event, k) in which the point x (*event) moves under
            it, of unit volume: x is then compared with f⁻¹(f(x)), and volume is that of R^D modulo the symmetry.
        tol: absolute tolerance.

    Raises:
        AssertionError: naming the broken law.
    """
    if orbit is not None:
        x = transform.inv(transform(x)).detach()
    y, ladj = transform.call_and_ladj(x)
    back, ladj_back = transform.inv.call_and_ladj(y)
    _zero("f⁻¹(f(x)) = x", _modulo(back - x, circular), tol)
    _zero("f(f⁻¹(y)) = y", _modulo(transform(back) - y, circular), tol)
    _zero("ladj of the inverse is −ladj", ladj + ladj_back, tol)
    jacobian = _jacobians(transform.inv, y.detach())
    if orbit is None:
        _zero("ladj = log|det ∂f|", torch.linalg.slogdet(_jacobians(transform, x)).logabsdet - ladj, tol)
    else:
        motions = torch.stack([orbit(point).flatten(0, -2) for point in x])
        jacobian = torch.cat((jacobian, motions), -1)
    _zero("ladj of the inverse = log|det ∂f⁻¹|", torch.linalg.slogdet(jacobian).logabsdet - ladj_back, tol)
    _transform_batches(transform, x, y, ladj, circular, tol)
    if isinstance(transform, nn.Module) and list(transform.parameters()):
        _transform_gradients(transform, x)


def _modulo(difference: Tensor, circular: Tensor | None) -> Tensor:
    return difference if circular is None else torch.where(circular, wrap(difference), difference)


def _jacobians(transform: Any, x: Tensor) -> Tensor:
    """∂f/∂x of each sample, (B, D_y, D_x)."""
    event = x[0].numel()
    whole = torch.autograd.functional.jacobian(lambda point: transform(point).flatten(1).sum(0), x)
    return whole.reshape(-1, len(x), event).movedim(1, 0)


def _transform_batches(transform: Any, x: Tensor, y: Tensor, ladj: Tensor, circular: Tensor | None, tol: float) -> None:
    for name, shape in (("no batch", ()), ("two batch dimensions", (1, 1))):
        alone, alone_ladj = transform.call_and_ladj(x[-1].reshape(*shape, *x.shape[1:]))
        assert alone.shape == (*shape, *y.shape[1:]), f"f with {name} has shape {tuple(alone.shape)}"
        assert alone_ladj.shape == shape, f"ladj with {name} has shape {tuple(alone_ladj.shape)}"
        _zero(f"f does not depend on its batch ({name})", _modulo(alone - y[-1], circular), tol)
        _zero(f"ladj does not depend on its batch ({name})", alone_ladj - ladj[-1], tol)


def _transform_gradients(transform: Any, x: Tensor) -> None:
    transform.zero_grad()
    y, ladj = transform.call_and_ladj(x)
    (y.square().sum() + ladj.sum()).backward()
    for name, parameter in transform.named_parameters():
        assert parameter.grad is not None, f"no gradient reaches {name}"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
        assert parameter.grad.any(), f"the gradient of {name} is zero"
