"""Paths of letters at 1, 4, 16 and 100 network calls, over seeds: what the columns of designed alignments do together.

    snakemake -s workflows/Snakefile --configfile workflows/config/sequences.yaml --cores 2
    python docs/benchmarks/sequence_paths.py results/trna-*

Nothing is trained: each finished run is sampled anew at every number of calls. Runs named NAME-SEED are averaged over
seeds, with their standard deviation; a seed is a split too. The lines at the end are rows without a network, the same
for all paths: held-out rows, and as many draws of a site-independent profile and of an autoregressive model.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from time import process_time
from typing import Any

from timing import header, table

from sciflow.pipeline import load_model, read_config
from sciflow.rng import sample_generators
from sciflow.study import Metric

CALLS = (1, 4, 16, 100)
SHOWN = {
    "pairing": "pairing",
    "gap_agreement": "gap agreement",
    "covariance": "covariance r",
    "covariance_held_out": "r, held out",
    "column_kl": "column KL",
    "unique": "unique",
    "nearest_train": "nearest train",
    "copies": "copies",
}


def spread(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def measured(run: Path, calls: int, n: int, temperature: float) -> tuple[dict[str, Metric], float]:
    """Metrics of n samples of a run, and ms of one thread for each."""
    data, config = run / "data", read_config(run / "model" / "config.yaml")
    model = load_model(config, data, run / "model")
    device = next(model.parameters()).device
    start = process_time()
    generators = sample_generators(config.seed, 0, n, device)
    samples = model.sample(n, generator=generators, steps=calls, temperature=temperature)
    seconds = process_time() - start
    return config.study.evaluate(samples._replace(x=samples.x.cpu()), data).metrics, 1000 * seconds / n  # type: ignore[union-attr]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of finished runs of trna, or of other alignments")
    parser.add_argument("--n", type=int, default=300, help="samples of each row")
    parser.add_argument("--calls", type=int, nargs="+", default=CALLS, help="of the network")
    parser.add_argument("--temperature", type=float, default=1.0, help="of posteriors; 0 for students of pairs")
    args = parser.parse_args()
    header()
    rows: dict[tuple[str, Any], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in args.runs:
        name = run.name.rpartition("-")[0] or run.name
        for calls in args.calls:
            metrics, cost = measured(run, calls, args.n, args.temperature)
            rows[name, calls]["ms a sample"].append(cost)
            for key in SHOWN:
                for line, value in _lines(metrics, key).items():
                    rows[line if line else name, "" if line else calls][key].append(value)
    known = {key: title for key, title in SHOWN.items() if any(key in row for row in rows.values())}
    ordered = sorted(rows.items(), key=lambda item: item[0][1] == "")  # paths first
    body = [
        [name, calls, *(spread(row[key]) if key in row else "" for key in [*known, "ms a sample"])]
        for (name, calls), row in ordered
    ]
    table(f"{args.n} samples a row", ["run", "calls", *known.values(), "ms a sample"], body)


def _lines(metrics: dict[str, Metric], key: str) -> dict[str, float]:
    """A metric of the samples (under no name) and of the rows that stand beside them."""
    metric, autoregressive = metrics.get(key), metrics.get(f"{key}_autoregressive")
    found = {} if metric is None else {"": metric.value, "profile": metric.floor, "held out": metric.reference}
    if key in ("unique", "copies"):  # their reference is an ideal
        found.pop("held out", None)
    if autoregressive is not None:
        found["autoregressive"] = autoregressive.value
    return {line: value for line, value in found.items() if value is not None}


if __name__ == "__main__":
    main()
