"""The configuration of a run: Hydra composes it, dataclasses type it, and every mistake is one line.

::

    study    a dataclass with the five methods; from conf/study/NAME.yaml or a Python file of your own
    model    a dataclass, filled into the study's field ``architecture``; from conf/model/NAME.yaml
    trainer  TrainerConfig
    sampler  SamplerConfig
    seed     of every random stream; filled into the study's field ``seed`` where it has one

An override is ``key=value`` in Hydra's grammar. Its section may be left out where only one section has the key, or the
study: ``n=200`` is ``sampler.n=200``, ``data.path=my.csv`` is ``study.data.path=my.csv``.
"""

import dataclasses
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, IntegerNode, OmegaConf

from ..errors import InputError, require_above
from ..study import Study
from ..training import TrainerConfig, require_step
from .overrides import FILLED, SECTIONS, nearest, read_override, set_key

__all__ = ["Config", "SamplerConfig", "load_config", "read_config"]

_OF_THE_MODEL = ("steps", "step", "grid", "track_logq", "guidance", "noise", "temperature", "particles")
METHODS = ("prepare", "dataset", "model", "write", "evaluate")


@dataclass
class SamplerConfig:
    """How samples are drawn. The settings left ``null`` are the model's own.

    Attributes:
        n: number of samples; a larger ``n`` later tops up what is there.
        batch_size: samples drawn at once; sample *i* does not depend on it.
        steps: time steps of the solver.
        step: ``euler``, ``midpoint``, ``rk4``, ``dopri5``, or ``path``: as the model's path goes; of sequences also
            ``tau_leap``, ``confidence``, ``autoregressive``.
        grid: ``optimal``: the times at which as many steps cost least, see ``sciflow.sampling.optimal_grid``.
        track_logq: follow the log-density of each sample.
        likelihood: compute the log-density of the held-out data under the model.
        guidance: of sequences, strength towards a label or an oracle of the study.
        noise: of sequences, η of ``tau_leap``.
        temperature: of sequences, T of the posterior's power 1/T.
        particles: of sequences, number of them that an oracle steers.
        tolerance: of that density's integration (on a mesh, one over the number of steps); its halving gives the error.
    """

    n: int = 1000
    batch_size: int = 1000
    steps: int | None = None
    step: str | None = None
    grid: str | None = None
    track_logq: bool | None = None
    guidance: float | None = None
    noise: float | None = None
    temperature: float | None = None
    particles: int | None = None
    likelihood: bool = False
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("n", "batch_size", "steps", "particles"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"sampler.{name}={value} must be at least 1")
        if self.step is not None:
            require_step(self.step)
        if self.grid not in (None, "optimal"):
            raise InputError(f"sampler.grid={self.grid!r}: use optimal, or leave it out for the times of the model")
        require_above(0, "sampler.", self, "tolerance")
        for name in ("noise", "temperature"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise InputError(f"sampler.{name}={value} must be 0 or more")

    def settings(self) -> dict[str, Any]:
        """What the model's ``sample`` is told."""
        chosen = {name: getattr(self, name) for name in _OF_THE_MODEL}
        return {name: value for name, value in chosen.items() if value is not None}


@dataclass
class Config:
    """A checked configuration: the objects, and the plain ``tree`` that is saved as ``config.yaml``."""

    name: str
    study: Study
    trainer: TrainerConfig
    sampler: SamplerConfig
    seed: int
    tree: dict[str, Any]

    def save(self, path: Path, data: dict[str, str] | None = None) -> None:
        """Write the tree as YAML; :func:`read_config` reads it. ``data`` are checksums of what it was used with."""
        tree = self.tree | ({} if data is None else {"data": data})
        path.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True))


def load_config(study: str, overrides: Iterable[str] = ()) -> Config:
    """Compose the configuration of a study.

    Args:
        study: a name in ``conf/study``, or the path of a Python file with one dataclass that has the five methods.
        overrides: ``key=value``; ``model=NAME`` chooses a model.

    Raises:
        InputError: unknown study, model or key (with the nearest ones), a value of the wrong type.
    """
    overrides = list(overrides)
    models = [_option("model", o.removeprefix("model=")) for o in overrides if o.startswith("model=")]
    own = study.endswith(".py")
    with initialize_config_module("sciflow.conf", version_base="1.3"):
        tree = _compose([] if own else [f"study={_option('study', study)}"])
        if models:  # what a study sets beside itself is meant for its own model; another one brings its own settings
            tree = {**_compose([f"model={models[-1]}"]), "study": tree["study"]}
    if own:
        tree["study"] = {"_target_": study}
    elif models and tree["model"]:
        _check_domain(study, tree["study"]["_target_"], models[-1], tree["model"]["_target_"])
    return _checked({"name": Path(study).stem, **tree}, [o for o in overrides if not o.startswith("model=")])


def read_config(path: Path, overrides: Iterable[str] = ()) -> Config:
    """The configuration that a stage saved as ``config.yaml``, with overrides on top."""
    try:
        tree = yaml.safe_load(Path(path).read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; name the study (study=…) or the folder of an earlier stage") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}); run the earlier stage again") from error
    if not _is_saved(tree):
        raise InputError(f"{path}: not a configuration that a stage saved; run the earlier stage again")
    overrides = list(overrides)
    if any(o.startswith("model=") for o in overrides):
        raise InputError("model=… chooses the model before training; train again to change it")
    return _checked(tree, overrides)


