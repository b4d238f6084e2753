"""The field of proteins: its symmetries, what it may see, and what it must leave alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sciflow.manifolds import SE3, SO3, Euclidean, FlatTorus, Product, Simplex
from sciflow.manifolds.quaternion import multiply, rotate
from sciflow.paths import Exponential, GeodesicPath, Linear
from sciflow.proteins.network import ProteinField

State = dict[str, Tensor]

FULL = Product(translation=Euclidean(3), rotation=SO3(), torsions=FlatTorus(5), sequence=Simplex(20))


def net(manifold: Product = FULL, dtype: torch.dtype = torch.float64, heads: bool = True) -> ProteinField:
    """A small field whose heads, zero at first, have moved away from there."""
    schedules = {name: Exponential(10) if name == "rotation" else Linear() for name in manifold.factors}
    field = ProteinField(GeodesicPath(manifold, schedules), width=32, pair_width=16, depth=2, heads=4)
    if heads:
        for name, parameter in field.named_parameters():
            if not parameter.any() and name.endswith("weight"):
                torch.nn.init.normal_(parameter, std=0.1)
    return field.to(dtype)


def given(manifold: Product = FULL, n: int = 14, dtype: torch.dtype = torch.float64) -> tuple[State, Tensor, State]:
    """Two complexes of two chains with a gap each, the second of them padded; the first five residues are context."""
    x = manifold.prior().sample(2, n, dtype=dtype)
    index = torch.cat([torch.arange(5), torch.arange(n - 5) + 2])
    index[-3:] += 4
    conditions = {
        "mask": torch.arange(n) < torch.tensor([[n], [n - 4]]),
        "residue_index": index.expand(2, n).clone(),
        "chain": (torch.arange(n) >= 5).long().expand(2, n).clone(),
    }
    known = (torch.arange(n) < 5).expand(2, n).clone()
    conditions |= dict.fromkeys(("known_frames", "known_torsions", "known_sequence"), known)
    if "torsions" in manifold.factors:
        conditions["torsion_mask"] = torch.rand(2, n, 5) < 0.7
    return x, torch.tensor([0.3, 0.8], dtype=dtype), conditions


def moved(x: State, turn: Tensor, shift: Tensor) -> State:
    return x | {"translation": rotate(turn, x["translation"]) + shift, "rotation": multiply(turn, x["rotation"])}


def assert_same(a: State, b: State, tolerance: float) -> None:
    """Points or tangents; of rotations q and −q are one point."""
    for name in a:
        gap = SO3().dist(a[name], b[name]) if a[name].shape[-1] == 4 else a[name] - b[name]
        assert gap.abs().max() < tolerance, name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_endpoints_move_with_the_protein(dtype: torch.dtype, tolerance: float) -> None:
    """Of the previous endpoints distances enter alone: they may move on their own."""
    field, (x, t, conditions) = net(dtype=dtype), given(dtype=dtype)
    conditions["mask"] = torch.ones_like(conditions["mask"])
    turns, shift = SO3().random(2, dtype=dtype), torch.tensor([5.0, -4.0, 3.0], dtype=dtype)
    previous = FULL.prior().sample(2, 14, dtype=dtype)
    with torch.no_grad():
        still = field.denoise(x, t, previous=previous, **conditions)
        there = moved(x, turns[0], shift), moved(previous, turns[1], -shift)
        assert_same(
            field.denoise(there[0], t, previous=there[1], **conditions), moved(still, turns[0], shift), tolerance
        )


def test_an_untrained_field_stays_where_it_is() -> None:
    field, (x, t, conditions) = net(heads=False), given()
    end = field.denoise(x, t, **conditions)
    assert_same({name: end[name] for name in x if name != "sequence"}, x, 1e-12)
    free = conditions["mask"] & ~conditions["known_sequence"]
    torch.testing.assert_close(end["sequence"][free], torch.full_like(end["sequence"][free], 0.05))


def test_padding_changes_nothing() -> None:
    """One padded with numbers that are none, beside itself alone."""
    field, (x, t, conditions) = net(), given()
    nan = {name: part.where(conditions["mask"][..., None], torch.nan) for name, part in x.items()}
    for call in (field.denoise, field.velocity):
        padded = call(nan, t, previous=nan, **conditions)
        cut = [{name: part[1:, :10] for name, part in parts.items()} for parts in (x, conditions)]
        alone = call(cut[0], t[1:], previous=cut[0], **cut[1])
        assert_same({name: part[1:, :10] for name, part in padded.items()}, alone, 1e-10)


def test_what_is_known_stays_to_the_last_bit() -> None:
    field, (x, t, conditions) = net(), given()
    end, u = field.denoise(x, t, **conditions), field.velocity(x, t, **conditions)
    still = conditions["known_frames"] | ~conditions["mask"]
    for name in x:
        assert torch.equal(end[name][still], x[name][still])
        assert not u[name][still].any()
        assert (u[name][~still].abs().amax(-1) > 0).all(), name


@pytest.mark.parametrize("part", ["translation", "rotation", "torsions", "sequence"])
def test_the_context_is_seen(part: str) -> None:
    field, (x, t, conditions) = net(), given()
    other = x | {part: x[part].clone()}
    other[part][:, 2] = x[part][:, 3]
    a, b = field.denoise(x, t, **conditions), field.denoise(other, t, **conditions)
    for name in x:
        assert ((a[name] - b[name])[0, 5:].abs().amax(-1) > 1e-9).all(), name


CHANGES: dict[str, Callable[[State], State]] = {
    "numbers shifted": lambda c: {"residue_index": c["residue_index"] + 100},
    "chains renamed": lambda c: {"chain": 7 - 3 * c["chain"]},
    "numbers of one chain shifted": lambda c: {"residue_index": c["residue_index"] + 9 * c["chain"]},
    "torsions that give hidden amino acids away": lambda c: {
        "torsion_mask": c["torsion_mask"] ^ ~c["known_sequence"][..., None]
    },
    "amino acids that are generated": lambda c: {"aatype": torch.randint(20, c["chain"].shape)},
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_seen(change: str) -> None:
    field, (x, t, conditions) = net(), given()
    other = field.velocity(x, t, **conditions | CHANGES[change](conditions))
    assert_same(field.velocity(x, t, **conditions), other, 1e-12)


@pytest.mark.parametrize("hidden", ["torsions", "sequence"])
def test_which_torsions_exist_is_read_where_both_they_and_the_type_are_known(hidden: str) -> None:
    """In packing and docking the type is known: samples, whose structure nobody has, must look as training data do."""
    field, (x, t, conditions) = net(), given()
    free = ~conditions["known_frames"][..., None]
    every = torch.ones_like(conditions["mask"])
    conditions |= {name: every for name in ("known_torsions", "known_sequence") if name != f"known_{hidden}"}
    turned = [conditions | {"torsion_mask": conditions["torsion_mask"] ^ where} for where in (free, ~free)]
    here, unread, read = (field.denoise(x, t, **c) for c in (conditions, *turned))
    assert_same(here, unread, 1e-12)
    assert (here["translation"] - read["translation"])[0, 5:].abs().max() > 1e-9


def test_gaps_are_seen() -> None:
    field, (x, t, conditions) = net(), given()
    closed = conditions | {"residue_index": torch.arange(14).expand(2, 14)}
    a, b = field.denoise(x, t, **conditions), field.denoise(x, t, **closed)
    assert ((a["translation"] - b["translation"])[0, 5:].abs().amax(-1) > 1e-9).all()


def test_the_order_of_chains_does_not_matter() -> None:
    field, (x, t, conditions) = net(), given()
    order = torch.cat([torch.arange(5, 14), torch.arange(5)])
    swapped = [{name: part[:1, order] for name, part in parts.items()} for parts in (x, conditions)]
    there = field.denoise(swapped[0], t[:1], **swapped[1])
    here = field.denoise(x, t, **conditions)
    assert_same(there, {name: part[:1, order] for name, part in here.items()}, 1e-10)


def test_velocity_is_that_of_the_path_and_the_mean_over_amino_acids() -> None:
    field, (x, t, conditions) = net(), given()
    end, u = field.denoise(x, t, **conditions), field.velocity(x, t, **conditions)
    free = conditions["mask"] & ~conditions["known_frames"]
    expected = field.path.velocity(end, x, t)
    letters = torch.eye(20, dtype=t.dtype)
    toward = [field.path.velocity(x | {"sequence": letters[k].expand(2, 14, 20)}, x, t)["sequence"] for k in range(20)]
    expected["sequence"] = sum(end["sequence"][..., k : k + 1] * toward[k] for k in range(20))
    for name in x:
        torch.testing.assert_close(u[name][free], expected[name][free], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("case", ["apart", "identical frames", "one residue", "t = 0", "t = 1"])
def test_gradients_are_finite_and_reach_every_parameter(case: str) -> None:
    field, (x, t, conditions) = net(dtype=torch.float32), given(dtype=torch.float32)
    if case == "identical frames":
        x = {name: part[:, :1].expand_as(part) for name, part in x.items()}
    if case == "one residue":
        conditions["mask"] = (torch.arange(14) == 9).expand(2, 14)
    t = {"t = 0": torch.zeros_like(t), "t = 1": torch.ones_like(t)}.get(case, t)
    x = {name: part.clone().requires_grad_() for name, part in x.items()}
    u = field.velocity(x, t, previous={name: part.detach() for name, part in x.items()}, **conditions)
    sum(part.square().sum() for part in u.values()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert case != "apart" or parameter.grad.any(), name
    assert all(part.grad.isfinite().all() for part in x.values())


def test_backbones_alone_and_their_given_amino_acids() -> None:
    field, (x, t, conditions) = net(SE3()), given(SE3())
    a = field.denoise(x, t, **conditions)
    b = field.denoise(x, t, **conditions, aatype=torch.zeros(2, 14, dtype=torch.long))
    assert a.keys() == x.keys()
    assert ((a["translation"] - b["translation"])[0, 5:].abs().amax(-1) > 1e-9).all()
    sum(part.square().sum() for part in b.values()).backward()
    assert all(parameter.grad is not None for parameter in field.parameters())


def test_mixed_precision_keeps_places() -> None:
    """Endpoints in single precision, off by the three digits of what moves them; equivariant to the same."""
    field, (x, t, conditions) = net(dtype=torch.float32), given(dtype=torch.float32)
    with torch.no_grad():
        exact = field.denoise(x, t, **conditions)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            end = field.denoise(x, t, **conditions)
    assert all(part.dtype == torch.float32 for part in end.values())
    free = conditions["mask"] & ~conditions["known_frames"]
    error, step = ((end["translation"] - y["translation"])[free].norm() for y in (exact, x))
    assert error < 0.03 * step
