"""Autoregressive flows of atoms: causal, invertible in any number of sweeps, exact weights modulo rigid motions."""

import math

import pytest
import torch
from torch import Tensor

from sciflow.boltzmann import importance
from sciflow.errors import InputError
from sciflow.flows import (
    AutoregressiveAffine,
    BodyFrame,
    Composed,
    InternalCoordinates,
    MixedBase,
    NormalizingFlow,
    Whiten,
    tarflow,
)
from sciflow.nets import CausalTransformer
from sciflow.rng import sample_generators, step_generator

F64 = torch.float64
ORDER = torch.tensor([1, 0, 2, 3, 4])
CHAIN = torch.tensor([[0, -1, -1, -1], [1, 0, -1, -1], [2, 1, 0, -1], [3, 2, 1, 0], [4, 3, 2, 1]])
REST = torch.tensor([0.15] * 4 + [1.9] * 3 + [1.0, -2.0], dtype=F64)
SPREAD = torch.tensor([0.004] * 4 + [0.06] * 3 + [0.2, 0.2], dtype=F64)
T = 6


def perturbed(module: torch.nn.Module, scale: float) -> None:
    generator = step_generator(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator).to(parameter)


def block(chunk: int = 1, tolerance: float = 0.0, reverse: bool = False) -> AutoregressiveAffine:
    torch.manual_seed(0)
    affine = AutoregressiveAffine(T, 3, 8, 2, 2, chunk=chunk, tolerance=tolerance, reverse=reverse).double()
    perturbed(affine, 0.3)
    return affine


def points(n: int = 5) -> Tensor:
    return torch.randn(n, 3 * T, generator=step_generator(2), dtype=F64)


def molecules(n: int) -> Tensor:
    y = REST + SPREAD * torch.randn(n, 9, generator=step_generator(3), dtype=F64)
    return InternalCoordinates(CHAIN).inv(y)


def molecular_flow(chunk: int = 1) -> NormalizingFlow:
    flow = tarflow(ORDER, molecules(500), blocks=2, width=8, depth=1, heads=2, chunk=chunk).double()
    perturbed(flow, 0.03)
    return flow


class HarmonicMolecule:
    """A chain whose bonds, angles and torsions are in harmonic wells; its normaliser is a product of integrals."""

    log_z = float(
        (math.sqrt(2 * math.pi) * SPREAD).log().sum()
        + (REST[:4].square() + SPREAD[:4].square()).log().sum()  # ∫ b² of a normal
        + (REST[4:7].sin() * (-SPREAD[4:7].square() / 2).exp()).log().sum()  # ∫ sin a of a normal
    )

    def energy(self, x: Tensor) -> Tensor:
        return 0.5 * ((InternalCoordinates(CHAIN)(x) - REST) / SPREAD).square().sum(-1)


