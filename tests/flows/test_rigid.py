"""Flows of rotations and of rigid bodies, in tangent coordinates: a quaternion has one dimension too many."""

import math

import pytest
import torch
from torch import Tensor

from sciflow.boltzmann.targets.tetrahedron import turns_of_so3
from sciflow.flows import (
    Composed,
    ConvexPotential,
    FromSites,
    ModuleTransform,
    PlaceCoupling,
    ProjectiveLinear,
    RotationCoupling,
    RotationLayer,
    Sites,
    rigid_couplings,
    rotation_flow,
    symmetrised_moebius,
)
from sciflow.manifolds import SO3
from sciflow.testing.zero import assert_zero

G = torch.Generator().manual_seed(0)
BODIES = 3


def normal(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, generator=G, dtype=torch.float64)


def rotations(n: int = 40) -> Tensor:
    """Some of chance, then the identity, half turns about each axis, and their antipodes."""
    q = SO3().random(n, generator=G, dtype=torch.float64)
    q[:4], q[4:8] = torch.eye(4), -torch.eye(4)
    return q


def bodies(n: int = 6) -> Tensor:
    """Bodies around the origin, the first of each where it stays; some components on the edges of a spline's box."""
    x = torch.cat((normal(n, BODIES, 3, scale=2.0), rotations(n * BODIES + 8)[8:].reshape(n, BODIES, 4)), -1)
    x[0, 1, :2] = torch.tensor([6.0, -6.0])
    x[1, 2, 3:] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    return x


def perturbed(transform: ModuleTransform) -> ModuleTransform:
    transform.double()
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter += normal(*parameter.shape, scale=0.2)
    return transform


def potential(k: int, length: float, power: float, n: int = 40) -> ConvexPotential:
    return ConvexPotential(torch.cat((normal(n, 4 * k, scale=length), normal(n, k), torch.full((n, 1), power)), -1))


MAPS = {
    "projective": lambda: ProjectiveLinear(normal(40, 16, scale=0.7)),
    "gentle potential": lambda: potential(6, 1.0, -2.0),
    "sharp potential": lambda: potential(12, 10.0, 0.0),
    "sharpest potential": lambda: potential(12, 100.0, 10.0),
}


def in_frame(transform, x: Tensor, y: Tensor):  # type: ignore[no-untyped-def]
    """The map from tangents at x to tangents at y = f(x), rotations in the frame of the body."""

    def local(u: Tensor) -> Tensor:
        moved = torch.cat((x[..., :-4] + u[..., :-3], SO3().expmap(x[..., -4:], u[..., -3:])), -1)
        image = transform(moved)
        return torch.cat((image[..., :-4] - y[..., :-4], SO3().logmap(y[..., -4:], image[..., -4:])), -1)

    return local


