"""What guidance is worth, and what it costs: hits, G and C, and diversity of planted motifs against its strength.

    sciflow run study=motif_dna --out results/motif_dna
    python docs/benchmarks/guidance.py results/motif_dna

Nothing is trained: the finished run is sampled towards its classes without a classifier, and towards a share of G and C
by an oracle of clean sequences (straight through, and by Feynman–Kac particles). The sequences are synthetic, and their
law is known: that of held-out data is what a perfect model, unguided, would give. Writes docs/images/guidance.png.
"""

import argparse
from pathlib import Path
from time import process_time
from typing import Any

from matplotlib.figure import Figure
from timing import header, table

from sciflow.pipeline import load_model, read_config
from sciflow.rng import sample_generators
from sciflow.sequences.motif_metrics import MotifJudge
from sciflow.sequences.motifs import gc_oracle
from sciflow.training import load_tensors

STRENGTHS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
PARTICLES = (4, 16)
SHOWN = {
    "motif_hits": "motif found",
    "class_accuracy": "class accuracy",
    "spacing": "spacing",
    "log_likelihood": "log p(x given class), nats a letter",
    "gc_content": "G and C",
    "diversity": "diversity",
}


def draw(by_label: dict[float, dict[str, float]], by_gc: dict[float, dict[str, float]], test: Any, gc: float) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    styles = {"motif_hits": ("#0072B2", "o"), "gc_content": ("#D55E00", "s"), "diversity": ("#009E73", "^")}
    for ax, found, title in (
        (left, by_label, "towards the class, no classifier"),
        (right, by_gc, f"towards {gc:.0%} G and C, straight through"),
    ):
        for name, (colour, marker) in styles.items():
            ax.plot(list(found), [m[name] for m in found.values()], marker + "-", color=colour, label=SHOWN[name])
            ax.axhline(test[name], color=colour, ls=":", lw=1)
        ax.set(xlabel="strength γ", title=title, ylim=(0, 1.03))
        ax.set_xscale("symlog", linthresh=0.5)
        ax.set_xlim(-0.1, 9)
        ax.set_xticks(STRENGTHS, [f"{s:g}" for s in STRENGTHS])
    right.axhline(gc, color="black", ls="--", lw=1, label="asked for")
    left.set_ylabel("share (dotted: held-out data)")
    right.legend(frameon=False, fontsize="small")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run of motif_dna")
    parser.add_argument("--n", type=int, default=500, help="samples of each row")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--gc", type=float, default=0.7, help="share of G and C that is asked for")
    parser.add_argument("--out", type=Path, default=Path("docs/images/guidance.png"))
    args = parser.parse_args()
    header()
    data, config = args.run / "data", read_config(args.run / "model" / "config.yaml")
    study: Any = config.study
    model: Any = load_model(config, data, args.run / "model")
    device = next(model.parameters()).device
    label = study.conditions(data, range(args.n))["label"]
    test = load_tensors(data / "test.safetensors")
    judge = MotifJudge(study.grammar(data), study.evaluation.false_positives)

    def measured(strength: float, particles: int = 1) -> tuple[dict[str, float], dict[str, float], list[Any]]:
        streams, start = sample_generators(config.seed, 0, args.n, device), process_time()
        cond = {"label": label.to(device)}
        drawn = model.sample(args.n, cond, streams, steps=args.steps, guidance=strength, particles=particles)
        seconds = process_time() - start
        metrics = judge.metrics(drawn.x.cpu(), label, test["x"], test["label"])
        values = {name: m.value for name, m in metrics.items()}
        row = [
            *(f"{values[name]:.3f}" for name in SHOWN if name in values),
            drawn.nfe,
            f"{1000 * seconds / args.n:.0f}",
        ]
        return values, {name: m.reference for name, m in metrics.items() if m.reference is not None}, row

    model.guide = None
    towards_label = {s: measured(s) for s in STRENGTHS}
    model.guide = gc_oracle(args.gc)
    towards_gc = {s: measured(s) for s in STRENGTHS}
    steered = {p: measured(1.0, p) for p in PARTICLES}

    known = towards_label[0.0][1]
    shown = [title for name, title in SHOWN.items() if name in known]
    columns = ["strength γ", *shown, "network calls of a sample", "ms of one thread a sample"]
    ends = ["held-out data", *(f"{known[name]:.3f}" for name in SHOWN if name in known), "", ""]
    size = f"{args.n} samples of {test['x'].shape[1]} letters, {args.steps} steps, {study.architecture.path}"
    table(
        f"Towards the class without a classifier, {size}",
        columns,
        [*([s, *m[2]] for s, m in towards_label.items()), ends],
    )
    rows = [*([s, *m[2]] for s, m in towards_gc.items()), *([f"1, {p} particles", *m[2]] for p, m in steered.items())]
    table(f"Towards {args.gc:.0%} G and C, straight through 4 draws, and by particles; {size}", columns, [*rows, ends])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    values = [{s: m[0] for s, m in found.items()} for found in (towards_label, towards_gc)]
    draw(values[0], values[1], known, args.gc).savefig(args.out, dpi=120)


if __name__ == "__main__":
    main()