def left_behind(study: str, overrides: Iterable[str], saved: Path) -> list[str]:
    """Settings ``key=value`` of study and sampler, and the seed, that were saved and are back at their defaults.

    Empty where one of them cannot be read, or is not whole without overrides: this is a hint, and refuses nothing.
    """
    model = [o for o in overrides if o.startswith("model=")]
    try:
        configs = read_config(saved), load_config(study, model), load_config(study, overrides)
    except InputError:
        return []
    was, default, now = (dict(_flat({name: c.tree[name] for name in ("study", "sampler", "seed")})) for c in configs)
    return [f"{k}={v}" for k, v in was.items() if v != default.get(k, v) and default[k] == now[k]]


def _is_saved(tree: Any) -> bool:
    """A name, and sections of settings; those of study and model say of which class."""
    if not isinstance(tree, dict):
        return False
    sections = [tree.get(name) or {} for name in SECTIONS]
    if not all(isinstance(section, dict) for section in sections):
        return False
    named = (tree.get("name"), sections[0].get("_target_"), sections[1].get("_target_", ""))
    return all(isinstance(text, str) for text in named)


def options(group: str) -> list[str]:
    """Names of a group: ``study`` or ``model``."""
    folder = resources.files("sciflow.conf") / group
    return sorted(Path(file.name).stem for file in folder.iterdir() if file.name.endswith(".yaml"))


def _option(group: str, name: str) -> str:
    known = options(group)
    if name in known or (group == "model" and name == "null"):
        return name
    hint = "" if group == "model" else "; or the path of a Python file"
    raise InputError(f"unknown {group} {name!r}{nearest(name, known)}; {group} is one of: {', '.join(known)}{hint}")


def _compose(choices: list[str]) -> dict[str, Any]:
    tree: dict[str, Any] = OmegaConf.to_container(compose("config", choices))  # type: ignore[assignment]
    return tree


def _check_domain(study: str, study_target: str, model: str, model_target: str) -> None:
    """A shipped model serves the studies of its own domain, ``sciflow.molecules``, ``sciflow.geometry``, …"""
    of_study, of_model = (".".join(target.split(".")[:2]) for target in (study_target, model_target))
    if of_study != of_model:
        raise InputError(
            f"model={model} is of {of_model}, and study {study} of {of_study}: choose another model, or none"
        )


def _checked(tree: dict[str, Any], overrides: list[str]) -> Config:
    """Type a plain tree with its dataclasses, apply overrides, build the objects."""
    targets = {name: tree[name]["_target_"] for name in ("study", "model") if tree.get(name)}
    classes = {name: _class(name, target) for name, target in targets.items()}
    classes |= {"trainer": TrainerConfig, "sampler": SamplerConfig}
    typed = OmegaConf.create(
        {name: OmegaConf.structured(cls) for name, cls in classes.items()} | {"seed": IntegerNode(0)}
    )
    OmegaConf.set_struct(typed, True)
    for key, value in _flat({name: tree.get(name) or {} for name in classes} | {"seed": tree.get("seed", 0)}):
        set_key(typed, key, value)
    for override in overrides:
        set_key(typed, *read_override(override, typed))
    if typed.seed is None or typed.seed < 0:
        raise InputError(f"seed={typed.seed} must be 0 or more")

    built = {name: _build(typed[name], name) for name in classes}
    has = {f.name for f in dataclasses.fields(classes["study"])}
    if "model" in built and "architecture" not in has:
        raise InputError(f"study {tree['name']} brings its own model: leave out model=…")
    filled = {"architecture": built.get("model"), "seed": typed.seed}
    study = dataclasses.replace(built["study"], **{k: v for k, v in filled.items() if k in has and v is not None})

    plain: dict[str, Any] = {"name": tree["name"], "study": None, "model": None}
    for name in classes:
        target = {"_target_": targets[name]} if name in targets else {}
        values = _plain(OmegaConf.to_container(typed[name], enum_to_str=True))
        plain[name] = target | {k: v for k, v in values.items() if not (name == "study" and k in FILLED)}
    plain["seed"] = typed.seed
    return Config(tree["name"], study, built["trainer"], built["sampler"], typed.seed, plain)


def _build(node: DictConfig, name: str) -> Any:
    missing = [str(key) for key in node if OmegaConf.is_missing(node, key)]
    if missing:
        raise InputError(f"{name}.{missing[0]} has no value: say {missing[0]}=…")
    return OmegaConf.to_object(node)


def _class(section: str, target: str) -> type:
    """The dataclass that ``_target_`` names: ``package.module.Class``, or a Python file with one study."""
    if not target.endswith(".py"):
        module, _, name = target.rpartition(".")
        try:
            cls: type = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise InputError(f"{section}={target}: {error}; run the earlier stage again") from error
        return cls
    path = Path(target)
    if section != "study" or not path.is_file():
        raise InputError(f"{section}={target}: no such file")
    spec = importlib.util.spec_from_file_location(f"sciflow_study_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module_object = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module_object
    try:
        spec.loader.exec_module(module_object)
    except Exception as error:
        frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        at = error.lineno or 1 if isinstance(error, SyntaxError) else frames[-1]
        raise InputError(f"{target}, line {at}: {type(error).__name__}: {error}") from error
    own = [c for c in vars(module_object).values() if isinstance(c, type) and c.__module__ == spec.name]
    found = [c for c in own if dataclasses.is_dataclass(c) and all(hasattr(c, method) for method in METHODS)]
    if len(found) != 1:
        names = ", ".join(c.__name__ for c in found) or "none"
        raise InputError(f"{target}: needs one dataclass with the methods {', '.join(METHODS)}; it has {names}")
    return found[0]


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        elif name != "_target_" and value != {}:
            yield f"{prefix}{name}", value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
