"""Training without data: every loss of energies alone, at as many target energies each.

    python docs/benchmarks/energy_only.py

Targets with known constants: ManyWell-32, the 40-mode mixture of Gaussians, the funnel. Flows are spline couplings on a
normal base of the width that the target needs (stated, and the same for all), samplers by paths start from that base.
Every model may ask for as many energies, forces with them or not, and takes as many steps. Modes: of the mixture, those
that hold at least a tenth of their share of the raw samples; of ManyWell, the double wells of which both sides do.
"""

import argparse
from time import process_time
from typing import Any

import torch
from timing import header, table
from torch import Tensor

from sciflow.boltzmann import importance
from sciflow.boltzmann.diffusion_sampler import DiffusionSampler
from sciflow.boltzmann.flow_function import DiffusionGFlowNet
from sciflow.boltzmann.losses import (
    AlphaTwo,
    Loss,
    ReverseKL,
    SubTrajectoryBalance,
    TemperatureAnnealing,
    TrajectoryBalance,
    TrustRegion,
)
from sciflow.boltzmann.targets import ExactTarget, Funnel, GaussianMixture, ManyWell
from sciflow.flows import Composed, MixedBase, NormalizingFlow, Whiten, spline_couplings
from sciflow.rng import step_generator
from sciflow.training import FlowModel, TensorsDataset, TrainerConfig, fit

#: Target, standard deviation of the base.
TARGETS: dict[str, tuple[ExactTarget, float]] = {
    "manywell": (ManyWell(32), 1.5),
    "mixture": (GaussianMixture(), 25.0),
    "funnel": (Funnel(), 2.0),
}
PATH_STEPS = 20


def losses(budget: int, steps: int) -> dict[str, tuple[Loss, int]]:
    """Losses with their batch sizes, such that ``steps`` of them cost ``budget`` energies."""
    rungs, rounds = TemperatureAnnealing.rungs, 40
    return {
        "reverse_kl": (ReverseKL(), budget // steps),
        # an annealing of 5 stages of 4 leapfrogs is 21 energies a sample, every fourth step
        "fab": (AlphaTwo(stages=5, leapfrogs=4, size=0.3), 4 * budget // (21 * steps)),
        "temperature_annealing": (TemperatureAnnealing(samples=budget // 3 // rungs), 2 * budget // (3 * steps)),
        "trust_region": (TrustRegion(rounds=rounds, samples=budget // rounds), 512),
        "trajectory_balance": (TrajectoryBalance(), budget // (steps * (PATH_STEPS + 1))),
        "subtrajectory_balance": (SubTrajectoryBalance(), budget // (steps * (PATH_STEPS + 1))),
    }


LOSSES = list(losses(10**6, 1000))


def build(loss: Loss, target: ExactTarget, scale: float) -> Any:
    torch.manual_seed(0)
    (dim,) = target.event_shape
    if isinstance(loss, TrajectoryBalance):
        return DiffusionSampler(dim, target, PATH_STEPS, scale)
    if isinstance(loss, SubTrajectoryBalance):
        return DiffusionGFlowNet(dim, target, PATH_STEPS, scale)
    numbers = torch.zeros(dim, dtype=torch.bool)
    start = Whiten(numbers, torch.zeros(dim), torch.eye(dim) / scale, torch.eye(dim) * scale)
    return NormalizingFlow(MixedBase(numbers), Composed(start, spline_couplings(numbers, 4, 32, 12, bound=5.0)))


def modes(target: ExactTarget, x: Tensor) -> str:
    if isinstance(target, GaussianMixture):
        share = torch.bincount(target.modes_of(x), minlength=target.modes) / len(x)
        return f"{int((share > 0.1 / target.modes).sum())} of {target.modes}"
    if isinstance(target, ManyWell):
        right, exact = ((y[:, ::2] > 0).double().mean(0) for y in (x, target.sample(100_000, step_generator(9))))
        found = (right > 0.1 * exact) & (1 - right > 0.1 * (1 - exact))
        return f"{int(found.sum())} of {len(found)} wells"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--losses", nargs="+", default=LOSSES, choices=LOSSES)
    parser.add_argument("--budget", type=int, default=180_000, help="target energies of a training")
    parser.add_argument("--steps", type=int, default=300, help="of a training")
    parser.add_argument("--n", type=int, default=50_000, help="samples of a trained model")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    header()
    for name in args.targets:
        target, scale = TARGETS[name]
        rows = []
        for chosen in args.losses:
            loss, batch = losses(args.budget, args.steps)[chosen]
            model = FlowModel(build(loss, target, scale), target, loss)
            data = TensorsDataset(
                {"x": torch.zeros(4 * batch, *target.event_shape)}
            )  # of which only the number is read
            trainer = TrainerConfig(args.steps, batch, 3e-3, clip=20.0, ema=0.99)
            start = process_time()
            fit(model, data, trainer, seed=args.seed)
            seconds = process_time() - start
            w = importance(model.flow, target, args.n, step_generator(args.seed, 1), batch_size=10_000)
            assert target.log_z is not None
            elbo = float(w.logw[w.logw.isfinite()].mean()) - target.log_z
            off, error = w.log_z().value - target.log_z, w.log_z().error
            rows.append(
                (
                    chosen,
                    f"{model.evaluations:.2g}",
                    100 * w.ess(),
                    f"{off:+.4f} ± {error:.4f}",
                    elbo,
                    modes(target, w.x),
                )
            )
            rows[-1] = (*rows[-1], f"{seconds:.0f}")
            print(rows[-1], flush=True)
        columns = ("loss", "energies", "raw ESS [%]", "log Z off", "ELBO off", "modes", "CPU s")
        table(f"{name}: N = {args.n}, base of width {scale}", columns, rows)


if __name__ == "__main__":
    main()
