"""Drawing many samples in batches that outlive a kill, a larger ``n`` and a shortage of memory."""

import inspect
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..manifolds import tree_map
from ..rng import sample_generators
from ..study import Metric
from ..training import Model, Progress, Samples, load_tensors, read, save_tensors, stream
from .config import SamplerConfig

__all__ = [
    "GRID",
    "Conditions",
    "draw",
    "load_samples",
    "on_device",
    "require_settings",
    "save_samples",
    "score",
    "timing",
]

OPTIONAL = ("logq", "test_logp", "test_logp_error", "x0", "cond")
SCORED = 512  # data whose density is integrated together
SOURCES = 64  # trajectories that choose the times of a grid
GRID = "grid.safetensors"  # beside the blocks


#: What the samples of a range are conditioned on, as a study says it: tensors, and states, with a row each.
Conditions = Callable[[range], dict[str, Any]]


def require_settings(model: Model, sampler: SamplerConfig, drawing: bool = True) -> None:
    """Raise InputError for settings that the model does not know, or will not do with."""
    settings = sampler.settings()
    known = inspect.signature(model.sample).parameters
    unknown = [name for name in settings if name not in known]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        raise InputError(f"sampler.{unknown[0]}={settings[unknown[0]]}: this model has no such setting; leave it out")
    model.check(sampler.likelihood, drawing, **settings)