def jacobians(local, like: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    u = like.new_zeros(*like.shape[:-1], like.shape[-1] - 1)
    whole = torch.autograd.functional.jacobian(lambda v: local(v).flatten(1).sum(0), u)
    return whole.reshape(-1, len(like), u[0].numel()).movedim(1, 0)


@pytest.mark.parametrize("name", MAPS)
def test_maps_of_rotations(name):
    f, q = MAPS[name](), rotations()
    y, ladj = f.call_and_ladj(q)
    back, ladj_back = f.inverse_and_ladj(y)
    assert_zero("|f(q)| = 1", y.norm(dim=-1) - 1, 1e-12)
    assert_zero("f⁻¹(f(q)) = q", back - q, 1e-10)
    assert_zero("ladj of the inverse", ladj + ladj_back, 1e-10)
    assert_zero("f(−q) = −f(q)", f.call_and_ladj(-q)[0] + y, 0.0)
    assert_zero("f⁻¹(−y) = −f⁻¹(y)", f.inverse_and_ladj(-y)[0] + back, 1e-12)
    jacobian = jacobians(in_frame(lambda p: f.call_and_ladj(p)[0], q, y), q)
    assert_zero("ladj = log|det|", torch.linalg.slogdet(jacobian).logabsdet - ladj, 1e-10)
    inverse = jacobians(in_frame(lambda p: f.inverse_and_ladj(p)[0], y, q), y)
    product = inverse @ jacobian - torch.eye(3, dtype=q.dtype)
    # rounding grows with the stretch of the map and of its inverse
    assert_zero(
        "implicit derivatives are those of the inverse", product, 1e-12 * float(jacobian.norm() * inverse.norm())
    )


def test_zeros_are_the_identity():
    q = rotations()
    for f in (ProjectiveLinear(q.new_zeros(40, 16)), ConvexPotential(q.new_zeros(40, 11))):
        y, ladj = f.call_and_ladj(q)
        assert_zero("identity", y - q, 1e-15)
        assert_zero("volume", ladj, 1e-14)


def test_the_symmetrised_moebius_map_is_projective_linear():
    """By its definition, the sum of two Moebius maps with opposite centres, brought back to the sphere."""
    w, q = normal(4), rotations()
    w = 0.8 * w / w.norm()
    half = [(1 - c @ c) / (q - c).square().sum(-1, keepdim=True) * (q - c) - c for c in (w, -w)]
    direct, linear = half[0] + half[1], q @ symmetrised_moebius(w).T
    assert_zero(
        "same map", direct / direct.norm(dim=-1, keepdim=True) - linear / linear.norm(dim=-1, keepdim=True), 1e-13
    )


def test_one_mode_a_direction():
    """A sharp norm of two directions sends all but a sliver of SO(3) near one of them, half to each."""
    a = torch.tensor([[10.0, 0, 0, 0], [0, 10.0, 0, 0]], dtype=torch.float64).flatten()
    f = ConvexPotential(torch.cat((a, a.new_zeros(2), a.new_tensor([0.0]))).expand(4000, -1))
    q = SO3().random(4000, generator=G, dtype=torch.float64)
    inner = f.call_and_ladj(q)[0][:, :2].abs()
    assert (inner > 0.95).any(-1).double().mean() > 0.8
    assert abs(float((inner[:, 0] > inner[:, 1]).double().mean()) - 0.5) < 5 * 0.5 / 4000**0.5


def test_the_density_of_a_rotation_flow_integrates_to_one():
    flow = rotation_flow(layers=2, directions=4).double()
    q, log_weight = turns_of_so3(24)
    assert torch.logsumexp(flow.log_prob(q) + log_weight, 0).item() == pytest.approx(0, abs=1e-6)  # of the quadrature
    x, logq = flow.sample(50, generator=G)
    assert_zero("log q of samples", flow.log_prob(x) - logq, 1e-10)
    assert_zero("one density for q and −q", flow.log_prob(-x) - logq, 1e-10)


def sites() -> Tensor:
    return torch.cat((normal(BODIES, 3), SO3().random(BODIES, generator=G, dtype=torch.float64)), -1)


LAYERS = {
    "sites": lambda: Sites(sites(), 0.01),
    "from sites": lambda: FromSites(sites(), 0.01),
    "rotations": lambda: perturbed(RotationCoupling(BODIES, 0.7, width=8, depth=1)),
    "places": lambda: perturbed(PlaceCoupling(BODIES, 0.7, bins=4, width=8, depth=1)),
    "stack": lambda: Composed(Sites(sites(), 0.5), *perturbed(rigid_couplings(BODIES, 2, 0.6, 8, 1)).transforms),
    "one rotation": lambda: perturbed(RotationLayer(6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_bodies(name):
    f = LAYERS[name]()
    x = rotations(24) if name == "one rotation" else bodies()
    y, ladj = f.call_and_ladj(x)
    back, ladj_back = f.inverse_and_ladj(y)
    assert_zero("f⁻¹(f(x)) = x", back - x, 1e-9)
    assert_zero("ladj of the inverse", ladj + ladj_back, 1e-9)
    jacobian = jacobians(in_frame(f, x, y), x)
    if name != "one rotation":  # the first body stays where it is, and counts for nothing
        jacobian = jacobian[:, 3:, 3:]
    assert_zero("ladj = log|det|", torch.linalg.slogdet(jacobian).logabsdet - ladj, 1e-9)
    turned = torch.cat((x[..., :-4], -x[..., -4:]), -1)
    image, same = f.call_and_ladj(turned)
    assert_zero(
        "q and −q are one body", torch.cat((image[..., :-4] - y[..., :-4], image[..., -4:] + y[..., -4:]), -1), 1e-11
    )
    assert_zero("with one density", same - ladj, 1e-10)
    alone, alone_ladj = f.call_and_ladj(x[-1])
    assert_zero("no batch", alone - y[-1], 1e-11)
    assert_zero("no batch", alone_ladj - ladj[-1], 1e-10)


@pytest.mark.parametrize("name", ["rotations", "places", "stack", "one rotation"])
@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_reach_every_parameter_and_are_finite(name, inverse):
    f = LAYERS[name]()
    x = rotations(24) if name == "one rotation" else bodies()
    x.requires_grad_()
    y, ladj = (f.inverse_and_ladj if inverse else f.call_and_ladj)(x)
    (y.square() * torch.arange(y.shape[-1])).sum().add(ladj.sum()).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    for parameter_name, parameter in f.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


def test_a_stack_starts_as_a_contraction_of_what_is_small():
    f = rigid_couplings(BODIES, 3, 0.5, width=8, depth=1).double()
    q = SO3().expmap(torch.eye(4, dtype=torch.float64)[0], normal(5, BODIES, 3, scale=1e-4))
    x = torch.cat((normal(5, BODIES, 3, scale=0.1), q), -1)
    x[:, 0, :3] = 0
    y = f(x)
    assert_zero("places", y[..., :3] - 0.5 * x[..., :3], 1e-9)
    assert_zero("rotations", y[..., 4:] - 0.5 * x[..., 4:], 1e-11)  # of second order
    scale = math.log(0.5) * (6 * BODIES - 3)
    assert_zero("volume", f.call_and_ladj(x)[1] - scale, 1e-6)
