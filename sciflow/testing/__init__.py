"""Laws that a user's own parts can be held to, and that our tests hold every part of sciflow to."""

from .equivariance import assert_equivariant
from .manifold_laws import assert_manifold_laws
from .transform_laws import assert_transform_laws

__all__ = ["assert_equivariant", "assert_manifold_laws", "assert_transform_laws"]
