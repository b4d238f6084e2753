"""prepare → train → sample → evaluate, once, for every study.

The command line, Snakemake and a notebook call the same four functions::

    config = load_config("ala2", ["n=2000"])
    prepare(config, "results/ala2/data")
    train(config, "results/ala2/data", "results/ala2/model")
    samples = sample(config, "results/ala2/data", "results/ala2/model", "results/ala2/samples")
    evaluation = evaluate(config, "results/ala2/data", "results/ala2/samples", "results/ala2")

Each leaves a whole folder or none, does nothing where its output is there already and was made from the same things,
and continues, after a kill, from its *state* folder (by default ``.state`` beside the output).
"""

import json
import math
import os
import shutil
import sys
from dataclasses import asdict
from inspect import signature
from pathlib import Path

import torch

from .. import __version__
from ..errors import InputError
from ..study import Evaluation
from ..training import Model, Samples, fit, load_tensors, stream
from . import blocks
from .config import Config, read_config
from .fetch import fetch
from .identity import SPLITS, check_files, checksums, identity, same_study, say_other_data, split_checksums
from .outputs import digest, fingerprint, finished, publish
from .pairs import INITIAL, keep_pairs, require_sources, trained_on, write_pairs
from .report import save_figure, training_curve, write_report

__all__ = ["evaluate", "load_model", "load_samples", "prepare", "rectify", "sample", "train"]

FAST_SETTINGS = ("devices", "threads", "workers", "checkpoint_every")  # of the trainer: they change no weight


def prepare(config: Config, out: str | Path, raw: str | Path | None = None) -> Path:
    """Raw files to ``train/val/test.safetensors`` and ``meta.json`` (version, config, seed, sha256 of the splits).

    Data sets that the study names as its ``sources`` are fetched to ``raw`` (by default data/raw) where they are
    missing.
    """
    out = Path(out)
    check_files(config.study, "study")
    made_from = fingerprint("prepare", identity(config))
    if _skip(out, "prepare", made_from):
        return out
    folder = Path(raw) if raw is not None else Path("data/raw")
    for name in getattr(config.study, "sources", ()):
        fetch(name, folder)
    with publish(out, "prepare", made_from) as part, torch.random.fork_rng():
        torch.manual_seed(config.seed)
        config.study.prepare(folder if folder.is_dir() else None, part)
        missing = [split for split in SPLITS if not (part / f"{split}.safetensors").is_file()]
        if missing:
            raise RuntimeError(f"{type(config.study).__name__}.prepare wrote no {missing[0]}.safetensors")
        for split in SPLITS:
            if not len(config.study.dataset(part, split)):  # type: ignore[arg-type]
                raise InputError(f"study {config.name}: the {split} split is empty; give more data")
        meta = part / "meta.json"
        content = json.loads(meta.read_text()) if meta.exists() else {}
        content |= {
            "version": __version__,
            "seed": config.seed,
            "config": config.tree["study"],
            "sha256": {f"{split}.safetensors": digest(part / f"{split}.safetensors") for split in SPLITS},
        }
        meta.write_text(json.dumps(content, indent=1))
        config.save(part / "config.yaml")
    return out


def train(config: Config, data: str | Path, out: str | Path, state: str | Path | None = None) -> Model:
    """Fit the study's model: ``model.safetensors`` (averaged weights), ``history.csv``, its curve, ``config.yaml``.

    On pairs of :func:`rectify` it starts from the weights that made them. Under ``torchrun`` every process calls this,
    and the first one writes.
    """
    data, out = Path(data), Path(out)
    same_study(config, data)
    settings = {name: value for name, value in config.tree["trainer"].items() if name not in FAST_SETTINGS}
    made_from = fingerprint("train", identity(config, "model"), settings, checksums(data))
    if _skip(out, "train", made_from):
        return load_model(config, data, out)
    model = _untrained(config, data)
    blocks.require_settings(model, config.sampler, drawing=False)
    if (data / INITIAL).is_file():
        _load(model, data / INITIAL)
    parts = {part: config.study.dataset(data, split) for part, split in trained_on(data).items()}
    checkpoints = _state(out, state) / f"train-{made_from}"
    if int(os.environ.get("RANK", 0)) > 0:
        return fit(model, parts["train"], config.trainer, out, checkpoints, parts["val"], config.seed)
    with publish(out, "train", made_from) as part:
        fit(model, parts["train"], config.trainer, part, checkpoints, parts["val"], config.seed)
        save_figure(training_curve(part / "history.csv"), part / "history.png")
        config.save(part / "config.yaml", split_checksums(data))
    return model