def test_outputs_from_stored_keys_are_those_of_all_places_at_once() -> None:
    torch.manual_seed(0)
    net = CausalTransformer(T, 3, 4, width=8, depth=2, heads=2).double()
    perturbed(net, 0.3)
    x = points().unflatten(-1, (T, 3))
    before, cache = torch.nn.functional.pad(x[:, :-1], (0, 0, 1, 0)), net.cache(len(x))
    pieces = [net.resume(before[:, a:b], a, cache) for a, b in ((0, 1), (1, 4), (4, 6))]
    torch.testing.assert_close(torch.cat(pieces, 1), net(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("reverse", [False, True])
def test_each_token_moves_by_those_before_it(reverse: bool) -> None:
    jacobian = torch.autograd.functional.jacobian(block(reverse=reverse), points(1)[0]).reshape(T, 3, T, 3)
    entries = jacobian.abs().amax((1, 3))
    before = torch.ones(T, T).tril().bool()
    before = before.T if reverse else before
    assert (entries[~before] == 0).all()
    assert (entries[before] > 0).all()


@pytest.mark.parametrize("chunk", [2, 4, T, 50])
def test_iteration_finds_what_decoding_finds(chunk: int) -> None:
    """In at most as many sweeps as tokens, to rounding."""
    iterated, sweeps = block(chunk), []
    resume = iterated.net.resume
    iterated.net.resume = lambda *args: sweeps.append(1) or resume(*args)
    y = points()
    x, ladj = iterated.inverse_and_ladj(y)
    expected, expected_ladj = block().inverse_and_ladj(y)
    torch.testing.assert_close((x, ladj), (expected, expected_ladj), rtol=0, atol=1e-12)
    assert len(sweeps) <= T
    torch.testing.assert_close(iterated(x), y, rtol=0, atol=1e-12)


def test_iteration_stops_at_its_tolerance() -> None:
    """A last move of ε leaves an error of no more than ε times the slope of the block and its inverse."""
    exact = block().inv(points()).detach()
    errors = [
        float((block(T, tolerance).inv(points()).detach() - exact).abs().max()) for tolerance in (0.0, 1e-6, 1e-2)
    ]
    assert errors[0] < 1e-12
    assert errors[1] < 1e-4
    assert errors[0] <= errors[1] <= errors[2]
    assert errors[2] > 0


@pytest.mark.parametrize("chunk", [1, 3])
def test_gradients_of_parameters_pass_the_inverse(chunk: int) -> None:
    """Against central differences along a random direction; and the ladj of the inverse has them as well."""
    affine = block(chunk)
    y, weight = points(), torch.randn(5, 3 * T, generator=step_generator(4), dtype=F64)
    directions = [torch.randn(p.shape, generator=step_generator(5), dtype=F64) for p in affine.parameters()]

    def value() -> Tensor:
        x, ladj = affine.inverse_and_ladj(y)
        return (x * weight).sum() + ladj.square().sum()

    gradients = torch.autograd.grad(value(), list(affine.parameters()))
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    ends = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for parameter, direction in zip(affine.parameters(), directions, strict=True):
                parameter += step * direction
            ends.append(float(value()))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)  # rounding 1e-16 × terms of 1e3 over 1e-6


def test_the_inverse_refuses_a_second_derivative() -> None:
    y = points().requires_grad_()
    with pytest.raises(RuntimeError, match="once"):
        torch.autograd.grad(block().inv(y).sum(), y, create_graph=True)


def test_normaliser_of_a_harmonic_molecule() -> None:
    """The density is exactly that of Cartesian volume modulo rigid motions: every factor of it is in log Z.

    Decorrelated, the flow needs no training to be near this target.
    """
    n, numbers, blocks = 20_000, torch.zeros(9, dtype=torch.bool), molecular_flow().transform.transforms[2:]
    frame = BodyFrame(ORDER)
    whiten = Whiten.fit(frame(molecules(5000)), numbers)
    flow = NormalizingFlow(MixedBase(numbers), Composed(frame, whiten, *blocks))
    weighted = importance(flow, HarmonicMolecule(), n, step_generator(6))
    error = math.sqrt((1 / weighted.ess() - 1) / n)
    assert error < 0.03
    assert weighted.log_z().value == pytest.approx(HarmonicMolecule.log_z, abs=4 * error)


@pytest.mark.parametrize("chunk", [1, 3])
def test_a_sample_carries_its_density_and_its_stream(chunk: int) -> None:
    flow = molecular_flow(chunk)
    with torch.no_grad():
        x, logq = flow.sample(7, generator=sample_generators(0, 0, 7))
        torch.testing.assert_close(flow.log_prob(x), logq, rtol=0, atol=1e-5)  # the tolerance of the inverse
        part = flow.sample(2, generator=sample_generators(0, 4, 2))
    torch.testing.assert_close(part, (x[4:6], logq[4:6]), rtol=0, atol=1e-5)


def test_density_knows_no_rigid_motion_and_gives_forces() -> None:
    flow, x = molecular_flow(), molecules(4).requires_grad_()
    turn = torch.linalg.qr(torch.randn(3, 3, generator=step_generator(7), dtype=F64)).Q
    turn = turn * torch.linalg.det(turn)
    log_prob = flow.log_prob(x)
    torch.testing.assert_close(flow.log_prob(x @ turn.T + 1.3), log_prob, rtol=0, atol=1e-9)
    (force,) = torch.autograd.grad(log_prob.sum(), x, create_graph=True)
    torch.testing.assert_close(force.sum(1), torch.zeros(4, 3, dtype=F64), rtol=0, atol=1e-8)
    force.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in flow.parameters())


def test_untrained_flow_standardises_its_data() -> None:
    z = tarflow(ORDER, molecules(2000)).transform(molecules(2000))
    torch.testing.assert_close(z.mean(0), torch.zeros(9), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std(0), torch.ones(9), atol=1e-5, rtol=0)


def test_single_precision_keeps_coordinates_in_double() -> None:
    flow = molecular_flow().float()
    x, logq = flow.sample(5, generator=step_generator(8))
    assert x.dtype == F64
    torch.testing.assert_close(flow.log_prob(x), logq, rtol=0, atol=1e-3)


def test_bad_orders_and_frames_are_refused() -> None:
    with pytest.raises(InputError, match="atom order"):
        tarflow(torch.tensor([0, 1, 1, 3]), molecules(5)[:, :4])
    with pytest.raises(InputError, match="shape"):
        tarflow(ORDER, molecules(5)[:, :4])
    with pytest.raises(ValueError, match="heads"):
        CausalTransformer(4, 3, 3, width=10, heads=4)
