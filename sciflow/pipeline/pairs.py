"""Pairs of sources and samples as a data folder, on which a flow is rectified."""

import inspect
import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import tree_map
from ..rng import sample_generators
from ..study import Study
from ..training import Model, Samples, load_tensors, save_tensors
from .blocks import Conditions, on_device, require_settings
from .config import SamplerConfig
from .outputs import digest

__all__ = ["INITIAL", "keep_pairs", "require_sources", "trained_on", "write_pairs"]

PAIRS = {"train": "pairs_train", "val": "pairs_val"}  # beside the splits of the data, and read as they are
_NO_SOURCES = (
    "rectify: this model has no sources that its samples could be paired with; train one with a path from noise to "
    "data (of letters: not masking), without sampler.particles and moves after the path"
)
INITIAL = "initial.safetensors"  # weights of the flow that made the pairs, from which training starts
FEWEST = 10
HELD_OUT = 0.1  # of the pairs, for the validation loss


def trained_on(data: Path) -> dict[str, str]:
    """The splits that training reads as ``train`` and ``val``: pairs, where a folder has them."""
    return PAIRS if (data / f"{PAIRS['train']}.safetensors").is_file() else {name: name for name in PAIRS}


def require_sources(model: Model, sampler: SamplerConfig, conditions: Conditions | None) -> None:
    """Draw one sample, in one step where the model takes steps; refuse a model that names no source of it."""
    require_settings(model, sampler)
    settings = {name: value for name, value in sampler.settings().items() if name != "grid"}
    if "steps" in inspect.signature(model.sample).parameters:
        settings["steps"] = 1
    cond = on_device(conditions and conditions(range(1)), model)
    if not _sources(model.sample(1, cond=cond, generator=sample_generators(0, 0, 1), **settings)):
        raise InputError(_NO_SOURCES)


def _sources(samples: Samples) -> int:
    """How many samples have one."""
    x0 = samples.x0
    return len(x0 if isinstance(x0, Tensor) else next(iter((x0 or {}).values()), ()))


def keep_pairs(study: Study, samples: Samples, data: Path) -> Tensor:
    """Which samples the study keeps, ``(n,)``; all, where it has no ``keep(samples, data)``."""
    keep = getattr(study, "keep", None)
    total = _sources(samples)
    if not total:
        raise InputError(_NO_SOURCES)
    kept: Tensor = torch.ones(total, dtype=torch.bool) if keep is None else keep(samples, data).bool().cpu()
    if kept.shape != (total,):
        raise ValueError(f"{type(study).__name__}.keep: {tuple(kept.shape)} for {total} samples")
    if kept.sum() < FEWEST:
        said = f"rectify: {int(kept.sum())} of {total} pairs are kept, {FEWEST} are needed: draw more (n=…)"
        if not kept.all():
            said += ", or train longer"
        if not kept.all() and hasattr(study, "rectify"):
            said += f"; the filter is study.rectify: {', '.join(f.name for f in fields(study.rectify))}"
        raise InputError(said)
    return kept


def write_pairs(study: Study, samples: Samples, kept: Tensor, data: Path, weights: Path, out: Path) -> None:
    """All of ``data`` again, and beside it the kept pairs, and the weights that made them.

    Pairs are batches that bring their own sources: ``x``, ``x0``, and all that the samples were conditioned on.
    The splits stay the data's own, so that priors, floors and the test are those of the data.
    """
    old = {INITIAL, "config.yaml", "meta.json", *(f"{name}.safetensors" for name in PAIRS.values())}
    for path in data.rglob("*"):
        copy = out / path.relative_to(data)
        if path.is_file() and not path.name.startswith(".") and path.name not in old:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
    cond = {
        name: value for name, value in (samples.cond or {}).items() if name != "x"
    }  # what is known is in the samples
    index = kept.nonzero()[:, 0]
    held_out = max(1, round(HELD_OUT * len(index)))
    for name, rows in (("val", index[:held_out]), ("train", index[held_out:])):
        pairs = {"x0": samples.x0, "x": samples.x, **cond}
        taken = {key: tree_map(lambda leaf, rows=rows: leaf[rows], value) for key, value in pairs.items()}
        save_tensors(taken, out / f"{PAIRS[name]}.safetensors")
    save_tensors(load_tensors(weights / "model.safetensors"), out / INITIAL)
    shutil.copy2(weights / "config.yaml", out / "config.yaml")
    meta: dict[str, Any] = json.loads((data / "meta.json").read_text())
    made = [INITIAL, *(f"{name}.safetensors" for name in PAIRS.values())]
    meta["sha256"] |= {name: digest(out / name) for name in made}
    judge = f"{type(study).__name__}.keep, of the geometry alone" if hasattr(study, "keep") else "none"
    meta["pairs"] = {"drawn": len(kept), "kept": len(index), "filter": judge, "nfe": samples.nfe}
    (out / "meta.json").write_text(json.dumps(meta, indent=1))