def sample(
    config: Config, data: str | Path, model: str | Path, out: str | Path, state: str | Path | None = None
) -> Samples:
    """Draw ``sampler.n`` samples: ``samples.safetensors``, the study's own files, ``timing.json``, ``config.yaml``.

    Sample *i* has its own random stream. Every batch is kept in the state folder as soon as it is drawn, under a
    fingerprint of the weights and the solver's settings: a killed run continues, a larger ``n`` adds what is missing.
    A study with ``conditions(data, indices)`` says what each sample is conditioned on.
    """
    data, model, out = Path(data), Path(model), Path(out)
    same_study(config, data)
    weights = digest(_weights(model))
    conditions = _conditions(config, data)
    given = [checksums(data)] if conditions else []
    drawn_from = fingerprint("sample", identity(config, "model"), weights, config.sampler.settings(), *given)
    scored = [config.sampler.likelihood, config.sampler.tolerance]
    made_from = fingerprint(drawn_from, config.sampler.n, *scored)
    if _skip(out, "sample", made_from):
        return load_samples(out)
    torch.set_num_threads(config.trainer.threads)
    folder = _state(out, state) / f"sample-{drawn_from}"
    trained = load_model(config, data, model)
    _say_unlearnt(config, model)
    say_other_data("sample", model, data)
    samples = blocks.draw(trained, config.sampler, config.seed, folder, conditions)
    if config.sampler.likelihood:
        held_out = config.study.dataset(data, "test")
        logp, error = blocks.score(trained, held_out, config.sampler, folder / fingerprint(*scored))
        samples = samples._replace(test_logp=logp, test_logp_error=error)
    with publish(out, "sample", made_from) as part:
        blocks.save_samples(samples, part / "samples.safetensors")
        (part / "timing.json").write_text(json.dumps(blocks.timing(folder, config.sampler.n), indent=1))
        if (folder / blocks.GRID).exists():
            shutil.copy(folder / blocks.GRID, part)
        prepared = {"data": data} if "data" in signature(config.study.write).parameters else {}
        config.study.write(samples, part, **prepared)
        if hasattr(config.study, "trajectory"):
            config.study.trajectory(trained, samples, part)
        config.save(part / "config.yaml", split_checksums(data))
    return samples


def rectify(
    config: Config, data: str | Path, model: str | Path, out: str | Path, state: str | Path | None = None
) -> Path:
    """Draw ``sampler.n`` pairs of a source and the end of its path, as a data folder to train the model again on.

    The samples are none of those that :func:`sample` draws. A study with ``keep(samples, data) -> (n,)`` says which of
    them are good enough, by their geometry; conditions are those of the training split. A killed run continues.
    """
    data, model, out = Path(data), Path(model), Path(out)
    same_study(config, data)
    weights, settings = digest(_weights(model)), config.sampler.settings()
    drawn_from = fingerprint("rectify", identity(config, "model"), weights, settings, checksums(data))
    made_from = fingerprint(drawn_from, config.sampler.n)
    if _skip(out, "rectify", made_from):
        return out
    torch.set_num_threads(config.trainer.threads)
    folder, seed = _state(out, state) / f"rectify-{drawn_from}", stream("pairs", config.seed).initial_seed()
    say_other_data("rectify", model, data)
    trained = load_model(config, data, model)
    conditions = _conditions(config, data, "train")
    require_sources(trained, config.sampler, conditions)
    samples = blocks.draw(trained, config.sampler, seed, folder, conditions)
    kept = keep_pairs(config.study, samples, data)
    by = "by a geometric filter, keep of the study" if hasattr(config.study, "keep") else "the study has no keep"
    print(f"rectify: {int(kept.sum())} of {len(kept)} pairs kept ({by})", file=sys.stderr, flush=True)
    with publish(out, "rectify", made_from) as part:
        write_pairs(config.study, samples, kept, data, model, part)
    return out