def draw(
    model: Model, sampler: SamplerConfig, seed: int, folder: Path, conditions: Conditions | None = None
) -> Samples:
    """Samples ``0 … n−1``: those in ``folder``, and the missing ones, which are added to it batch by batch.

    A file ``START-STOP.safetensors`` holds the samples of that range, ``START-STOP.json`` how long they took. Sample
    *i* has the random stream *i* of ``seed``, so the ranges may be cut anywhere. When memory runs out, the batch is
    halved. An optimal grid is chosen once and kept there.

    Raises:
        InputError: a setting that the model does not know, samples that are not finite, no memory for a single one.
    """
    require_settings(model, sampler)
    settings = sampler.settings()
    folder.mkdir(parents=True, exist_ok=True)
    if sampler.grid is not None:
        settings["grid"] = _grid(model, sampler, seed, folder, conditions)
    done, batch = max((stop for _, stop, _ in _ranges(folder)), default=0), sampler.batch_size
    with Progress("sample", sampler.n, min(done, sampler.n)) as progress:
        while done < sampler.n:
            stop = min((done // batch + 1) * batch, sampler.n)
            cond = None if conditions is None else conditions(range(done, stop))
            began = perf_counter()
            try:
                drawn = model.sample(
                    stop - done,
                    cond=on_device(cond, model),
                    generator=sample_generators(seed, done, stop - done),
                    **settings,
                )
            except (MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise
                if batch == 1:
                    raise InputError("sample: out of memory with a single sample; take a smaller model") from error
                batch = max(1, batch // 2)
                progress.say(f"out of memory; batch_size is now {batch}")
                continue
            bad, block = _not_finite(drawn), folder / f"{done:09d}-{stop:09d}.safetensors"  # waits for a GPU
            taken = {"samples": stop - done, "seconds": perf_counter() - began, "device": _device_name(model)}
            if bad:
                raise InputError(
                    f"sample {done + bad[0]} and {len(bad) - 1} more of its batch are not finite: "
                    "train longer, or take more sampler.steps"
                )
            block.with_suffix(".json").write_text(json.dumps(taken))
            save_samples(drawn._replace(cond=cond), block)
            progress.advance(stop - done)
            done = stop
    return _joined([load_samples(path) for start, _, path in _ranges(folder) if start < sampler.n], sampler.n)


def timing(folder: Path, n: int) -> dict[str, Any]:
    """What samples ``0 … n−1`` took, as seconds of the clock: the metric ``seconds_per_sample``, and batch by batch.

    The first batch of a process has its warm-up in it; the choice of a grid and densities of held-out data are not.
    """
    files = [path.with_suffix(".json") for start, _, path in _ranges(folder) if start < n]
    batches = [json.loads(file.read_text()) for file in files if file.is_file()]
    drawn = sum(batch["samples"] for batch in batches)
    if not drawn:
        return {"metrics": {}, "batches": []}
    devices = " and ".join(sorted({batch["device"] for batch in batches}))
    unit = f"s, {devices}, batches of {max(batch['samples'] for batch in batches)}"
    seconds = Metric(sum(batch["seconds"] for batch in batches) / drawn, n=drawn, unit=unit)
    return {"metrics": {"seconds_per_sample": asdict(seconds)}, "batches": batches}


def _grid(model: Model, sampler: SamplerConfig, seed: int, folder: Path, conditions: Conditions | None) -> Tensor:
    """Times of all samples in ``folder``: those of its first block, chosen by sources that are no sample's."""
    path = folder / GRID
    if not path.exists():
        settings = {name: value for name, value in sampler.settings().items() if name != "grid"}
        cond = on_device(None if conditions is None else conditions(range(SOURCES)), model)
        streams = sample_generators(stream("grid", seed).initial_seed(), 0, SOURCES)
        save_tensors({"t": model.optimal_grid(SOURCES, cond=cond, generator=streams, **settings)}, path)
    times: Tensor = load_tensors(path)["t"]
    return times


def score(model: Model, dataset: Any, sampler: SamplerConfig, folder: Path) -> tuple[Tensor, Tensor]:
    """Log-densities ``(N,)`` of a data set under the model, and how far each moves when the tolerance is halved.

    Batch by batch, each kept in ``folder`` as soon as it is known.

    Raises:
        InputError: the model has no density, or one that is not finite at a datum.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    with Progress("likelihood", len(dataset)) as progress:
        for start in range(0, len(dataset), SCORED):
            indices = list(range(start, min(start + SCORED, len(dataset))))
            path = folder / f"{start:09d}.safetensors"
            if not path.exists():
                save_tensors(_scored(model, read(dataset, indices), sampler.tolerance), path)
            parts.append(load_tensors(path))
            progress.advance(len(indices))
    logp, error = (torch.cat([part[name] for part in parts]) for name in ("logp", "error"))
    if not logp.isfinite().all():
        first = int((~logp.isfinite()).nonzero()[0])
        raise InputError(
            f"held-out sample {first} has a log-density of {logp[first]}: train longer, or look at the data"
        )
    return logp, error


def _scored(model: Model, batch: dict[str, Any], tolerance: float) -> dict[str, Tensor]:
    cond = on_device(batch, model)
    x = cond.pop("x")
    try:
        with torch.no_grad():
            rough, fine = (model.log_prob(x, cond, tolerance=tolerance / k) for k in (1, 2))
    except NotImplementedError as error:
        raise InputError(f"sampler.likelihood=true: {error}; set it to false") from error
    return {"logp": fine, "error": (fine - rough).abs()}


def on_device(tree: Any, model: Model) -> Any:
    """Tensors and states by name, where the model is."""
    device = _device(model)
    return tree and {name: tree_map(lambda leaf: leaf.to(device), value) for name, value in tree.items()}


def _device(model: Model) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def _device_name(model: Model) -> str:
    device, threads = _device(model), torch.get_num_threads()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {threads} thread{'s' if threads > 1 else ''}"


def save_samples(samples: Samples, path: Path) -> None:
    """Tensors ``x`` (or ``x/FACTOR``), ``nfe``, and what is known of the rest."""
    known = {name: getattr(samples, name) for name in OPTIONAL if getattr(samples, name) is not None}
    save_tensors({"x": samples.x, **known, "nfe": torch.tensor(samples.nfe)}, path)


def load_samples(path: Path) -> Samples:
    """What :func:`save_samples` wrote. Raises InputError for a file that is none, or samples that are not finite."""
    tensors = load_tensors(path)
    if not {"x", "nfe"} <= tensors.keys():
        raise InputError(f"{path}: no samples (x, nfe); delete it and sample again")
    samples = Samples(tensors["x"], nfe=int(tensors["nfe"]), **{name: tensors.get(name) for name in OPTIONAL})
    if bad := _not_finite(samples):
        raise InputError(f"{path}: sample {bad[0]} and {len(bad) - 1} more are not finite; delete it and sample again")
    return samples


def _ranges(folder: Path) -> list[tuple[int, int, Path]]:
    """Blocks from sample 0 on, up to the first that is missing."""

    def bounds(path: Path) -> tuple[int, int, Path]:
        start, stop = path.stem.split("-")
        return int(start), int(stop), path

    ranges: list[tuple[int, int, Path]] = []
    for start, stop, path in sorted(bounds(path) for path in folder.glob("[0-9]*-[0-9]*.safetensors")):
        if start == (ranges[-1][1] if ranges else 0):
            ranges.append((start, stop, path))
    return ranges


def _joined(parts: list[Samples], n: int) -> Samples:
    def cat(tensors: list[Any]) -> Any:
        if isinstance(tensors[0], dict):
            return {name: cat([tensor[name] for tensor in tensors]) for name in tensors[0]}
        return None if tensors[0] is None else torch.cat(tensors)[:n]

    nfe = torch.tensor([part.nfe for part in parts], dtype=torch.double).mean()
    x, logq, x0, cond = (cat([getattr(part, name) for part in parts]) for name in ("x", "logq", "x0", "cond"))
    return Samples(x, logq, round(nfe.item()), x0=x0, cond=cond)


def _not_finite(samples: Samples) -> list[int]:
    """Numbers of the samples that hold NaN or ∞, or whose density is."""
    leaves: list[Tensor] = list(samples.x.values()) if isinstance(samples.x, dict) else [samples.x]
    leaves += [] if samples.logq is None else [samples.logq]
    good = torch.stack([leaf.flatten(1).isfinite().all(1) if leaf.ndim > 1 else leaf.isfinite() for leaf in leaves])
    bad: list[int] = (~good.all(0)).nonzero().flatten().tolist()
    return bad


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
