"""How many letters each path to sequences bears: KL divergence to a known law.

    python docs/benchmarks/simplex_dimension.py

Sites are independent, so the posterior of a path is known: it is proportional to the law times the conditional
density. Sampled with it, a path is off by its numerical steps alone, or because its law and its field do not agree.
Beside it networks that learn the posterior from letters of the same law, equal in width, steps and batches: one that
sees the state and the time alone, as in print, and one that is added to Bayes' rule for a site by itself, as
``SequenceField`` has it. Steps are equal in time, or on the clock by which the path tells as much in each
(``InformationClock``, the default of the model). Writes docs/images/simplex-dimension.png.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import torch
from matplotlib.figure import Figure
from timing import header, table
from torch import Tensor, nn

from sciflow.objectives import CrossEntropy, InformationClock
from sciflow.objectives.times import EQUAL
from sciflow.paths import (
    DirichletPath,
    FisherPath,
    GumbelSoftmaxPath,
    LinearSimplexPath,
    LogitPath,
    MaskingPath,
    Pair,
    UniformPath,
)
from sciflow.rng import step_generator
from sciflow.sampling import AlongPath, Denoise, sample_posterior
from sciflow.sequences.model import SequenceField
from sciflow.sequences.toy import divergence, draw_tokens, target_law, uniform_divergence

PUBLISHED = "Gumbel-softmax, as published"  # tells of a letter as much at every time: it has no such clock
PATHS: dict[str, Callable[[int], Any]] = {
    "linear": LinearSimplexPath,
    "Dirichlet": DirichletPath,
    "Gumbel-softmax": GumbelSoftmaxPath,
    PUBLISHED: lambda k: GumbelSoftmaxPath(k, "published"),
    "Fisher": FisherPath,
    "logit": LogitPath,
    "masking": MaskingPath,
    "uniform": UniformPath,
}
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#56B4E9", "#CC79A7", "#E69F00", "#000000", "#999999")
LETTERS = (4, 20, 64, 160)
CHUNK = 4096
PARTS: tuple[tuple[str, str, str, bool | None], ...] = (
    ("exact posterior", "flat", "equal times", None),
    ("exact posterior", "flat", "its clock", None),
    ("exact posterior", "peaked", "equal times", None),
    ("network alone", "flat", "equal times", False),
    ("network and Bayes' rule", "flat", "its clock", True),
)

Clock = Callable[[Tensor], Tensor]


class Plain(nn.Module):
    """The posterior by a network that sees the state and the time, and nothing else."""

    def __init__(self, network: nn.Module, path: Any) -> None:
        super().__init__()
        self.network, self.path = network, path

    def log_posterior(self, x: Tensor, t: Tensor) -> Tensor:
        state = nn.functional.one_hot(x, self.path.states).to(t) if self.path.discrete else x.sqrt()
        return self.network(state, t).log_softmax(-1)

    def denoise(self, x: Tensor, t: Tensor) -> Tensor:
        return self.log_posterior(x, t).exp()


class Perceptron(nn.Module):
    """Logits ``(B, L, k)`` of each site by itself."""

    def __init__(self, inputs: int, k: int, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, k)
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.layers(torch.cat([x, t[:, None, None].expand(*x.shape[:-1], 1)], -1))


def trained(path: Any, law: Tensor, clock: Clock, bayes: bool, steps: int, batch: int = 512) -> Denoise:
    """A posterior learnt from fresh letters of the law."""
    torch.manual_seed(0)
    if bayes:
        seen = getattr(clock, "fraction", EQUAL)
        field: Any = SequenceField(Perceptron(SequenceField.inputs(path), path.k), path, seen)
    else:
        field = Plain(Perceptron(path.states if path.discrete else path.k, path.k), path)
    optimiser = torch.optim.Adam(field.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    objective = CrossEntropy(time=clock)
    for step in range(steps):
        generator = step_generator(2, step)
        x1 = draw_tokens(law, batch, generator)
        x0 = path.prior.sample(batch, 1, generator=generator, dtype=torch.float32)
        optimiser.zero_grad()
        objective(field, path, Pair(x0, x1, torch.ones(batch), {}), generator).mean().backward()
        optimiser.step()
        schedule.step()
    return field.denoise


def sampled(path: Any, denoise: Denoise, n: int, grid: Tensor) -> Tensor:
    """Letters ``(n, 1)``."""
    parts = []
    with torch.no_grad():
        for i in range(0, n, CHUNK):
            generator = step_generator(1, i)
            x0 = path.prior.sample(min(CHUNK, n - i), 1, generator=generator, dtype=torch.float32)
            x: Any = sample_posterior(denoise, x0, grid, AlongPath(path), generator=generator).x
            parts.append(x if path.discrete else x.argmax(-1))
    return torch.cat(parts)


def draw(found: dict[str, tuple[dict[str, list[float]], list[float], list[float]]]) -> Figure:
    """KL over K of the rows of each panel, beside that of the uniform law and of exact draws."""
    figure = Figure(figsize=(3.1 * len(found), 4), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True)
    for ax, (title, (rows, nothing, floor)) in zip(panels, found.items(), strict=True):
        for (name, values), colour in zip(rows.items(), COLOURS, strict=True):
            ax.loglog(LETTERS, values, "o-", color=colour, label=name, ms=4, lw=1.3)
        ax.loglog(LETTERS, nothing, "--", color="black", lw=1)
        ax.fill_between(LETTERS, [1e-5] * len(LETTERS), floor, color="0.85")
        ax.set(title=title, xlabel="letters K", xticks=LETTERS, xticklabels=list(map(str, LETTERS)), ylim=(1e-5, 5))
        ax.minorticks_off()
    panels[0].set_ylabel("KL(samples ‖ law) (nats)")
    panels[0].text(LETTERS[0], found[next(iter(found))][1][0] * 1.2, "uniform: nothing learnt", fontsize="small")
    panels[0].text(LETTERS[2], 1.5e-5, "exact draws", fontsize="small")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(COLOURS), frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=16384, help="letters drawn for each number")
    parser.add_argument("--steps", type=int, default=32, help="of the sampler")
    parser.add_argument("--training", type=int, default=400, help="steps of training, of 512 letters each")
    parser.add_argument("--out", type=Path, default=Path("docs/images/simplex-dimension.png"))
    args = parser.parse_args()
    header()
    n, even = args.tokens, torch.linspace(0, 1, args.steps + 1)
    laws = {target: [target_law(target, 1, k, step_generator(0)) for k in LETTERS] for target in ("flat", "peaked")}
    nothing = {target: [float(uniform_divergence(law)) for law in each] for target, each in laws.items()}
    floor = {target: [_exact(law, n) for law in each] for target, each in laws.items()}
    ends = {
        target: [("uniform: nothing learnt", *(f"{value:.4f}" for value in nothing[target])),
                 ("as many exact draws", *(f"{value:.4f}" for value in floor[target]))]
        for target in laws
    }  # fmt: skip
    found: dict[str, tuple[dict[str, list[float]], list[float], list[float]]] = {}
    for title, target, by, bayes in PARTS:
        rows: dict[str, list[float]] = {}
        for name, make in PATHS.items():
            rows[name] = []
            for k, law in zip(LETTERS, laws[target], strict=True):
                path = make(k)
                clock = EQUAL if by == "equal times" or name == PUBLISHED else InformationClock(path)
                denoise = _bayes(path, law) if bayes is None else trained(path, law, clock, bayes, args.training)
                rows[name].append(float(divergence(sampled(path, denoise, n, clock(even)), law)))
        found[f"{title}\n{target} law, {by}"] = rows, nothing[target], floor[target]
        lines = [(name, *(f"{value:.4f}" for value in values)) for name, values in rows.items()]
        table(f"{title}, {target} law, {args.steps} steps by {by}: KL in nats of {n} letters",
              ("path", *(f"K = {k}" for k in LETTERS)), [*lines, *ends[target]])  # fmt: skip
    print(f"{process_time():.0f} s")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    draw(found).savefig(args.out, dpi=120)


def _bayes(path: Any, law: Tensor) -> Denoise:
    log_law = law.float().log()
    return lambda x, t: (log_law + path.log_conditional(x, t)).softmax(-1)


def _exact(law: Tensor, n: int) -> float:
    """KL of exact draws, mean of 20: (K−1)/2n where all letters are likely."""
    return sum(float(divergence(draw_tokens(law, n, step_generator(3, i)), law)) for i in range(20)) / 20


if __name__ == "__main__":
    main()
