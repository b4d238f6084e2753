"""Laws of the model of proteins: it lands, keeps what is known, sees nothing that is hidden, and learns."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from sciflow.errors import InputError
from sciflow.manifolds import SE3, SO3, Euclidean, FlatTorus, Product, Simplex, tree_map, wrap
from sciflow.manifolds.quaternion import multiply, rotate
from sciflow.paths import kabsch
from sciflow.proteins.frame_flow import FrameFlow
from sciflow.proteins.frames import backbone
from sciflow.proteins.guidance import Motif
from sciflow.proteins.losses import ProteinLoss
from sciflow.proteins.model import CANDIDATES, ProteinModel
from sciflow.proteins.residues import HAS_TORSION, SYMMETRIC
from sciflow.proteins.sources import origin
from sciflow.proteins.tasks import TASKS, check_tasks, draw_motif, draw_tasks, known
from sciflow.rng import sample_generators, step_generator

FULL = Product(translation=Euclidean(3), rotation=SO3(), torsions=FlatTorus(5), sequence=Simplex(20))
LENGTHS = (9, 12, 6, 11)
State = dict[str, Tensor]


def build(
    manifold: Product = FULL, tasks: dict[str, float] | None = None, width: int = 16, trained: bool = True
) -> ProteinModel:
    """A small model in float64; ``trained``: its heads, which start at zero, say something."""
    torch.manual_seed(0)
    architecture = FrameFlow(width=width, pair_width=8, depth=2, heads=2)
    model = architecture.build(manifold, 0.8, tasks or {"backbone": 1.0}).double()
    for parameter in model.parameters() if trained else ():
        if not parameter.any():
            parameter.data.normal_(std=0.1)
    return model


def batch(manifold: Product = FULL, context: int = 0, seed: int = 0) -> dict[str, Any]:
    """Random proteins of ``LENGTHS`` as data; the first ``context`` residues of each are given whole."""
    generator = step_generator(seed)
    n, most = len(LENGTHS), max(LENGTHS)
    x: Any = manifold.random(n, most, generator=generator, dtype=torch.float64)
    index = torch.arange(most).expand(n, most)
    found: dict[str, Any] = {
        "x": x,
        "mask": index < torch.tensor(LENGTHS)[:, None],
        "residue_index": index + 5,
        "chain": (index >= context).long(),
        "context": index < context,
    }
    if "sequence" in x:
        found["aatype"] = torch.randint(20, (n, most), generator=generator)
        x["sequence"] = torch.eye(20, dtype=torch.float64)[found["aatype"]]
        found["torsion_mask"] = HAS_TORSION[found["aatype"]]
    return found


def conditions(data: dict[str, Any], task: str) -> dict[str, Any]:
    motif = draw_motif(data["mask"] & ~data["context"], step_generator(7))
    masks = known([task] * len(LENGTHS), data["mask"] & ~data["context"], data["context"], motif)
    return {name: value for name, value in data.items() if name != "context"} | masks


def apart(x: State, y: State, mask: Tensor) -> float:
    """The largest distance on the product, over the residues in the mask."""
    return float(FULL.dist({**x}, {**y})[mask].max())


@pytest.mark.parametrize("steps", [2, 3, 10])
@pytest.mark.parametrize("task", ["codesign", "motif", "docking"])
def test_lands_on_a_perfect_prediction(steps: int, task: str) -> None:
    data, model = batch(context=2), build()
    cond = conditions(data, task)
    centre = origin(data["x"]["translation"], cond["known_frames"], data["mask"])
    end = data["x"] | {"translation": data["x"]["translation"] - centre}
    model.field.denoise = lambda x, t, **_: end
    drawn = model.sample(len(LENGTHS), cond, sample_generators(0, 0, len(LENGTHS)), steps=steps)
    assert drawn.nfe == steps
    assert apart(drawn.x, data["x"], data["mask"]) < 1e-6  # 1 − κ of the rotations is e⁻¹⁰ at the last step


def test_any_grid_lands() -> None:
    data, model = batch(context=2), build()
    cond = conditions(data, "packing")
    model.field.denoise = lambda x, t, **_: data["x"]
    grid = torch.tensor([0.0, 0.5, 0.6, 1.0], dtype=torch.float64)
    centre = origin(data["x"]["translation"], cond["known_frames"], data["mask"])
    data["x"]["translation"] = data["x"]["translation"] - centre
    assert apart(model.sample(4, cond, sample_generators(0, 0, 4), grid=grid).x, data["x"], data["mask"]) < 1e-6


def test_a_trajectory_is_that_of_the_sample() -> None:
    data, model = batch(context=2), build()
    cond = conditions(data, "motif")
    drawn = model.sample(4, cond, sample_generators(0, 0, 4), steps=3)
    assert isinstance(drawn.x0, dict)
    states = model.trajectory(drawn.x0, cond, steps=3)
    assert len(states) == 4
    assert apart(states[0], drawn.x0, data["mask"]) < 1e-9
    assert apart(states[-1], drawn.x, data["mask"]) < 1e-9


def test_an_optimal_grid_is_chosen_by_the_rollout_of_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is asked what the finest sample asks it, its own last answers among it, and nothing else."""
    data, model = batch(SE3(), context=2), build(SE3())
    cond, asked, denoise = conditions(data, "motif"), [], model.field.denoise

    def heard(x: State, t: Tensor, previous: State | None = None, **told: Tensor) -> State:
        asked.append((x, t, previous or {}))
        end: State = denoise(x, t, previous=previous, **told)
        return end

    monkeypatch.setattr(model.field, "denoise", heard)
    grid = model.optimal_grid(4, cond, sample_generators(0, 0, 4), steps=3)
    chosen = asked.copy()
    asked.clear()
    model.sample(4, cond, sample_generators(0, 0, 4), steps=CANDIDATES)
    assert len(chosen) == len(asked) == CANDIDATES
    for one, other in zip(chosen, asked, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert grid[0] == 0
    assert grid[-1] == 1
    assert len(grid) == 4
    assert (grid.diff() > 0).all()


def test_what_a_grid_costs_is_how_far_atoms_move() -> None:
    """Places by 0.03 nm, rotations by 0.2 rad, two angles by 0.1 rad each: at arms of 0.15 nm."""
    model = build()
    x = batch()["x"]
    turn = torch.tensor([math.cos(0.1), math.sin(0.1), 0.0, 0.0], dtype=torch.float64)
    y = x | {
        "translation": x["translation"] + torch.tensor([0.0, 0.03, 0.0]),
        "rotation": multiply(x["rotation"], turn.expand_as(x["rotation"])),
        "torsions": x["torsions"] + torch.tensor([0.1, 0.0, -0.1, 0.0, 0.0]),
    }
    expected = 0.03**2 + 0.15**2 * (0.2**2 + 2 * 0.1**2)
    torch.testing.assert_close(model._apart(x, y).square(), torch.full((4, 12), expected, dtype=torch.float64))


@pytest.mark.parametrize("task", list(TASKS))
def test_known_residues_are_kept_bit_by_bit(task: str) -> None:
    data, model = batch(context=2), build()
    data["x"]["translation"] += 30.0  # far away, where centring would round
    cond = conditions(data, task)
    drawn = model.sample(4, cond, sample_generators(0, 0, 4), steps=3).x
    for name, mask in (
        ("translation", "known_frames"),
        ("rotation", "known_frames"),
        ("torsions", "known_torsions"),
        ("sequence", "known_sequence"),
    ):
        assert cond[mask].any()
        assert not cond[mask].all()
        assert torch.equal(drawn[name][cond[mask]], data["x"][name][cond[mask]])
        hidden = data["mask"] & ~cond[mask]
        assert not (drawn[name][hidden] == data["x"][name][hidden]).all(-1).any()


@pytest.mark.parametrize("task", list(TASKS))
def test_what_is_hidden_enters_nothing(task: str) -> None:
    data, model = batch(context=2), build()
    cond = conditions(data, task)
    shown = model.sample(4, cond, sample_generators(0, 0, 4), steps=2).x
    other = batch(context=2, seed=1)
    masks = {
        "translation": cond["known_frames"],
        "rotation": cond["known_frames"],
        "torsions": cond["known_torsions"],
        "sequence": cond["known_sequence"],
    }
    moved = {
        name: torch.where(mask[..., None], data["x"][name], other["x"][name] + math.nan) for name, mask in masks.items()
    }
    certain = cond["known_sequence"]
    changed = cond | {
        "x": moved,
        "aatype": torch.where(certain, data["aatype"], other["aatype"]),
        "torsion_mask": torch.where(certain[..., None], data["torsion_mask"], other["torsion_mask"]),
    }
    hidden = model.sample(4, changed, sample_generators(0, 0, 4), steps=2).x
    assert all(torch.equal(shown[name], hidden[name]) for name in shown)


def test_training_centres_on_the_context() -> None:
    """The hidden part, moved, changes neither sources nor what is known: not even its centre is told."""
    data, model = batch(context=3), build()
    far = data | {"x": data["x"] | {"translation": data["x"]["translation"].clone()}}
    far["x"]["translation"][~data["context"]] += 5.0
    near, moved = (model.coupler(one, step_generator(3)) for one in (data, far))
    kept = data["context"]
    assert torch.equal(near["x"]["translation"][kept], moved["x"]["translation"][kept])
    assert all(torch.equal(near["x0"][name], moved["x0"][name]) for name in ("translation", "rotation", "sequence"))
    assert float(near["x"]["translation"][kept].reshape(4, 3, 3).mean(1).abs().max()) < 1e-12


def test_a_sample_is_the_same_in_any_batch() -> None:
    data, model = batch(context=2), build()
    cond = conditions(data, "motif")
    together = model.sample(4, cond, sample_generators(5, 0, 4), steps=3).x
    for i, length in enumerate(LENGTHS):
        own = tree_map(lambda leaf, i=i, length=length: leaf[i : i + 1, :length], cond["x"])
        alone = {name: value[i : i + 1, :length] for name, value in cond.items() if name != "x"} | {"x": own}
        x = model.sample(1, alone, sample_generators(5, i, 1), steps=3).x
        assert apart({k: v[i : i + 1, :length] for k, v in together.items()}, x, alone["mask"]) < 1e-9


@pytest.mark.parametrize("manifold", [SE3(), FULL])
def test_padding_may_hold_anything(manifold: Product) -> None:
    data, model = batch(manifold), build(manifold)
    junk = {
        name: torch.where(data["mask"][..., None], value, torch.full_like(value, 9.0))
        for name, value in data["x"].items()
    }
    losses = [model.loss(data | {"x": x}, step_generator(1)) for x in (data["x"], junk)]
    assert torch.equal(*losses)


def test_loss_does_not_notice_where_a_protein_lies() -> None:
    """Sources are turned to the data, and the network turns with both."""
    data, model = batch(SE3()), build(SE3())
    turn = SO3().random(4, 1, generator=step_generator(2), dtype=torch.float64)
    x = data["x"]
    moved = {"translation": rotate(turn, x["translation"]) + 3.0, "rotation": multiply(turn, x["rotation"])}
    here, there = (model.loss(data | {"x": one}, step_generator(1)) for one in (x, moved))
    assert torch.allclose(here, there, rtol=1e-6)


def test_sources_are_turned_to_their_data_and_centred() -> None:
    data, model = batch(SE3()), build(SE3())
    coupled = model.coupler(data, step_generator(0))
    left = kabsch(coupled["x0"]["translation"], coupled["x"]["translation"])
    assert torch.allclose(left, torch.eye(3, dtype=torch.float64).expand(4, 3, 3), atol=1e-6)
    for name in ("x", "x0"):
        assert float(coupled[name]["translation"].sum(1).abs().max()) < 1e-12


@pytest.mark.parametrize("task", ["backbone", "motif"])
def test_samples_start_where_training_does(task: str) -> None:
    """Of the same random stream, sources of both are the same but for a turn, and as wide as measured."""
    data, model, generator = batch(SE3()), build(SE3(), {task: 1.0}), step_generator(3)
    trained = model.coupler(data, step_generator(3))["x0"]
    cond = data | model.coupler._known(data, generator)  # tasks are drawn before sources
    frames, hidden = cond["known_frames"], data["mask"] & ~cond["known_frames"]
    drawn: Any = model.sample(4, cond, generator, steps=1).x0
    centre = origin(drawn["translation"], frames, data["mask"])
    found = (drawn["translation"] - centre).norm(dim=-1)[hidden]
    assert torch.allclose(found, trained["translation"].norm(dim=-1)[hidden], rtol=0, atol=1e-9)
    real = torch.ones(2000, 12, dtype=torch.bool)
    x0 = model.prior.sample(real, real & (task == "motif"), step_generator(4), torch.float64)["translation"]
    normals = real.sum() - (0 if task == "motif" else len(real))  # the centre takes one a protein
    variance = float(x0.square().sum() / (3 * normals))
    assert abs(variance / 0.8**2 - 1) < 4 * math.sqrt(2 / (3 * float(normals)))


def test_stored_pairs_keep_their_sources() -> None:
    data, model = batch(SE3()), build(SE3())
    x0: Any = SE3().random(4, 12, generator=step_generator(8), dtype=torch.float64)
    coupled = model.coupler(data | {"x0": x0}, step_generator(0))
    assert torch.equal(coupled["x0"]["rotation"][data["mask"]], x0["rotation"][data["mask"]])


@pytest.mark.parametrize("task", ["motif", "fixbb", "packing", "codesign"])
def test_stored_pairs_keep_what_was_known_and_where_they_end(task: str) -> None:
    """Whatever tasks the model draws in training; nothing is known where nothing was, and no end is moved."""
    data, model = batch(context=3), build(tasks={"backbone": 1.0, "motif": 5.0})
    told = conditions(data, task)
    stored = {name: value for name, value in told.items() if name != "x"} | {"x": data["x"], "x0": FULL.random(4, 12)}
    coupled = model.coupler(stored, step_generator(0))
    for name in ("known_frames", "known_torsions", "known_sequence"):
        assert torch.equal(coupled[name], told[name])
    real = data["mask"]
    assert torch.equal(coupled["x"]["torsions"][real], data["x"]["torsions"][real])
    assert coupled["counted"].all()
    free = {name: value for name, value in stored.items() if not name.startswith("known_")}
    assert not model.coupler(free, step_generator(0))["known_frames"].any()
    assert model.loss(stored, step_generator(0)).isfinite().all()


def test_angles_that_are_absent_missing_or_symmetric() -> None:
    data, model = batch(), build()
    data["torsion_mask"][:, 4] = False
    coupled = model.coupler(data, step_generator(0))
    x0, x1, true = coupled["x0"]["torsions"], coupled["x"]["torsions"], data["x"]["torsions"]
    has, alike, real = HAS_TORSION[data["aatype"]], SYMMETRIC[data["aatype"]], data["mask"][..., None]
    assert not x1[~has & real].any()
    missing = has & ~data["torsion_mask"] & real
    assert missing.any()
    assert torch.equal(x1[missing], x0[missing])
    assert not coupled["counted"][missing].any()
    seen = has & data["torsion_mask"] & real
    assert torch.equal(x1[seen & ~alike], true[seen & ~alike])
    both = seen & alike
    assert both.any()
    assert float(wrap(2 * (x1 - true))[both].abs().max()) < 1e-9
    assert float(wrap(x1 - x0)[both].abs().max()) <= math.pi / 2 + 1e-9


def test_a_perfect_prediction_costs_nothing() -> None:
    data, model = batch(context=2), build(tasks={"codesign": 1.0, "docking": 1.0})
    coupled = model.coupler(data, step_generator(0))
    model.field.denoise = lambda x, t, **_: coupled["x"]
    assert float(model.loss(coupled, step_generator(1)).abs().max()) < 1e-12


@pytest.mark.parametrize("term", ["translation", "rotation", "torsions", "angles", "sequence", "atoms"])
def test_the_loss_is_a_mean_over_what_is_hidden(term: str) -> None:
    """Known residues weigh nothing, not even in the number that it is divided by: as if they were not there."""
    data, model = batch(context=3), build()
    coupled = model.coupler(data, step_generator(0))
    drawn = model.path.sample(coupled["x0"], coupled["x"], torch.full((4,), 0.5, dtype=torch.float64))
    end: Any = FULL.random(4, 12, generator=step_generator(1), dtype=torch.float64)
    zero = dict.fromkeys(vars(ProteinLoss()), 0.0)
    loss = ProteinLoss(**zero | {term: 1.0})
    found, alone = (
        loss(model.path, end, drawn, coupled | {"mask": mask})
        for mask in (data["mask"], data["mask"] & ~data["context"])
    )
    assert (found > 1e-3).all()
    assert torch.allclose(found, alone, rtol=1e-9)


def test_every_parameter_learns_from_every_task() -> None:
    data, model = batch(context=2), build(tasks={"codesign": 1.0})
    for step in range(4):  # a step has a previous endpoint or none
        model.loss(data, step_generator(step)).mean().backward()
    assert all(p.grad is not None and p.grad.any() and p.grad.isfinite().all() for p in model.parameters())


def test_guidance_of_strength_zero_is_none() -> None:
    data, model = batch(SE3()), build(SE3())
    cond = conditions(data, "backbone")
    motif = {"motif": torch.arange(12).expand(4, 12) < 4}
    plain = model.sample(4, cond | {"x": data["x"]}, sample_generators(0, 0, 4), steps=4).x
    zero = model.sample(4, cond | motif | {"guidance": torch.zeros(4)}, sample_generators(0, 0, 4), steps=4).x
    one = torch.tensor([0.0, 1.0, 0.0, 1.0])
    some = model.sample(4, cond | motif | {"guidance": one}, sample_generators(0, 0, 4), steps=4).x
    for name in plain:
        assert torch.equal(plain[name], zero[name])
        # beside others that are guided, to rounding: attention takes another kernel where gradients are kept
        assert torch.allclose(plain[name][::2], some[name][::2], atol=1e-9)
        assert not torch.allclose(plain[name][1::2], some[name][1::2], atol=1e-3)


def test_guidance_draws_to_the_motif() -> None:
    """Of a field that predicts where its state is, guidance alone moves the motif into shape."""
    data, model = batch(SE3()), build(SE3(), trained=False)
    place = (torch.arange(12).expand(4, 12) < 4) & data["mask"]
    cond = conditions(data, "backbone") | {"motif": place, "guidance": torch.ones(4)}
    cond["x"] = data["x"]
    drawn = model.sample(4, cond, sample_generators(0, 0, 4), steps=50)
    assert isinstance(drawn.x0, dict)
    states = model.trajectory(drawn.x0, cond, steps=50)
    motif = Motif(data["x"], place, torch.ones(4))
    assert (motif.misfit(states[-1]) < 0.2 * motif.misfit(states[0])).all()


def test_misfit_is_zero_for_a_motif_anywhere() -> None:
    x = batch(SE3())["x"]
    turn = SO3().random(4, 1, generator=step_generator(2), dtype=torch.float64)
    moved = {"translation": rotate(turn, x["translation"]) + 3.0, "rotation": multiply(turn, x["rotation"])}
    place = torch.arange(12).expand(4, 12) % 3 == 0
    assert float(Motif(x, place, torch.ones(4)).misfit(moved).max()) < 1e-20


def helix(n: int) -> State:
    """Frames of n residues of an ideal helix: 100° and 0.15 nm a residue, radius 0.23 nm."""
    angle = torch.arange(n, dtype=torch.float64) * math.radians(100)
    translation = torch.stack([0.23 * angle.cos(), 0.23 * angle.sin(), 0.15 * torch.arange(n)], -1)
    zero = torch.zeros_like(angle)
    return {
        "translation": translation - translation.mean(0),
        "rotation": torch.stack([(angle / 2).cos(), zero, zero, (angle / 2).sin()], -1),
    }


def test_loss_falls_on_one_chain() -> None:
    """From a field that predicts its own state to one that knows the chain."""
    model = build(SE3(), width=32, trained=False).float()
    x = tree_map(lambda leaf: leaf.float().expand(4, *leaf.shape), helix(8))
    index = torch.arange(8).expand(4, 8)
    data = {"x": x, "mask": index >= 0, "residue_index": index, "chain": torch.zeros_like(index)}
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    losses = []
    for step in range(50):
        loss = model.loss(data, step_generator(step)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_motifs_leave_something_to_generate() -> None:
    design = torch.arange(40).expand(500, 40) < torch.arange(4, 504)[:, None].clamp_max(40)
    design = design & (torch.arange(40) > 0)  # the first place is context
    motif = draw_motif(design, step_generator(0))
    assert not (motif & ~design).any()
    assert motif.any(1).all()
    assert (design & ~motif).any(1)[1:].all()
    segments = (motif & ~motif.roll(1, 1)).sum(1)
    assert set(segments.tolist()) == {1, 2, 3}


def test_tasks_are_drawn_by_weight() -> None:
    drawn = draw_tasks({"backbone": 1.0, "motif": 0.0, "docking": 3.0}, 4000, step_generator(0))
    assert set(drawn) == {"backbone", "docking"}
    assert abs(drawn.count("docking") / 4000 - 0.75) < 4 * math.sqrt(0.75 * 0.25 / 4000)


@pytest.mark.parametrize("weights", [{"folding": 1.0}, {"motif": -1.0}, {"motif": 0.0}, {"motif": math.nan}])
def test_tasks_that_are_no_lottery_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(InputError, match=r"study\.tasks"):
        check_tasks(weights)


def test_a_negative_weight_of_the_loss_is_refused() -> None:
    with pytest.raises(InputError, match=r"model\.loss\.pairs=-1"):
        ProteinLoss(pairs=-1)


def test_pairs_count_only_near_atoms_with_something_hidden() -> None:
    """Against a double loop over atoms."""
    data, model = batch(SE3(), context=3), build(SE3())
    coupled = model.coupler(data, step_generator(0))
    x1 = coupled["x"] | {"translation": 0.3 * coupled["x"]["translation"]}
    end = model.manifold.expmap(x1, tree_map(lambda u: 0.1 * u, model.manifold.randn_tangent(x1)))
    hidden, mask = data["mask"] & ~coupled["known_frames"], data["mask"]
    only = ProteinLoss(translation=0, rotation=0, torsions=0, sequence=0, atoms=0)
    found = only._backbone(end, x1, hidden, mask)
    for b in range(4):
        p, q = (backbone(s["translation"][b], s["rotation"][b]).flatten(0, 1) for s in (end, x1))
        h, m = hidden[b].repeat_interleave(3), mask[b].repeat_interleave(3)
        terms = [
            ((p[i] - p[j]).norm() - (q[i] - q[j]).norm()) ** 2
            for i in range(36)
            for j in range(36)
            if i != j and h[i] and m[j] and (q[i] - q[j]).norm() < 0.6
        ]
        assert torch.allclose(found[b], torch.stack(terms).mean())
