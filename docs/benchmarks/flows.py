"""Couplings by splines and by smooth bumps: time, likelihood, forces, and energy lost in molecular dynamics.

    python docs/benchmarks/flows.py
    python docs/benchmarks/flows.py --iterations 300

Times are of one coupling of 60 dimensions, five of them angles. "Double well" trains both on exact samples of a
two-dimensional double well, by likelihood and with force matching, and uses the flows as potentials: unit masses,
velocity Verlet for a time of 2 from samples of the target.
"""

import argparse
import math
from collections.abc import Callable

import torch
from timing import header, race, table
from torch import Tensor

from sciflow.boltzmann import Energy, FlowEnergy
from sciflow.boltzmann.losses import ForceMatching, ForwardKL
from sciflow.boltzmann.targets import DoubleWell
from sciflow.flows import Composed, MixedBase, NormalizingFlow, Whiten, smooth_couplings, spline_couplings
from sciflow.rng import step_generator

KINDS: dict[str, Callable[..., Composed]] = {"spline": spline_couplings, "smooth bumps": smooth_couplings}
STEPS = (0.04, 0.02, 0.01)


def times(width: int, bins: int, seconds: float, device: str) -> list[tuple[object, ...]]:
    circular = torch.arange(60) < 5
    rows: list[tuple[object, ...]] = []
    for batch in (256, 4096):
        x = 2 * torch.rand(batch, 60, generator=step_generator(0)).to(device) - 1
        for name, couplings in KINDS.items():
            flow = NormalizingFlow(MixedBase(circular), couplings(circular, 1, width, bins)).to(device)

            def train(flow: NormalizingFlow = flow, x: Tensor = x) -> None:
                flow.zero_grad()
                (-flow.log_prob(x).mean()).backward()

            def force(flow: NormalizingFlow = flow, x: Tensor = x) -> None:
                FlowEnergy(flow).energy_and_force(x)

            @torch.no_grad()
            def invert(flow: NormalizingFlow = flow, x: Tensor = x) -> None:
                flow.transform.inverse_and_ladj(x)

            found = race({"train": train, "force": force, "invert": invert}, seconds, device)
            rows.append((batch, name, *found.values()))
    return rows


def trained(couplings: Callable[..., Composed], loss: ForwardKL | ForceMatching, iterations: int) -> NormalizingFlow:
    target, numbers = DoubleWell(), torch.zeros(2, dtype=torch.bool)
    x = target.sample(50_000, generator=step_generator(0))
    stack = couplings(numbers, 8, 64, 12, bound=5.0)
    flow = NormalizingFlow(MixedBase(numbers), Composed(Whiten.fit(x, numbers), stack)).double()
    optimizer = torch.optim.Adam(flow.parameters(), 3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    for step in range(iterations):
        generator = step_generator(1, step)
        batch = {"x": x[torch.randint(len(x), (256,), generator=generator)]}
        optimizer.zero_grad()
        loss(flow, target, batch, generator).mean().backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimizer.step()
        scheduler.step()
    return flow


def energy_error(energy: Energy, x: Tensor, step: float) -> float:
    """Root mean square deviation [kT] of the total energy from its start."""
    v = torch.randn(x.shape, generator=step_generator(3), dtype=x.dtype)
    u, force = energy.energy_and_force(x)
    start, square = u + v.square().sum(-1) / 2, 0.0
    steps = round(2 / step)
    for _ in range(steps):
        v = v + step / 2 * force
        x = x + step * v
        u, force = energy.energy_and_force(x)
        v = v + step / 2 * force
        square += float((u + v.square().sum(-1) / 2 - start).square().mean())
    return math.sqrt(square / steps)


def quality(energy: Energy, log_z: float) -> tuple[float, ...]:
    """KL(target ‖ density), error of the force as a fraction of its mean square, errors in energy, and their order."""
    target = DoubleWell()
    x = target.sample(20_000, generator=step_generator(2))
    (u, force), (true_u, true_force) = energy.energy_and_force(x), target.energy_and_force(x)
    kl = float((u - true_u).mean()) + log_z - target.log_z
    error = float((force - true_force).square().sum() / true_force.square().sum())
    errors = [energy_error(energy, x[:100], step) for step in STEPS]
    return kl, error, *errors, math.log2(errors[-2] / errors[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=300, help="of training, for each of the four flows")
    parser.add_argument("--width", type=int, default=256, help="hidden units of the timed couplings")
    parser.add_argument("--bins", type=int, default=12, help="of the timed couplings")
    parser.add_argument("--seconds", type=float, default=3.0, help="of repetitions per row of the first table")
    args = parser.parse_args()
    header()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = times(args.width, args.bins, args.seconds, device)
    table("One coupling, ms", ("batch", "coupling", "training step", "energy and force", "inverse"), rows)
    found = [("the target itself", "", *quality(DoubleWell(), DoubleWell().log_z))]
    for name, couplings in KINDS.items():
        for way, loss in {"likelihood": ForwardKL(), "and forces": ForceMatching()}.items():
            flow = trained(couplings, loss, args.iterations)
            found.append((name, way, *quality(FlowEnergy(flow), 0.0)))
    columns = ("energy", "trained by", "KL", "force error", *(f"energy error, step {step}" for step in STEPS), "order")
    table("Double well", columns, found)


if __name__ == "__main__":
    main()
