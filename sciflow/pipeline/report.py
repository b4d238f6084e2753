"""What people look at: the training curve, figures as files, metrics and figures as a page."""

import base64
import csv
import html
import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

__all__ = ["beside_error", "known_error", "metric_rows", "save_figure", "training_curve", "with_error", "write_report"]

COLUMNS = ("metric", "value", "n", "floor", "reference", "published", "unit")
STYLE = (
    "body{font-family:sans-serif;line-height:1.5;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.3rem}.table{overflow-x:auto}table{border-collapse:collapse}"
    "td,th{padding:.3em 1em .3em 0;text-align:left}tr{border-bottom:1px solid #ccc}"
    "figure{margin:2.5rem 0}img{max-width:100%}figcaption{max-width:45rem}"
)
LEGEND = (
    "A value ± its standard error, of n samples. Floor: what a trivial method reaches. Reference: what a perfect "
    "answer gives. Published: what others report."
)


def training_curve(history: Path) -> Figure:
    """Training and validation loss against the step, from ``history.csv``."""
    with history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([int(r["step"]) for r in rows], [float(r["loss"]) for r in rows], color="#0072B2", label="training")
    validated = [r for r in rows if r["val_loss"]]
    if validated:
        steps, losses = [int(r["step"]) for r in validated], [float(r["val_loss"]) for r in validated]
        axes.plot(steps, losses, "o-", color="#D55E00", markersize=3, label="validation (averaged weights)")
    axes.set(xlabel="optimizer step", ylabel="loss")
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """PNG, tight, 150 dots an inch."""
    figure.savefig(path, dpi=150, bbox_inches="tight")


def metric_rows(metrics: dict[str, dict[str, Any]]) -> list[list[str]]:
    """A header and a row a metric, as text: ``value ± error`` beside sample size, floor and reference.

    A number with an error has the error's digits, and so has what stands beside it, unless these would hide it.
    """
    rows = [list(COLUMNS)]
    for name, m in metrics.items():
        n, error = "" if m["n"] is None else str(m["n"]), known_error(m["value"], m["error"])
        beside = [beside_error(m.get(key), error) for key in ("floor", "reference", "published")]
        rows.append([name, with_error(m["value"], error), n, *beside, m["unit"] or ""])
    return rows


def with_error(value: float, error: float | None) -> str:
    """``value ± error``, two digits of the error."""
    decimals = _decimals(error)
    text = f"{value:.4g}" if decimals is None else f"{value:.{decimals}f}"
    return text if error is None else f"{text} ± {error:.2g}"


def beside_error(value: float | None, error: float | None) -> str:
    """A number to compare with: to the digits of the error, or to two of its own where it is smaller than they tell."""
    decimals = _decimals(error)
    if value is None:
        return ""
    if decimals is None:
        return f"{value:.4g}"
    return f"{value:.{decimals}f}" if value == 0 or abs(value) >= 10 ** (1 - decimals) else f"{value:.2g}"


def _decimals(error: float | None) -> int | None:
    return max(0, 1 - math.floor(math.log10(error))) if error else None


def known_error(value: float, error: float | None) -> float | None:
    """The error, 0 where it is of rounding."""
    return 0.0 if error is not None and error < 1e-9 * abs(value) else error


def write_report(content: dict[str, Any], captions: dict[str, str], folder: Path) -> None:
    """``metrics.html`` in a folder of ``figures/NAME.png``: ``metrics.json`` as a table, and figures with captions.

    A page that stands alone: its figures are within it. The same of both gives the same bytes.
    """
    title = html.escape(f"{content['study']}, seed {content['seed']}, sciflow {content['version']}")
    header, *rows = [[html.escape(cell) for cell in row] for row in metric_rows(content["metrics"])]
    lines = [f"<th>{'</th><th>'.join(header)}</th>", *(f"<td>{'</td><td>'.join(row)}</td>" for row in rows)]
    page = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>",
        f"<style>{STYLE}</style>",
        f"<h1>{title}</h1>",
        "<div class='table'><table>",
        *(f"<tr>{line}</tr>" for line in lines),
        "</table></div>",
        f"<p>{LEGEND}</p>",
        *(_figure(folder / "figures" / f"{name}.png", caption) for name, caption in captions.items()),
    ]
    (folder / "metrics.html").write_text("\n".join([*page, ""]), encoding="utf-8")


def _figure(path: Path, caption: str) -> str:
    image, text = base64.b64encode(path.read_bytes()).decode(), html.escape(caption)
    name = html.escape(path.stem.replace("_", " "))
    return f"<figure><img alt='{name}' src='data:image/png;base64,{image}'><figcaption>{text}</figcaption></figure>"
