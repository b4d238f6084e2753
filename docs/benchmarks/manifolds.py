"""Point and velocity of geodesics, closed form against the generic form that differentiates the point in time.

flow_matching differentiates with vmap(jvp); geoopt has the point alone, here with torch.func.jvp; neither has SO(3),
for which two common geodesics are written here: rotation matrices with matrix_exp, and quaternions.

    python docs/benchmarks/manifolds.py
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from timing import header, peers, race, table
from torch import Tensor
from torch.func import jvp, vmap

from sciflow.manifolds import SO3, FlatTorus, Manifold, Sphere
from sciflow.manifolds.quaternion import conjugate, multiply, to_matrix
from sciflow.rng import step_generator, uniform

peers("flow_matching", "geoopt")
import geoopt  # noqa: E402
from flow_matching.path import GeodesicProbPath  # noqa: E402
from flow_matching.path.scheduler import CondOTScheduler  # noqa: E402
from flow_matching.utils.manifolds import FlatTorus as TheirTorus  # noqa: E402
from flow_matching.utils.manifolds import Sphere as TheirSphere  # noqa: E402

Geodesic = Callable[[Tensor], Tensor]


def of_path(manifold: Any) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    path = GeodesicProbPath(CondOTScheduler(), manifold)

    def sample(x0: Tensor, x1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        drawn = path.sample(x0, x1, t)
        return drawn.x_t, drawn.dx_t

    return sample


def by_jvp(geodesic: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Whole batch in one forward-mode product: the fastest way to differentiate a batched geodesic."""
    return lambda x0, x1, t: jvp(lambda s: geodesic(x0, x1, s), (t,), (torch.ones_like(t),))


