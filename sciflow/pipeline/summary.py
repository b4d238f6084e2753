"""Finished runs in a few lines: what was measured, and where to look."""

import json
import re
from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ..boltzmann.logweights import FEW
from ..errors import InputError
from .report import beside_error, known_error, metric_rows, with_error

__all__ = ["comparison", "summary"]

_GAINED = "nat"  # unit of metrics that say how much worse than the truth a density is
HIDDEN = {"config.yaml", "meta.json", "samples.safetensors", "timing.json"}
HANDFUL = 6  # files that are listed one by one
BESIDE = ("samples/timing.json", "self_consistency.json")  # metrics that `evaluate` did not make


def summary(folder: Path) -> str:
    """Metrics beside floors and references, then the files a person opens: report, figures, native sample files."""
    content = _content(folder)
    lines = _aligned(metric_rows(content["metrics"]))
    ess = content["metrics"].get("ess")
    if ess and ess["value"] * ess["n"] < FEW:
        few = round(ess["value"] * ess["n"])
        samples = "sample" if few == 1 else "samples"
        lines += ["", f"{few} effective {samples} of {ess['n']}: no reweighted number is an estimate"]

    natives = sorted((folder / "samples").glob("*")) if (folder / "samples").is_dir() else []
    places: dict[str, Sequence[Path | str]] = {
        "report": [p for p in (folder.parent / "report.html", folder / "metrics.html") if p.exists()],
        "samples": _few([path for path in natives if path.name not in HIDDEN and not path.name.startswith(".")]),
        "figures": sorted((folder / "figures").glob("*.png")),
        "metrics": [folder / "metrics.json"],
    }
    lines += ["", *(f"{name:8s} {path}" for name, paths in places.items() for path in paths)]
    title = f"{folder}: study {content['study']}, seed {content['seed']}, sciflow {content['version']}"
    return "\n".join([title, "", *lines])


def _few(paths: Sequence[Path]) -> list[str]:
    """Files one by one; beyond a handful of a kind, the folder and how many they are."""
    kinds: dict[str, list[Path]] = {}
    for path in paths:
        kinds.setdefault(path.suffix, []).append(path)
    lines: list[str] = []
    for suffix, of in kinds.items():
        lines += map(str, of) if len(of) <= HANDFUL else [f"{of[0].parent}/*{suffix} ({len(of)} files)"]
    return lines


def comparison(folders: Sequence[Path]) -> str:
    """Several runs in one table, metric by metric; those named ``NAME-SEED`` are averaged over their seeds.

    A value is the mean ± the standard deviation over the seeds; of a single run it is its own ± its error. ``gain``, of
    metrics in nats (negative log-likelihoods and divergences: lower is better), is the floor minus the value, paired
    seed by seed: what the model is worth beyond the floor. Columns in which no run has anything are left out.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for folder in folders:
        groups.setdefault(re.sub(r"-\d+$", "", folder.name), []).append(_content(folder)["metrics"])
    rows = [["metric", "run", "seeds", "value", "n", "floor", "gain", "reference", "published", "unit"]]
    for metric in dict.fromkeys(metric for runs in groups.values() for metric in runs[0]):
        for name, runs in groups.items():
            if all(metric in run for run in runs):
                rows.append([metric, name, str(len(runs)), *_cells([run[metric] for run in runs])])
    filled = [any(column) for column in zip(*rows[1:], strict=True)]
    return "\n".join(_aligned([list(compress(row, filled)) for row in rows] if any(filled) else rows))


def _cells(seeds: Sequence[dict[str, Any]]) -> list[str]:
    """Value, n, floor, gain, reference, published and unit of one metric over the seeds of a run."""
    first, alone = seeds[0], len(seeds) == 1
    error = known_error(first["value"], first["error"])
    floors = [(m["value"], m["floor"]) for m in seeds if m["floor"] is not None]
    gain = _spread([floor - value for value, floor in floors]) if first["unit"] == _GAINED else ""

    def number(key: str) -> str:
        known = [m[key] for m in seeds if m.get(key) is not None]
        return beside_error(known[0], error) if alone and known else _spread(known)

    value = with_error(first["value"], error) if alone else _spread([m["value"] for m in seeds])
    n = sorted({m["n"] for m in seeds if m["n"] is not None})
    sizes = "–".join(map(str, n if len(n) < 2 else (n[0], n[-1])))
    return [value, sizes, number("floor"), gain, number("reference"), number("published"), first["unit"] or ""]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    same = len(set(values)) == 1
    return f"{mean(values):.4g}" + ("" if same else f" ± {stdev(values):.2g}")


def _content(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        if not {"study", "seed", "version", "metrics"} <= content.keys():
            raise ValueError("study, seed, version or metrics is missing")
        for path in [folder / name for name in BESIDE if (folder / name).is_file()]:
            content["metrics"] |= json.loads(path.read_text()).get("metrics", {})
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: no metrics.json; `sciflow evaluate … --out {folder}` writes it") from error
    except (ValueError, AttributeError) as error:  # of JSON, of UTF-8, or not a dictionary
        raise InputError(f"{path}: not what sciflow wrote ({error}); delete it and run its stage again") from error
    return content


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
