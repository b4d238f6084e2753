"""The velocity of the Dirichlet path, against a table of SciPy's incomplete beta function read on the CPU each step.

The table is the public way (Stark et al. 2024, arXiv:2402.05841), written anew: centred differences of ``betainc`` in
its first parameter on a grid of α and b, of which a step takes the row of the nearest α, interpolates it at ``x_k``,
and divides by the density, in NumPy. Making the table is not in the time. Errors are those of the rates, against the
quadrature.
"""

import argparse

import numpy as np
import torch
from scipy.special import betainc, betaln
from timing import header, race, table

from sciflow.paths import DirichletPath
from sciflow.paths.dirichlet_rate import dirichlet_rate
from sciflow.rng import step_generator

SHAPES = ((128, 1024, 4), (128, 256, 20), (128, 256, 160))


class Table:
    """``C(b, α)`` by finite differences of the regularised incomplete beta function."""

    def __init__(self, k: int, alpha_max: float, rows: int = 1000, columns: int = 1000) -> None:
        self.k = k
        self.alpha = np.linspace(0, alpha_max, rows)
        self.b = np.linspace(0, 1, columns)
        a, step = 1 + self.alpha[:, None], 1e-3
        self.slope = (betainc(a + step, k - 1, self.b) - betainc(a - step, k - 1, self.b)) / (2 * step)

    def __call__(self, x: torch.Tensor, alpha: float) -> torch.Tensor:
        b = x.cpu().numpy()
        slope = np.interp(b, self.b, self.slope[np.abs(self.alpha - alpha).argmin()])
        with np.errstate(divide="ignore", invalid="ignore"):
            density = np.where(b < 1, b**alpha * (1 - b) ** (self.k - 1), 0)
            rate = np.where(density > 0, -slope * np.exp(betaln(1 + alpha, self.k - 1)) / density, 0)
        return torch.from_numpy(np.nan_to_num(rate)).to(x)

    def velocity(self, posterior: torch.Tensor, x: torch.Tensor, alpha: float, rate: float) -> torch.Tensor:
        pull = posterior * self(x, alpha)
        return rate * (pull - pull.sum(-1, keepdim=True) * x)


def compare(
    batch: int, sites: int, k: int, seconds: float, device: str
) -> tuple[str, float, float, float, float, float]:
    """Times of both [ms], their ratio, and the mean relative errors of the rates."""
    path = DirichletPath(k)
    lookup = Table(k, path.alpha_max)
    draws = step_generator(0, device=device)
    x, posterior = (path.prior.sample(batch, sites, generator=draws) for _ in range(2))
    t, alpha = torch.full((batch,), 0.5, device=device), path.alpha_max / 2
    runners = {
        "ours": lambda: path.velocity(posterior, x, t),
        "table": lambda: lookup.velocity(posterior, x, alpha, path.alpha_max),
    }
    times = race(runners, seconds, device)
    exact = dirichlet_rate(x[:2].double(), torch.tensor(alpha, dtype=torch.float64, device=device), k)
    errors = [float((c[:2] / exact - 1).abs().mean()) for c in (path.rate(x, path.alpha_max * t), lookup(x, alpha))]
    ratio = times["table"] / times["ours"]
    return f"{batch} × {sites} × {k}", times["ours"], times["table"], ratio, errors[0], errors[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each shape")
    seconds = parser.parse_args().seconds
    device = "cuda" if torch.cuda.is_available() else "cpu"
    header("numpy", "scipy")
    rows = [compare(*shape, seconds, device) for shape in SHAPES]
    columns = ("shape", "ours [ms]", "table [ms]", "ratio", "ours, mean relative error", "table's")
    table("Velocity of the Dirichlet path at t = ½, float32", columns, rows)


if __name__ == "__main__":
    main()
