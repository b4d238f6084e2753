"""Numbers that a law says are zero."""

from typing import Any

import torch

from ..manifolds import leaves

__all__ = ["TOLERANCE", "assert_zero"]

#: Absolute tolerance of an identity that holds exactly, by dtype: some hundred roundings of numbers of order ten.
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12}


def assert_zero(law: str, error: Any, tol: float) -> None:
    """Assert that every entry of a state-like error vanishes within ``tol`` (NaN does not)."""
    for part in leaves(error):
        worst = part.abs().max().item()
        assert worst <= tol, f"{law}: off by {worst:.2e}, tolerance {tol:.0e}"