def by_vmap(geodesic: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """Sample by sample under vmap, as flow_matching does."""
    return lambda x0, x1, t: vmap(lambda a, b, s: jvp(lambda r: geodesic(a, b, r), (s,), (torch.ones_like(s),)))(
        x0, x1, t
    )


def matrix_geodesic(x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
    """``R0 exp(t log(R0ᵀ R1))`` of rotation matrices."""
    relative = x0.mT @ x1
    cosine = (relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    angle = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
    skew = (angle / (2 * angle.sin()))[..., None, None] * (relative - relative.mT)
    return x0 @ torch.linalg.matrix_exp(t[..., None, None] * skew)


def quaternion_geodesic(x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
    """``q0 exp(t log(q0⁻¹ q1))`` of unit quaternions."""
    relative = multiply(conjugate(x0), x1)
    relative = torch.where(relative[..., :1] < 0, -relative, relative)
    sine = relative[..., 1:].norm(dim=-1, keepdim=True)
    half = t[..., None] * torch.atan2(sine, relative[..., :1])
    axis = relative[..., 1:] / sine.clamp_min(1e-8)
    return multiply(x0, torch.cat([half.cos(), half.sin() * axis], -1))


def geoopt_geodesic(x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
    sphere = geoopt.Sphere()
    return sphere.expmap(x0, t[..., None] * sphere.logmap(x0, x1))


def speed() -> None:
    sphere, torus, rotations = Sphere(2), FlatTorus(7), SO3()
    cases: list[tuple[str, Manifold[Tensor], dict[str, Any]]] = [
        (
            "S²",
            sphere,
            {
                "flow_matching": of_path(TheirSphere()),
                "geoopt + jvp": by_jvp(geoopt_geodesic),
            },
        ),
        ("T⁷", torus, {"flow_matching": of_path(TheirTorus())}),
        (
            "SO(3)",
            rotations,
            {
                "quaternions, vmap(jvp)": by_vmap(quaternion_geodesic),
                "quaternions, jvp": by_jvp(quaternion_geodesic),
                "matrices, vmap(jvp)": by_vmap(matrix_geodesic),
            },
        ),
    ]
    rows = []
    for name, manifold, others in cases:
        for batch in (512, 8192):
            generator = step_generator(0)
            x0, x1 = (manifold.random(batch, generator=generator) for _ in range(2))
            t = uniform(batch, generator=generator)
            ends = {other: (x0, x1) for other in others}
            ends["matrices, vmap(jvp)"] = (to_matrix(x0), to_matrix(x1)) if name == "SO(3)" else (x0, x1)
            times = race(
                {
                    "ours": lambda m=manifold, a=x0, b=x1, t=t: m.geodesic(a, b, t),
                    **{o: lambda f=f, a=ends[o][0], b=ends[o][1], t=t: f(a, b, t) for o, f in others.items()},
                }
            )
            ours = times["ours"]
            rows += [(name, batch, ours, other, times[other], f"{times[other] / ours:.1f} ×") for other in others]
    table("Geodesic point and velocity, float32", ("manifold", "batch", "ours (ms)", "other", "ms", "ratio"), rows)


def outcome(run: Callable[[], Tensor | float]) -> str:
    """A number as it comes, or the name of what was raised."""
    try:
        return f"{float(run()):.3g}"
    except Exception as error:  # whatever a peer raises is its result here
        return type(error).__name__


def degenerate() -> None:
    x = Sphere(2).random(256, generator=step_generator(0))
    points = Sphere(2).random(8, 5, generator=step_generator(1)), Sphere(2).random(8, 5, generator=step_generator(2))
    half, halves = torch.full((256,), 0.5), torch.full((8,), 0.5)
    ours, fm, gt = Sphere(2), TheirSphere(), geoopt.Sphere()
    path = of_path(fm)
    turned = FlatTorus(2), torch.zeros(1, 2), torch.full((1, 2), math.pi)

    def geoopt_speed(x0: Tensor, x1: Tensor, t: Tensor) -> Tensor:
        return by_jvp(geoopt_geodesic)(x0, x1, t)[1].norm(dim=-1)

    rows = [
        (
            "S²: largest dist(x, x) of 256 points",
            0,
            outcome(lambda: ours.dist(x, x).max()),
            outcome(lambda: fm.dist(x, x).max()),
            outcome(lambda: gt.dist(x, x).max()),
        ),
        (
            "S²: least speed between 256 antipodes",
            math.pi,
            outcome(lambda: ours.geodesic(x, -x, half)[1].norm(dim=-1).min()),
            outcome(lambda: path(x, -x, half)[1].norm(dim=-1).min()),
            outcome(lambda: geoopt_speed(x, -x, half).min()),
        ),
        (
            "S²: error of the end of a geodesic to the antipode",
            0,
            outcome(lambda: (ours.geodesic(x, -x, 2 * half)[0] + x).norm(dim=-1).max()),
            outcome(lambda: (path(x, -x, 2 * half)[0] + x).norm(dim=-1).max()),
            outcome(lambda: (geoopt_geodesic(x, -x, 2 * half) + x).norm(dim=-1).max()),
        ),
        (
            "S²: geodesics of (B, N, 3), error of speed against distance",
            0,
            outcome(lambda: (ours.geodesic(*points, halves)[1].norm(dim=-1) - ours.dist(*points)).abs().max()),
            outcome(lambda: (path(*points, halves)[1].norm(dim=-1) - ours.dist(*points)).abs().max()),
            outcome(lambda: (geoopt_speed(*points, halves[:, None]) - ours.dist(*points)).abs().max()),
        ),
        (
            "T²: speed of a half turn in both angles",
            math.sqrt(2) * math.pi,
            outcome(lambda: turned[0].geodesic(*turned[1:], torch.full((1,), 0.5))[1].norm()),
            outcome(lambda: of_path(TheirTorus())(*turned[1:], torch.full((1,), 0.5))[1].norm()),
            "no torus",
        ),
    ]
    table("Degenerate places, float32", ("case", "exact", "ours", "flow_matching", "geoopt"), rows)


if __name__ == "__main__":
    header("flow_matching", "geoopt")
    speed()
    degenerate()
