"""What a stage's result depends on: settings, the study's own files, and the data that it starts from."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import yaml

from .. import __version__
from ..errors import InputError
from .config import Config
from .outputs import digest, listing

__all__ = ["SPLITS", "check_files", "checksums", "identity", "same_study", "say_other_data", "split_checksums"]

SPLITS = ("train", "val", "test")


def checksums(data: Path) -> dict[str, str]:
    sha256: dict[str, str] = _meta(data)["sha256"]
    return sha256


def split_checksums(data: Path) -> dict[str, str]:
    """Checksums of the splits, by which data are told apart, also with pairs beside them."""
    known = checksums(data)
    return {name: known[name] for split in SPLITS if (name := f"{split}.safetensors") in known}


def say_other_data(stage: str, made: Path, data: Path) -> None:
    """A line, where weights or samples in ``made`` are of other data, or of another split of them."""
    try:
        tree = yaml.safe_load((made / "config.yaml").read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError):  # said by what reads the settings
        return
    saved = tree.get("data") if isinstance(tree, dict) else None
    if saved and saved != split_checksums(data):
        print(
            f"{stage}: {made} was made with other data than {data}, or another split: what is held out here may have "
            "been trained on",
            file=sys.stderr,
        )


def _meta(data: Path) -> dict[str, Any]:
    """What :func:`prepare` says about the data."""
    try:
        meta: dict[str, Any] = json.loads((data / "meta.json").read_text())
        _ = meta["sha256"]
    except (FileNotFoundError, NotADirectoryError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{data}: no prepared data (meta.json); run `sciflow prepare … --out {data}` first") from error
    return meta


def same_study(config: Config, data: Path) -> None:
    """Refuse data of another study. One in a file of your own may be made for data of any."""
    made, asked = ((tree or {}).get("_target_", "") for tree in (_meta(data).get("config"), config.tree["study"]))
    if made != asked and made and not (made.endswith(".py") or asked.endswith(".py")):
        made, asked = (name.rpartition(".")[2] for name in (made, asked))
        raise InputError(
            f"{data}: prepared by {made}, and the settings (study {config.name}) are of {asked}: "
            f"prepare data of {config.name}, or name the study of these data"
        )


def identity(config: Config, *sections: str) -> dict[str, Any]:
    """What a result depends on: version, seed, the study, more sections, its own code and the files that it names.

    A study's section ``evaluation`` is left out: no data, weights or samples depend on it.
    """
    kept = {name: config.tree[name] for name in sections}
    kept["study"] = {key: value for key, value in config.tree["study"].items() if key != "evaluation"}
    named = {value for value in _strings(kept) if os.path.isfile(value)}
    contents = {name: digest(Path(name)) for name in named}
    contents |= {str(path): listing(path) for _, path in _paths(config.study, "study") if path.is_dir()}
    return {"version": __version__, "seed": config.seed, **kept, "files": contents}


def check_files(section: Any, name: str) -> None:
    """Every ``Path`` in a study names something that is there."""
    for key, path in _paths(section, name):
        if not path.exists():
            raise InputError(f"{key}={path}: no such file; give the path from where you are, or the full one")


def _paths(section: Any, name: str) -> Iterator[tuple[str, Path]]:
    """The paths of a study and their keys."""
    for f in fields(section):
        value = getattr(section, f.name)
        if isinstance(value, Path):
            yield f"{name}.{f.name}", value
        elif is_dataclass(value):
            yield from _paths(value, f"{name}.{f.name}")


def _strings(tree: Any) -> list[str]:
    if isinstance(tree, dict):
        return [text for value in tree.values() for text in _strings(value)]
    if isinstance(tree, list):
        return [text for value in tree for text in _strings(value)]
    return [tree] if isinstance(tree, str) and tree else []
