"""One setting at a time: ``key=value`` onto a typed tree, and what a mistake should have been."""

from difflib import get_close_matches
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..errors import InputError

__all__ = ["FILLED", "SECTIONS", "nearest", "read_override", "set_key"]

SECTIONS = ("study", "model", "trainer", "sampler")
FILLED = ("architecture", "seed")  # fields of a study that other sections fill


def read_override(override: str, typed: DictConfig) -> tuple[str, Any]:
    """Full key and value of ``key=value``."""
    given, equals, text = override.partition("=")
    if not equals or not given:
        raise InputError(f"cannot read {override!r}: write key=value, for example n=200")
    if given == "study":
        raise InputError(f"{override}: study=… is given once, and by name or file")
    key = _full(given, typed)
    try:
        parsed = OverridesParser.create().parse_override(f"{key}={text}")
        value = parsed.value() if not parsed.is_sweep_override() else text
    except HydraException:
        value = text  # not Hydra's grammar: a file name, a title
    return key, value.text if isinstance(value, QuotedString) else value


def _full(key: str, typed: DictConfig) -> str:
    """The key with its section: as it is, or that of the one section that has it; the study's own goes first."""
    head = key.split(".")[0]
    if head in typed or head in SECTIONS:
        return key
    homes = [f"{name}.{key}" for name in SECTIONS if name in typed and head in _keys(typed[name], name)]
    if len(homes) > 1 and not homes[0].startswith("study."):
        raise InputError(f"{key} is in {len(homes)} sections: say {' or '.join(homes)}")
    if homes:
        return homes[0]
    keys = {name: _keys(typed[name], name) for name in SECTIONS if name in typed}
    near = nearest(head, [*(k for known in keys.values() for k in known), *SECTIONS, "seed"])
    listed = "; ".join(f"{name}: {', '.join(known)}" for name, known in keys.items())
    raise InputError(f"unknown key {key!r}{near}; keys are: {listed}")


def set_key(typed: DictConfig, key: str, value: Any) -> None:
    """Set one key, which must exist, to a value, which must be of its type."""
    node: Any = typed
    *parents, last = key.split(".")
    for depth, part in enumerate([*parents, last]):
        section = ".".join(parents[:depth])
        if not isinstance(node, DictConfig):
            raise InputError(f"unknown key {key!r}: {section} is a value, not a section")
        known = _keys(node, section)
        if known and part not in known:
            here = f"{section} has" if section else "sections are"
            raise InputError(f"unknown key {key!r}{nearest(part, known)}; {here}: {', '.join(known)}")
        if part != last or depth < len(parents):
            node = node[part]
    if last in node and isinstance(node._get_node(last), DictConfig) and not isinstance(value, dict):
        raise InputError(f"{key}={value!r}: {key} is a section; set one of its keys: {', '.join(map(str, node[last]))}")
    try:
        OmegaConf.update(typed, key, value, merge=isinstance(value, dict), force_add=not known)
    except OmegaConfBaseException as error:
        hint = node._get_node(last)._metadata.ref_type if last in node else Any
        wanted = getattr(hint, "__name__", str(hint)) if hint is not Any else _first_line(error)
        if wanted == "List" and not isinstance(value, list):
            wanted = f"a list, such as {key}=[{value}]"
        elif wanted in ("int", "float", "bool") and node[last] is not None:
            wanted += f", such as {key}={node[last]}"
        raise InputError(f"{key}={value!r}: expected {wanted}") from error


def _keys(node: DictConfig, section: str) -> list[str]:
    """Keys that may be set; empty for a dictionary, which takes any."""
    if OmegaConf.get_type(node) is dict and section:
        return []
    return [str(key) for key in node if not (section == "study" and key in FILLED)]


def nearest(name: str, known: list[str]) -> str:
    """What to say after an unknown name: the known one that is like it, if any."""
    close = get_close_matches(name, known, n=1)
    return f": did you mean {close[0]!r}?" if close else ""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
