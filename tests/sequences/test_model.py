"""Laws of flows to sequences: what is learnt and sampled on every path, from an exactly known joint law."""

import inspect
import math
from functools import cache
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from sciflow.errors import InputError
from sciflow.objectives import CrossEntropy, InformationClock
from sciflow.paths import (
    DirichletPath,
    FisherPath,
    GumbelSoftmaxPath,
    LinearSimplexPath,
    LogitPath,
    MaskingPath,
    UniformPath,
)
from sciflow.rng import sample_generators
from sciflow.sequences import PosteriorFlow, SequenceField, SequenceModel

K = 3
LAW = torch.tensor([[0.3, 0.0, 0.1], [0.05, 0.2, 0.0], [0.0, 0.1, 0.25]])  # of two letters, not independent
PATHS = {
    "dirichlet": DirichletPath,
    "fisher": FisherPath,
    "gumbel": GumbelSoftmaxPath,
    "linear": LinearSimplexPath,
    "logit": LogitPath,
    "masking": MaskingPath,
    "uniform": UniformPath,
}
DISCRETE = ("masking", "uniform")


class Table(nn.Module):
    """All that a network can learn of two letters: log P, read with what the state says of the other one."""

    def __init__(self, law: Tensor) -> None:
        super().__init__()
        self.log = nn.Parameter(law.clamp_min(1e-6).log())

    def forward(self, x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        said = (x[..., :K] + 1 / K).clamp_min(1e-12).log()
        first = (self.log + said[:, 1, None, :]).logsumexp(2)
        second = (self.log + said[:, 0, :, None]).logsumexp(1)
        return torch.stack([first, second], 1)


@cache
def clock(name: str) -> InformationClock:
    return InformationClock(PATHS[name](K))


def model(name: str, law: Tensor = LAW) -> SequenceModel:
    return SequenceModel(SequenceField(Table(law), PATHS[name](K)), CrossEntropy(time=clock(name)), 2)


def data(n: int, generator: torch.Generator) -> Tensor:
    place = torch.multinomial(LAW.flatten(), n, replacement=True, generator=generator)
    return torch.stack([place // K, place % K], 1)


def distance(x: Tensor) -> float:
    """Total variation of samples from the law."""
    seen = torch.bincount(K * x[:, 0] + x[:, 1], minlength=K * K) / len(x)
    return float((seen - LAW.flatten()).abs().sum() / 2)


@pytest.fixture(params=PATHS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_field_is_bayes_rule(name: str) -> None:
    """A network that knows the law of each letter given the other makes the posterior of both."""
    flow, n = model(name), 50
    path, generator = flow.field.path, torch.Generator().manual_seed(0)
    for t in (0.0, 0.1, 0.4, 0.8):
        at = torch.full((n,), t)
        x = path.sample(path.prior.sample(n, 2, generator=generator), data(n, generator), at, generator).x_t
        said = path.log_conditional(x, at).clamp_min(-1e6)
        said = (said - said.amax(-1, keepdim=True)).clamp_min(-20)
        joint = said[:, 0, :, None] + said[:, 1, None, :] + LAW.clamp_min(1e-6).log()
        exact = torch.stack([joint.logsumexp(2), joint.logsumexp(1)], 1).softmax(-1)
        torch.testing.assert_close(flow.field.denoise(x, at), exact, rtol=0, atol=1e-4)


def test_the_law_is_sampled(name: str) -> None:
    """With the exact posterior; √(9/N) is twice the mean of the noise, and 0.01 is for steps."""
    n = 5000
    drawn = model(name).sample(n, generator=torch.Generator().manual_seed(0), steps=40)
    assert distance(drawn.x) < math.sqrt(K * K / n) + 0.01
    assert drawn.nfe == 40


def test_one_step_draws_each_letter_by_itself(name: str) -> None:
    """At the source nothing is told: letters have the marginal laws, and not their most probable letters."""
    n = 5000
    x = model(name).sample(n, generator=torch.Generator().manual_seed(0), steps=1).x
    seen = torch.bincount(K * x[:, 0] + x[:, 1], minlength=K * K) / n
    assert (seen - LAW.sum(1).outer(LAW.sum(0)).flatten()).abs().sum() / 2 < 3 / math.sqrt(n)
    greedy = model(name).sample(50, generator=torch.Generator().manual_seed(0), steps=1, temperature=0.0).x
    assert (greedy == torch.tensor([LAW.sum(1).argmax(), LAW.sum(0).argmax()])).all()


def test_the_network_is_told_what_the_path_has_told(name: str) -> None:
    flow, u = PosteriorFlow(path=name).build(K, 4), torch.linspace(0, 1, 11)
    torch.testing.assert_close(flow.field.clock(flow.objective.time(u)), u, rtol=0, atol=1e-4)


def test_the_law_is_learnt(name: str) -> None:
    flow = model(name, torch.full_like(LAW, 1 / 9))
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.1)
    for step in range(120):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 120)
        optimizer.zero_grad()
        flow.loss({"x": data(256, generator)}, generator).mean().backward()
        optimizer.step()
    learnt = flow.field.network.log.detach().flatten().softmax(0)
    assert (learnt - LAW.flatten()).abs().sum() / 2 < 0.05


STEPS = [(name, step) for name in PATHS for step in ("path", "rk4") if step == "path" or name not in DISCRETE]
STEPS += [("uniform", "tau_leap"), *(("masking", step) for step in ("tau_leap", "confidence", "autoregressive"))]


@pytest.mark.parametrize(("name", "step"), STEPS)
def test_sample_i_is_the_same_in_any_batch(name: str, step: str) -> None:
    torch.manual_seed(0)
    flow = PosteriorFlow(path=name, width=8, depth=1, heads=2).build(K, 6, aligned=True).eval()
    nn.init.normal_(flow.field.network.outward.weight)
    noise = {"noise": 0.5} if step == "tau_leap" else {}
    whole = flow.sample(5, generator=sample_generators(3, 0, 5), steps=5, step=step, **noise)
    part = flow.sample(2, generator=sample_generators(3, 2, 2), steps=5, step=step, **noise)
    assert torch.equal(whole.x[2:4], part.x)
    assert whole.x.dtype == torch.long
    assert whole.x.shape == (5, 6)


def test_all_is_in_the_precision_of_the_weights(name: str) -> None:
    flow = model(name).double()
    assert flow.loss({"x": torch.tensor([[0, 1], [2, 2]])}, torch.Generator().manual_seed(0)).dtype == torch.float64
    drawn = flow.sample(2, generator=sample_generators(0, 0, 2), steps=2)
    assert drawn.x0 is None or drawn.x0.dtype in (torch.float64, torch.long)


def test_sources_come_with_samples_where_there_are_any(name: str) -> None:
    flow = model(name)
    drawn = flow.sample(4, generator=sample_generators(0, 0, 4), steps=3)
    if name == "masking":
        assert drawn.x0 is None
    else:
        again = flow.field.path.prior.sample(4, 2, generator=sample_generators(0, 0, 4))
        torch.testing.assert_close(drawn.x0, again)


def test_most_times_of_pairs_are_the_source(name: str) -> None:
    """Three quarters of the states are the sources themselves, the others on the way; without sources nearly none."""
    if name == "masking":
        return
    flow, generator = model(name), torch.Generator().manual_seed(0)
    x0, times = flow.field.path.prior.sample(2000, 2, generator=generator), []
    flow.field.log_posterior = lambda x, t: times.append(t) or torch.zeros(*x.shape[:2], K)
    for batch in ({"x0": x0}, {}):
        flow.loss({"x": torch.zeros(2000, 2, dtype=torch.long), **batch}, generator)
    assert float((times[0] == 0).float().mean()) == pytest.approx(0.75, abs=0.002)  # times are stratified
    assert float((times[1] == 0).float().mean()) < 0.002


@pytest.mark.parametrize("name", ["gumbel", "fisher"])
def test_a_network_learns_pairs_in_one_step(name: str) -> None:
    """Sources paired with the letters of their largest coordinates, in reverse: one step from the source finds them."""
    torch.manual_seed(0)
    flow = PosteriorFlow(path=name, width=32, depth=1, heads=2).build(K, 2, aligned=True)
    optimizer, generator = torch.optim.Adam(flow.parameters(), lr=5e-3), torch.Generator().manual_seed(0)
    for _ in range(150):
        x0 = flow.field.path.prior.sample(128, 2, generator=generator)
        optimizer.zero_grad()
        flow.loss({"x0": x0, "x": x0.argmax(-1).flip(1)}, generator).mean().backward()
        optimizer.step()
    drawn = flow.eval().sample(500, generator=generator, steps=1)
    assert (drawn.x == drawn.x0.argmax(-1).flip(1)).float().mean() > 0.9


class Labelled(nn.Module):
    """Letters of two that agree with the label 0 or 1 with probability 0.8, and nothing known of label 2, "none"."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = SimpleNamespace(classes=2)
        self.log = nn.Parameter(torch.tensor([[0.8, 0.2], [0.2, 0.8], [0.5, 0.5]]).log())
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        self.seen.append(label)
        return self.log[label][:, None].expand(*x.shape[:2], 2)


def test_labels_guide() -> None:
    path = GumbelSoftmaxPath(2)
    flow = SequenceModel(SequenceField(Labelled(), path), CrossEntropy(time=InformationClock(path)), 6)
    label = torch.arange(600) % 2

    def agreement(**settings: float) -> float:
        x = flow.sample(600, {"label": label}, torch.Generator().manual_seed(1), steps=20, **settings).x
        return float((x == label[:, None]).float().mean())

    assert agreement() == pytest.approx(0.8, abs=0.03)
    assert agreement(guidance=1.0) == pytest.approx(16 / 17, abs=0.03)
    assert agreement(guidance=-1.0) == pytest.approx(0.5, abs=0.03)
    assert agreement(temperature=0.1) > 0.9


def test_training_hides_a_share_of_the_labels() -> None:
    path = GumbelSoftmaxPath(2)
    flow = SequenceModel(SequenceField(Labelled(), path), CrossEntropy(), 6, unlabelled=0.3)
    batch = {"x": torch.zeros(2000, 6, dtype=torch.long), "label": torch.arange(2000) % 2}
    flow.loss(batch, torch.Generator().manual_seed(0))
    flow.eval().loss(batch, torch.Generator().manual_seed(0))
    hidden, shown = (flow.field.network.seen[k] for k in (0, 1))
    assert float((hidden == 2).float().mean()) == pytest.approx(0.3, abs=0.04)
    assert torch.equal(hidden[hidden < 2], batch["label"][hidden < 2])
    assert torch.equal(shown, batch["label"])


def test_an_oracle_guides_and_steers() -> None:
    """``log p(y | x) = [x¹ = 0]``: the law is tilted by e^γ there."""
    n, gamma = 1000, 1.5
    tilted = LAW * torch.tensor([math.exp(gamma), 1.0, 1.0])[:, None]
    share = float((tilted / tilted.sum())[0].sum())
    flow = model("masking")
    with pytest.raises(InputError, match="oracle"):
        flow.sample(3, guidance=1.0)
    flow.guide = lambda x: x[:, 0, 0]
    steered = flow.sample(n, generator=torch.Generator().manual_seed(0), steps=10, guidance=gamma, particles=8)
    assert float((steered.x[:, 0] == 0).float().mean()) == pytest.approx(share, abs=0.05)
    guided = flow.sample(n, generator=torch.Generator().manual_seed(0), steps=40, guidance=gamma)
    plain = flow.sample(n, generator=torch.Generator().manual_seed(0), steps=40)
    assert (guided.x[:, 0] == 0).float().mean() > (plain.x[:, 0] == 0).float().mean() + 0.1


@pytest.mark.parametrize("name", ["masking", "uniform", "gumbel", "dirichlet", "logit"])
def test_the_bound_is_below_the_law_and_near(name: str) -> None:
    x = torch.tensor([[0, 0], [2, 1], [1, 1]])
    law = LAW[x[:, 0], x[:, 1]].log()
    bound = model(name).log_prob(x.repeat(30, 1)).unflatten(0, (30, 3))
    error = bound.std(0) / math.sqrt(30)
    assert (bound.mean(0) < law + 4 * error).all()
    assert (bound.mean(0) > law - 0.7 - 4 * error).all()


@pytest.mark.parametrize("name", ["masking", "uniform", "gumbel"])
def test_the_bound_of_a_row_is_the_same_beside_any_others(name: str) -> None:
    x = torch.tensor([[0, 0], [2, 1], [1, 1]])
    bound = model(name).double().log_prob(x)
    torch.testing.assert_close(
        model(name).double().log_prob(x[:2]), bound[:2], rtol=0, atol=1e-3
    )  # one ODE's tolerance


@pytest.mark.parametrize("name", ["linear", "fisher"])
def test_where_the_field_jumps_there_is_no_bound(name: str) -> None:
    with pytest.raises(NotImplementedError, match="jumps"):
        model(name).log_prob(torch.zeros(1, 2, dtype=torch.long))


def test_padding_is_no_part_of_a_sequence() -> None:
    torch.manual_seed(0)
    flow = PosteriorFlow(path="fisher", width=16, depth=1, heads=2).build(K).eval()
    mask = torch.arange(6) < torch.tensor([[4], [6]])
    x = torch.tensor([[0, 1, 2, 1, 0, 0], [2, 2, 1, 0, 1, 2]])
    other = x.masked_fill(~mask, 2)
    losses = [flow.loss({"x": tokens, "mask": mask}, torch.Generator().manual_seed(0)) for tokens in (x, other)]
    torch.testing.assert_close(*losses)
    drawn = flow.sample(2, {"mask": mask}, sample_generators(0, 0, 2), steps=3).x
    assert drawn.shape == mask.shape
    assert not drawn[~mask].any()
    with pytest.raises(InputError, match="length"):
        flow.sample(2)


def test_the_most_certain_first_counts_letters_alone() -> None:
    """Four letters in four steps, one a step, however long the padding is."""
    waiting: list[list[int]] = []
    path, mask = MaskingPath(K), torch.arange(12) < torch.tensor([[4], [4]])
    for particles in (1, 2):
        flow = SequenceModel(SequenceField(nn.Linear(1, 1), path), CrossEntropy(), None)
        flow.guide = lambda x: x[:, 0, 0]

        def denoise(x: Tensor, t: Tensor, mask: Tensor) -> Tensor:
            waiting.append(((x == K) & mask).sum(1).unique().tolist())
            assert not ((x == K) & ~mask).any()
            return torch.rand(*x.shape, K).softmax(-1)

        flow.field.denoise = denoise  # type: ignore[method-assign]
        settings = {"guidance": 1.0, "particles": particles} if particles > 1 else {}
        flow.sample(2, {"mask": mask}, steps=4, step="confidence", **settings)
    assert waiting == [[4], [3], [2], [1]] * 2


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"step": "tau_leap"}, "FisherPath has no such step"),
        ({"step": "rk4", "temperature": 0.5}, r"without sampler\.guidance, particles and temperature"),
        ({"noise": 1.0}, "tau_leap"),
        ({"step": "euler", "noise": 1.0}, "tau_leap"),
        ({"particles": 4}, "oracle"),
    ],
)
def test_settings_that_do_not_fit_are_refused(setting: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        model("fisher").sample(2, generator=torch.Generator().manual_seed(0), **setting)


def test_settings_that_do_nothing_are_refused() -> None:
    flow = model("masking")
    flow.guide = lambda x: x[:, 0, 0]
    with pytest.raises(InputError, match=r"sampler\.guidance=0 steers none"):
        flow.sample(2, particles=4)
    path = GumbelSoftmaxPath(2)
    flow = SequenceModel(SequenceField(Labelled(), path), CrossEntropy(), 6, unlabelled=0)
    with pytest.raises(InputError, match=r"model\.unlabelled=0"):
        flow.sample(2, {"label": torch.tensor([0, 1])}, guidance=1.0)
    with pytest.raises(InputError, match=r"model\.coupling=transport"):
        PosteriorFlow(path="fisher", coupling="transport").build(K)


def test_settings_are_known_to_fit_before_training() -> None:
    flow = PosteriorFlow(path="linear", width=8, depth=1).build(K, 6)
    with pytest.raises(InputError, match=r"likelihood=true: LinearSimplexPath has a field that jumps"):
        flow.check(likelihood=True)
    with pytest.raises(InputError, match="has no label and no oracle"):
        flow.check(guidance=1.0)
    flow.guide = lambda x: x[:, 0, 0]
    flow.check(guidance=1.0)
    with pytest.raises(InputError, match=r"study\.steer"):
        flow.check()


@pytest.mark.parametrize(
    "wrong",
    [
        {"path": "x"},
        {"network": "x"},
        {"width": 12},
        {"kernel": 4, "network": "cnn"},
        {"dropout": 1.0},
        {"coupling": "x"},
        {"coupling": "transport"},
        {"depth": 0},
    ],
)
def test_an_architecture_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        PosteriorFlow(**wrong)  # type: ignore[arg-type]


def test_transport_shortens_the_way_of_sources() -> None:
    flow = PosteriorFlow(path="fisher", coupling="transport", width=8, depth=1, heads=2).build(K, 4)
    x, generator = torch.randint(K, (64, 4)), torch.Generator().manual_seed(0)
    assert flow.coupler is not None
    coupled = flow.coupler({"x": x}, generator)
    alone = flow.field.path.prior.sample(64, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(coupled["x0"].flatten().sort().values, alone.flatten().sort().values)
    paid, plain = (flow.field.path.cost(x0, x).diag().sum() for x0 in (coupled["x0"], alone))
    assert paid < 0.8 * plain
    assert flow.loss(coupled, generator).isfinite().all()


def test_transport_is_no_distillation() -> None:
    """Sources that coupling drew are trained on at all times, in validation too; those of the data mostly at 0."""
    seen: list[tuple[Tensor, Tensor]] = []

    class Seen(CrossEntropy):
        def __call__(self, field, path, pair, generator=None):  # type: ignore[no-untyped-def]
            seen.append((self.time(torch.linspace(0, 0.99, 100)), path.cost(pair.x0, pair.x1).diag().mean()))
            return pair.weight

    flow = PosteriorFlow(path="fisher", coupling="transport", width=8, depth=1, heads=2).build(K, 4)
    flow.objective, generator = Seen(time=flow.objective.time), torch.Generator().manual_seed(0)
    x = torch.randint(K, (64, 4), generator=generator)
    assert flow.coupler is not None
    coupled = flow.coupler({"x": x}, generator)
    pairs = {"x": x, "x0": flow.field.path.prior.sample(64, 4, generator=generator)}
    assert torch.equal(flow.coupler(pairs, generator)["x0"], pairs["x0"])
    for batch in (coupled, {"x": x}, pairs, flow.coupler(pairs, generator)):
        flow.loss(batch, generator)
    at_source = [float((times == 0).float().mean()) for times, _ in seen]
    assert max(at_source[:2]) < 0.02
    assert min(at_source[2:]) > 0.2
    paid = [float(cost) for _, cost in seen]
    assert max(paid[:2]) < 0.8 * min(paid[2:])


def test_the_settings_of_a_sampler_are_those_of_its_configuration() -> None:
    known = inspect.signature(SequenceModel.sample).parameters
    assert {"steps", "step", "guidance", "noise", "temperature", "particles"} <= known.keys()
