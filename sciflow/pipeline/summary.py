"""Finished runs in a few lines: what was measured, and where to look."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ..errors import InputError
from .report import metric_rows

__all__ = ["comparison", "summary"]

FEW = 30  # effective samples, below which an average of weights says nothing
HIDDEN = {"config.yaml", "meta.json", "samples.safetensors"}


def summary(folder: Path) -> str:
    """Metrics beside floors and references, then the files a person opens: report, figures, native sample files."""
    content = _content(folder)
    lines = _aligned(metric_rows(content["metrics"]))
    ess = content["metrics"].get("ess")
    if ess and ess["value"] * ess["n"] < FEW:
        lines += [
            "",
            f"{ess['value'] * ess['n']:.0f} effective samples of {ess['n']}: no reweighted number is an estimate",
        ]

    natives = sorted((folder / "samples").glob("*")) if (folder / "samples").is_dir() else []
    places = {
        "report": [path for path in [folder.parent / "report.html"] if path.exists()],
        "samples": [path for path in natives if path.name not in HIDDEN and not path.name.startswith(".")],
        "figures": sorted((folder / "figures").glob("*.png")),
        "metrics": [folder / "metrics.json"],
    }
    lines += ["", *(f"{name:8s} {path}" for name, paths in places.items() for path in paths)]
    title = f"{folder}: study {content['study']}, seed {content['seed']}, sciflow {content['version']}"
    return "\n".join([title, "", *lines])


def comparison(folders: Sequence[Path]) -> str:
    """Several runs in one table; those named ``NAME-SEED`` are averaged over their seeds.

    A value is the mean ± the standard deviation over the seeds. ``gain`` is the floor minus the value, paired seed by
    seed: where a lower value is better, what the model is worth beyond the floor.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for folder in folders:
        groups.setdefault(re.sub(r"-\d+$", "", folder.name), []).append(_content(folder)["metrics"])
    rows = [["run", "seeds", "metric", "value", "floor", "gain", "reference", "published", "unit"]]
    for name, runs in groups.items():
        for metric in (key for key in runs[0] if all(key in run for run in runs)):
            values = [run[metric] for run in runs]
            pairs = [(v["value"], v["floor"]) for v in values if v["floor"] is not None]
            row = [name, str(len(runs)), metric, _spread([v["value"] for v in values])]
            row += [_spread([floor for _, floor in pairs]), _spread([floor - value for value, floor in pairs])]
            for key in ("reference", "published"):
                row.append(_spread([v[key] for v in values if v.get(key) is not None]))
            rows.append([*row, values[0]["unit"] or ""])
    return "\n".join(_aligned(rows))


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    same = len(set(values)) == 1
    return f"{mean(values):.4g}" + ("" if same else f" ± {stdev(values):.2g}")


def _content(folder: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: no metrics.json; `sciflow evaluate … --out {folder}` writes it") from error
    return content


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]
