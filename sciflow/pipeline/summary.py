"""A finished run in a few lines: what was measured, and where to look."""

import json
from pathlib import Path

from ..errors import InputError
from .report import metric_rows

__all__ = ["summary"]

HIDDEN = {"config.yaml", "meta.json", "samples.safetensors"}


def summary(folder: Path) -> str:
    """Metrics beside floors and references, then the files a person opens: report, figures, native sample files."""
    try:
        content = json.loads((folder / "metrics.json").read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{folder}: no metrics.json; `sciflow evaluate … --out {folder}` writes it") from error
    rows = metric_rows(content["metrics"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))

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
