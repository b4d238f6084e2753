"""Flows on lines, circles and molecules: normalised, consistent, reproducible."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import AffineTransform

from sciflow.errors import InputError
from sciflow.flows import (
    Composed,
    EqualEndsSpline,
    InternalCoordinates,
    MixedBase,
    NormalizingFlow,
    Whiten,
    smooth_flow,
    spline_couplings,
    spline_flow,
)
from sciflow.manifolds import Normal
from sciflow.rng import sample_generators, step_generator

# Butane-like: a chain of four with a methyl on each end, whose siblings follow the first (relative impropers).
ZMATRIX = torch.tensor(
    [
        [0, -1, -1, -1],
        [1, 0, -1, -1],
        [2, 1, 0, -1],
        [3, 2, 1, 0],
        [4, 2, 1, 3],
        [5, 2, 1, 3],
        [6, 0, 1, 2],
        [7, 0, 1, 6],
    ]
)


def perturb(flow: NormalizingFlow, scale: float = 0.1) -> NormalizingFlow:
    generator = step_generator(1)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator).to(parameter)
    return flow


def molecules(n: int) -> Tensor:
    """Frames that rattle, with the bond 1–2 turned by any angle and the methyl 6, 7 by less than one radian."""
    y = 0.03 * torch.randn(n, 18, generator=step_generator(2), dtype=torch.float64)
    y[:, :7] += 0.5
    y[:, 7:13] += 1.9
    y[:, 13:] += torch.tensor([0.0, 2.1, -2.1, 3.1, 2.1])
    y[:, 13] += 2 * math.pi * torch.rand(n, generator=step_generator(3), dtype=torch.float64)
    y[:, 16] += torch.rand(n, generator=step_generator(4), dtype=torch.float64)
    return InternalCoordinates(ZMATRIX).inv(y)


def mixed_flow() -> NormalizingFlow:
    """A 2-D flow on line × circle, off the identity, with correlated-data whitening."""
    circular = torch.tensor([False, True])
    whiten = Whiten.fit(torch.randn(50, 2, generator=step_generator(0), dtype=torch.float64) * 1.5 + 0.7, circular)
    stack = spline_couplings(circular, 4, 16, 6, bound=4.0, depth=1)
    return perturb(NormalizingFlow(MixedBase(circular), Composed(whiten, stack)).double())


def molecular_flow() -> NormalizingFlow:
    return perturb(spline_flow(ZMATRIX, molecules(300), couplings=4, width=16, bins=4))


def exact_molecular_flow() -> NormalizingFlow:
    return molecular_flow().double()


def test_density_on_line_and_circle_integrates_to_one() -> None:
    flow = mixed_flow()
    line = torch.linspace(-15, 15, 1501, dtype=torch.float64)
    angle = torch.linspace(-math.pi, math.pi, 101, dtype=torch.float64)[1:]
    with torch.no_grad():
        density = flow.log_prob(torch.cartesian_prod(line, angle)).exp()
    total = density.sum() * (line[1] - line[0]) * 2 * math.pi / 100
    # Splines are once differentiable, so the trapezoid rule is accurate to the square of its step.
    assert total.item() == pytest.approx(1, abs=2e-4)


def test_spline_is_the_identity_at_zero_and_monotonic_elsewhere() -> None:
    x = torch.linspace(0, 1, 1001, dtype=torch.float64)[None]
    zero = torch.zeros(5, 1, 1001, dtype=torch.float64)
    y, ladj = EqualEndsSpline(zero, zero, zero).call_and_ladj(x)
    torch.testing.assert_close((y, ladj), (x, torch.zeros_like(x)), atol=1e-12, rtol=0)
    raw = 3 * torch.randn(3, 5, 1, 1, generator=step_generator(0), dtype=torch.float64)
    y, ladj = EqualEndsSpline(*raw.expand(3, 5, 1, 1001)).call_and_ladj(x)
    assert (y.diff() > 0).all()
    torch.testing.assert_close(y[0, [0, -1]], x[0, [0, -1]], atol=1e-12, rtol=0)
    torch.testing.assert_close(
        ladj[0, 0], ladj[0, -1], atol=1e-8, rtol=0
    )  # ξ is a difference of 1, divided by a narrow bin


def test_spline_with_extreme_parameters_is_finite_in_float32() -> None:
    raw = 20 * torch.randn(3, 8, 100, 100, generator=step_generator(0))
    raw.requires_grad_()
    x = torch.linspace(0, 1, 100).expand(100, 100)
    for direction in (EqualEndsSpline.call_and_ladj, EqualEndsSpline.inverse_and_ladj):
        y, ladj = direction(EqualEndsSpline(*raw), x)
        assert ((y >= -1e-6) & (y <= 1 + 1e-6)).all()
        assert ladj.isfinite().all()
        assert torch.autograd.grad(y.sum() + ladj.sum(), raw)[0].isfinite().all()


@pytest.mark.parametrize("build", [mixed_flow, exact_molecular_flow])
def test_a_sample_carries_its_density(build: Callable[[], NormalizingFlow]) -> None:
    flow = build()
    x, logq = flow.sample(20, generator=step_generator(5))
    torch.testing.assert_close(flow.log_prob(x), logq, atol=1e-9, rtol=0)


def test_network_in_float32_keeps_coordinates_in_float64() -> None:
    flow = molecular_flow()
    x, logq = flow.sample(50, generator=step_generator(5))
    assert (x.dtype, logq.dtype) == (torch.float64, torch.float64)
    torch.testing.assert_close(flow.log_prob(x), logq, atol=1e-3, rtol=0)  # 18 float32 splines, 4 layers
    torch.testing.assert_close(copy.deepcopy(flow).double().log_prob(x), logq, atol=1e-3, rtol=0)


@pytest.mark.parametrize("build", [mixed_flow, exact_molecular_flow])
def test_sample_i_depends_on_generator_i_alone(build: Callable[[], NormalizingFlow]) -> None:
    flow = build()
    whole, logq = flow.sample(7, generator=sample_generators(0, 0, 7))
    part, part_logq = flow.sample(2, generator=sample_generators(0, 4, 2))
    # Equal but for the order in which a matrix product of another size adds.
    torch.testing.assert_close((part, part_logq), (whole[4:6], logq[4:6]), atol=1e-11, rtol=0)


def test_checkpoint_carries_the_whitening(tmp_path: Path) -> None:
    flow = exact_molecular_flow()
    torch.save(flow.state_dict(), tmp_path / "flow.pt")
    other = spline_flow(ZMATRIX, molecules(40), couplings=4, width=16, bins=4).double()
    other.load_state_dict(torch.load(tmp_path / "flow.pt"))
    x = molecules(5)
    assert torch.equal(flow.log_prob(x), other.log_prob(x))


def test_same_seed_same_flow_whatever_the_global_state() -> None:
    flows = []
    for state in (1, 2):
        torch.manual_seed(state)
        flows.append(spline_flow(ZMATRIX, molecules(40), couplings=3, width=8, bins=4, seed=7).state_dict())
    for name, value in flows[0].items():
        assert torch.equal(value, flows[1][name]), name


def test_untrained_molecular_flow_is_the_gaussian_fit_of_its_data() -> None:
    """Couplings start as the identity: latents of training data are white, only the turning torsion is an angle."""
    flow = spline_flow(ZMATRIX, molecules(2000))
    assert flow.base.circular.nonzero().flatten().tolist() == [13]
    z, _ = flow.transform.call_and_ladj(molecules(2000))
    numbers = z[:, ~flow.base.circular]
    torch.testing.assert_close(numbers.T.cov(), torch.eye(17), atol=1e-3, rtol=0)  # one pseudo-frame in 2000
    torch.testing.assert_close(numbers.mean(0), torch.zeros(17), atol=1e-5, rtol=0)


def test_every_draw_is_a_molecule() -> None:
    flow = exact_molecular_flow()
    z = flow.base.sample(200, generator=step_generator(0), dtype=torch.float64)
    z[:, ~flow.base.circular] *= 20  # far in the tails
    internal = flow.transform.transforms[0](flow.transform.inv(z))
    assert (internal[:, :7] > 0).all()
    torch.testing.assert_close(flow.transform.transforms[0](flow.transform.inv(z)), internal)
    assert flow.log_prob(molecules(5)).isfinite().all()


def test_any_prior_and_any_torch_transform() -> None:
    flow = NormalizingFlow(Normal(3), torch.distributions.IndependentTransform(AffineTransform(1.0, 2.0), 1))
    x, logq = flow.sample(10, generator=step_generator(0))
    torch.testing.assert_close(flow.log_prob(x), logq)


def test_whitening_survives_fewer_frames_than_dimensions() -> None:
    x = torch.randn(4, 10, generator=step_generator(0), dtype=torch.float64)
    whiten = Whiten.fit(x, torch.zeros(10, dtype=torch.bool))
    torch.testing.assert_close(whiten.inv(whiten(x)), x, atol=1e-10, rtol=0)
    assert whiten(x).abs().max() < 10


def test_branch_cut_lies_where_no_data_is() -> None:
    angles = torch.cat((torch.linspace(2.5, 3.1, 50), torch.linspace(-3.1, -2.0, 50)))[:, None]
    turned = Whiten.fit(angles, torch.tensor([True]))(angles)
    assert turned.abs().max() < 1.0  # the data spans 1.8 rad: 0.9 to either side


@pytest.mark.parametrize("frames", [1, 5])
def test_bad_frames_are_refused(frames: int) -> None:
    x = molecules(frames)
    x = x[:1].expand(frames, -1, -1)
    with pytest.raises(InputError, match="2" if frames == 1 else "not vary"):
        spline_flow(ZMATRIX, x)
    y = InternalCoordinates(ZMATRIX)(molecules(50))
    y[:, 2] = 0.1 + 1e-6 * y[:, 2]
    with pytest.raises(InputError, match="constraints"):
        spline_flow(ZMATRIX, InternalCoordinates(ZMATRIX).inv(y))
    with pytest.raises(InputError, match=r"shape"):
        spline_flow(ZMATRIX, x[:, :5])
    with pytest.raises(InputError, match="not vary"):
        Whiten.fit(torch.ones(4, 2), torch.tensor([True, False]))
    with pytest.raises(InputError, match="not finite"):
        Whiten.fit(torch.tensor([[1.0], [2.0], [math.nan]]), torch.tensor([False]))


FLOWS: dict[str, Callable[[], NormalizingFlow]] = {
    "smooth": lambda: smooth_flow(ZMATRIX, molecules(300), 4, 16, 4),
    "smooth, mixed": lambda: smooth_flow(ZMATRIX, molecules(300), 4, 16, 4, core=[0, 1, 2, 4]),
    "spline": lambda: spline_flow(ZMATRIX, molecules(300), 4, 16, 4),
    "spline, mixed": lambda: spline_flow(ZMATRIX, molecules(300), 4, 16, 4, core=[2, 1, 0]),
}


@pytest.mark.parametrize("name", FLOWS)
def test_forces_of_molecules_and_their_gradients(name: str) -> None:
    """Through internal or mixed coordinates, unbinding, whitening and couplings: against finite differences."""
    flow = perturb(FLOWS[name]()).double()
    x, logq = flow.sample(3, generator=step_generator(5))
    torch.testing.assert_close(flow.log_prob(x), logq, atol=1e-9, rtol=0)
    x = molecules(2).requires_grad_()
    assert torch.autograd.gradcheck(flow.log_prob, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(flow.log_prob, x, fast_mode=True)

    def square_force(x: Tensor) -> Tensor:
        return torch.autograd.grad(flow.log_prob(x).sum(), x, create_graph=True)[0].square().mean()

    square_force(x).backward()
    generator = step_generator(6)
    step = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in flow.parameters()]
    slope = sum((p.grad * s).sum() for p, s in zip(flow.parameters(), step, strict=True))
    ends = []
    for sign in (1e-6, -2e-6, 1e-6):  # the last brings the parameters back
        with torch.no_grad():
            for p, s in zip(flow.parameters(), step, strict=True):
                p += sign * s
        ends.append(square_force(x).detach())
    torch.testing.assert_close((ends[0] - ends[1]) / 2e-6, slope, rtol=1e-5, atol=0)