def evaluate(config: Config, data: str | Path, samples: str | Path, out: str | Path) -> Evaluation:
    """The study's metrics and figures: ``metrics.json``, ``figures/*.png``, both as a page in ``metrics.html``."""
    data, samples, out = Path(data), Path(samples), Path(out)
    same_study(config, data)
    say_other_data("evaluate", samples, data)
    evaluation = config.study.evaluate(load_samples(samples), data)
    for name, metric in evaluation.metrics.items():
        for key, value in asdict(metric).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"metric {name}: its {key} is {value}; look at the samples in {samples}")
    made_from = fingerprint("evaluate", config.tree["study"], identity(config), digest(samples / "samples.safetensors"))
    metrics = {name: asdict(metric) for name, metric in evaluation.metrics.items()}
    content = {"study": config.name, "version": __version__, "seed": config.seed, "metrics": metrics}
    with publish(out, "evaluate", made_from) as part:
        (part / "metrics.json").write_text(json.dumps(content, indent=1, allow_nan=False))
        (part / "figures").mkdir()
        for name, figure in evaluation.figures.items():
            save_figure(figure, part / "figures" / f"{name}.png")
        captions = {name: evaluation.captions.get(name, name.replace("_", " ")) for name in evaluation.figures}
        (part / "figures" / "captions.json").write_text(json.dumps(captions, indent=1, ensure_ascii=False))
        write_report(content, captions, part)
    return evaluation


def load_model(config: Config, data: str | Path, model: str | Path) -> Model:
    """The trained model of a folder, on the GPU where there is one."""
    net = _untrained(config, Path(data))
    _load(net, _weights(Path(model)))
    return net.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def load_samples(folder: str | Path) -> Samples:
    """The samples that :func:`sample` wrote."""
    return blocks.load_samples(Path(folder) / "samples.safetensors")


def _conditions(config: Config, data: Path, *split: str) -> blocks.Conditions | None:
    """What samples are conditioned on, where the study has a say; of the split that it takes them from, or of one."""
    say = getattr(config.study, "conditions", None)
    return say and (lambda indices: say(data, indices, *split))


def _say_unlearnt(config: Config, model: Path) -> None:
    """A line, where a study says that the model was trained without what its samples are asked for."""
    settings = model / "config.yaml"
    if hasattr(config.study, "unlearnt") and settings.is_file():
        lacking = config.study.unlearnt(read_config(settings).tree["study"])
        if lacking:
            print(
                f"sample: {model} was trained with study.{lacking}=0: nothing promises that it works", file=sys.stderr
            )


def _untrained(config: Config, data: Path) -> Model:
    """The study's model as training starts from it: its first weights are named by the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return config.study.model(data)


def _load(net: Model, weights: Path) -> None:
    try:
        net.load_state_dict(load_tensors(weights), assign=True)
    except RuntimeError as error:
        raise InputError(
            f"{weights}: trained with another architecture than this configuration; leave out study=… and model.… to "
            "take its own"
        ) from error


def _weights(model: Path) -> Path:
    path = model / "model.safetensors"
    if not path.is_file():
        raise InputError(f"{path}: no such file; run `sciflow train … --out {model}` first")
    return path


def _state(out: Path, state: str | Path | None) -> Path:
    return out.parent / ".state" if state is None else Path(state)


def _skip(out: Path, stage: str, made_from: str) -> bool:
    if not finished(out, stage, made_from):
        return False
    print(f"{stage}: {out} is up to date", file=sys.stderr, flush=True)
    return True
