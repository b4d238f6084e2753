"""The toy of simplex flows: independent sites with known laws, and how far samples are from them."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import InputError, require_above
from ..rng import gamma, step_generator, uniform
from ..study import Evaluation, Metric, require_prepared
from ..training import Model, Samples, TensorsDataset, load_tensors, save_tensors

__all__ = ["ToySimplex", "divergence", "draw_tokens", "target_law", "uniform_divergence"]

TARGETS = ("flat", "peaked")
SPARSE = 0.3  # concentration of peaked laws
HELD_OUT = 20_000  # sequences of the validation and of the test split each


@dataclass
class ToySimplex:
    """Sequences whose sites are independent, each with a law of chance over K letters.

    As Stark et al. 2024 (arXiv:2402.05841) have it, flat laws are ``softmax(u)``, u uniform in [0, 1) for each letter:
    so near to the uniform law that a model which has learnt nothing is 0.04 nat away. Peaked ones are drawn from
    Dir(0.3).

    Attributes:
        k: letters K.
        sites: letters of a sequence.
        target: ``flat`` or ``peaked``.
        rows: training sequences.
    """

    k: int = 20
    sites: int = 4
    target: str = "flat"
    rows: int = 400_000
    architecture: Any = None
    seed: int = 0

    def __post_init__(self) -> None:
        require_above(1, "study.", self, "k")
        require_above(0, "study.", self, "sites", "rows")
        if self.target not in TARGETS:
            raise InputError(f"study.target={self.target!r}: use one of {', '.join(TARGETS)}")

    def prepare(self, raw: Path | None, out: Path) -> None:
        law = target_law(self.target, self.sites, self.k, step_generator(self.seed))
        save_tensors({"law": law}, out / "law.safetensors")
        for i, (split, rows) in enumerate((("train", self.rows), ("val", HELD_OUT), ("test", HELD_OUT)), 1):
            save_tensors({"x": draw_tokens(law, rows, step_generator(self.seed, i))}, out / f"{split}.safetensors")
        (out / "meta.json").write_text(json.dumps({"rows": {"train": self.rows, "val": HELD_OUT, "test": HELD_OUT}}))

    def dataset(self, data: Path, split: str) -> Dataset[Any]:
        require_prepared(self, data, "k", "sites", "target")
        return TensorsDataset(load_tensors(data / f"{split}.safetensors"), f"{data}/{split}")

    def model(self, data: Path) -> Model:
        if self.architecture is None:
            raise InputError("model: none chosen; say model=posterior_flow")
        model: Model = self.architecture.build(self.k, self.sites, aligned=True)
        return model

    def write(self, samples: Samples, out: Path) -> None:
        """``samples.csv``: the number of a letter at each site."""
        assert isinstance(samples.x, Tensor)
        header = ",".join(f"site{i}" for i in range(1, self.sites + 1))
        np.savetxt(out / "samples.csv", samples.x.numpy(), "%d", ",", header=header, comments="")

    def evaluate(self, samples: Samples, data: Path) -> Evaluation:
        """KL(samples ‖ target), mean over sites, beside what exact draws give (reference) and the uniform law (floor).

        The sites' mutual information stands beside that of independent ones, (K−1)²/2n.
        """
        assert isinstance(samples.x, Tensor)
        require_prepared(self, data, "k", "sites", "target")
        law, trained = load_tensors(data / "law.safetensors")["law"], load_tensors(data / "train.safetensors")["x"]
        n, sites = len(samples.x), law.shape[0]
        kl, nothing = divergence(samples.x, law), uniform_divergence(law)
        exact = [float(divergence(draw_tokens(law, n, step_generator(self.seed, 4, i)), law).mean()) for i in range(8)]
        learnt = Metric(float(divergence(trained, law).mean()), n=len(trained), unit="nat a site")
        error = float(kl.std()) / sites**0.5 if sites > 1 else None
        metrics = {
            "kl": Metric(float(kl.mean()), error, n, float(nothing.mean()), sum(exact) / len(exact), "nat a site"),
            "kl_training_data": learnt,
        }
        if sites > 1:
            bound = (self.k - 1) ** 2 / (2 * n)
            metrics["mutual_information"] = Metric(_mutual_information(samples.x, self.k), n=n, reference=bound,
                                                   unit="nat a pair of sites")  # fmt: skip
        figure, caption = _laws(samples.x, law)
        return Evaluation(metrics, {"laws": figure}, {"laws": caption})


def target_law(target: str, sites: int, k: int, generator: torch.Generator) -> Tensor:
    """A law of chance ``(sites, k)`` for each site, float64."""
    if target == "flat":
        return uniform(sites, k, generator=generator, dtype=torch.float64).softmax(-1)
    drawn = gamma(torch.tensor(SPARSE, dtype=torch.float64), sites, k, generator=generator, dtype=torch.float64)
    return drawn / drawn.sum(-1, keepdim=True)


def draw_tokens(law: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """``n`` sequences ``(n, sites)`` of independent letters of ``law (sites, k)``."""
    return torch.multinomial(law, n, replacement=True, generator=generator).mT.contiguous()


def divergence(x: Tensor, law: Tensor) -> Tensor:
    """KL(q ‖ law) ``(sites,)`` in nats, of the shares q of letters among sequences ``x (n, sites)``.

    Of n draws of the law itself it is (K−1)/2n on average, where all letters are likely.
    """
    sites, k = law.shape
    counts = torch.bincount((x + k * torch.arange(sites)).flatten(), minlength=sites * k).view(sites, k)
    shares = counts.to(law) / len(x)
    return (torch.xlogy(shares, shares) - torch.xlogy(shares, law)).sum(-1)


def uniform_divergence(law: Tensor) -> Tensor:
    """KL(uniform ‖ law) ``(sites,)`` in nats: what a model that has learnt nothing scores."""
    return -law.log().mean(-1) - math.log(law.shape[1])


def _mutual_information(x: Tensor, k: int) -> float:
    """Mean over pairs of sites, in nats."""
    found = []
    for i, j in zip(*torch.triu_indices(x.shape[1], x.shape[1], 1).tolist(), strict=True):
        joint = torch.bincount(x[:, i] * k + x[:, j], minlength=k * k).view(k, k).double() / len(x)
        apart = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        found.append(float((torch.xlogy(joint, joint) - torch.xlogy(joint, apart)).sum()))
    return sum(found) / len(found)


def _laws(x: Tensor, law: Tensor) -> tuple[Figure, str]:
    """Shares of letters among samples over their probabilities, and by how many standard errors they differ."""
    sites, k = law.shape
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    shares = torch.stack([torch.bincount(x[:, i], minlength=k) for i in range(sites)]).to(law) / len(x)
    low = max(float(law.min()), 1 / len(x))
    seen = (law >= low) & (shares > 0)
    left.loglog(law[seen], shares[seen], ".", color="#0072B2", alpha=0.6, ms=4)
    high = float(law.max())
    left.loglog([low, high], [low, high], color="black", lw=1)
    left.axhline(1 / k, color="#D55E00", ls=":", lw=1)
    left.set(xlabel="probability of a letter", ylabel="share among samples")
    error = (law * (1 - law) / len(x)).sqrt()
    off = ((shares - law) / error)[law * len(x) > 5].numpy()
    edges = np.linspace(-6, 6, 49)
    right.hist(off.clip(-6, 6), edges.tolist(), density=True, color="#0072B2", alpha=0.6)
    right.plot(edges, np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi), color="black", lw=1)
    right.set(xlabel="difference (standard errors of an exact sampler)", ylabel="density")
    return figure, (
        f"Left: share of each of {k} letters at each of {sites} sites among {len(x)} samples, over its probability; "
        "dotted: the uniform law, which is no learning at all. Right: how far shares are from probabilities, in "
        "standard errors of as many exact draws, whose law is the curve; beyond 6 they are counted at 6."
    )
