"""Seconds to sample backbones of 300 residues, beside the published ones of ReQFlow, which a GPU took.

OMP_NUM_THREADS=1 python docs/benchmarks/protein_sampling.py

Weights are untrained; no time depends on them. On a CPU it is processor time of one thread, on a GPU that of the clock.
"""

from time import perf_counter, process_time

import torch
from timing import header, table

from sciflow.manifolds import SE3
from sciflow.proteins import FrameFlow
from sciflow.rng import sample_generators

LENGTH = 300
SIZES = ((64, 32, 3), (128, 64, 4))  # width, width of pairs, depth
PUBLISHED = {10: 0.45, 20: 0.80, 50: 1.81}  # Yue et al. 2025, arXiv:2502.14637; the network has 16.7 M parameters


def seconds(size: tuple[int, int, int], batch: int, device: str) -> list[float]:
    """Of one batch at each number of steps, drawn once, after a warm-up."""
    flow = FrameFlow(**dict(zip(("width", "pair_width", "depth"), size, strict=True)))
    model = flow.build(SE3(), 1.0, {"backbone": 1.0}).to(device).eval()
    places = torch.arange(LENGTH, device=device).expand(batch, -1)
    cond = {"mask": places >= 0, "residue_index": places, "chain": torch.zeros_like(places)}
    clock = perf_counter if device == "cuda" else process_time

    def draw(steps: int) -> float:
        start = clock()
        x = model.sample(batch, cond, sample_generators(0, 0, batch), steps=steps).x
        assert isinstance(x, dict)
        x["translation"].cpu()  # waits for the GPU
        return clock() - start

    draw(2)
    return [draw(steps) for steps in PUBLISHED]


if __name__ == "__main__":
    header()
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        rows = []
        for size in SIZES:
            for batch in (1, 8):
                taken = seconds(size, batch, device)
                rows.append(["/".join(map(str, size)), batch, *taken, *(time / batch for time in taken)])
        rows.append(["ReQFlow, published, on a GPU", "", *PUBLISHED.values(), "", "", ""])
        columns = [f"{steps} steps, s a {of}" for of in ("batch", "sample") for steps in PUBLISHED]
        table(f"Backbones of {LENGTH} residues on {device}", ["network", "batch", *columns], rows)
