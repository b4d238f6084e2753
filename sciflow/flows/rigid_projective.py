"""Linear maps of quaternions, brought back to the sphere: the smallest flow on rotations."""

import torch
from torch import Tensor

__all__ = ["ProjectiveLinear", "symmetrised_moebius"]


class ProjectiveLinear:
    r"""q ↦ Aq/|Aq| of unit quaternions, A invertible: a bijection of S³ that commutes with q ↦ −q, hence of SO(3).

    With respect to the Haar measure

    .. math:: \log|\det \partial f| = \log|\det A| - 4 \log|Aq|.

    It takes the uniform law to an angular central Gaussian (Tyler 1987), which has one mode on SO(3) or a degenerate
    one: maps of this kind are closed under composition. They become expressive where A depends on what else there is,
    such as the places of other bodies. A = L·D·U (L, U of unit diagonal, D > 0) covers all but a null set of the maps
    without a mirror; zeros give the identity.

    Args:
        raw: (…, 16) unconstrained: the logarithm of D (4), the entries of L (6) and of U (6).

    Source: the symmetrised Moebius map of Köhler et al. 2023 (arXiv:2301.11355) is such a map, see
    `symmetrised_moebius`.
    """

    n_parameters = 16

    def __init__(self, raw: Tensor) -> None:
        log_d, below, above = raw.split((4, 6, 6), -1)
        row, column = torch.tril_indices(4, 4, -1, device=raw.device)
        unit = torch.eye(4, dtype=raw.dtype, device=raw.device).expand(*raw.shape[:-1], 4, 4)
        place = torch.zeros(6, 4, 4, dtype=raw.dtype, device=raw.device)
        place[torch.arange(6, device=raw.device), row, column] = 1
        self.lower = unit + torch.einsum("...k,kij->...ij", below, place)
        self.upper = unit + torch.einsum("...k,kji->...ij", above, place)
        self.log_d = log_d

    def call_and_ladj(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """f(q) and its ladj (…,) for q (…, 4)."""
        y = _times(self.upper, q)
        return self._normalised(_times(self.lower, self.log_d.exp() * y), self.log_d.sum(-1))

    def inverse_and_ladj(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """f⁻¹(q) and its ladj (…,)."""
        y = torch.linalg.solve_triangular(self.lower, q[..., None], upper=False, unitriangular=True)
        y = (-self.log_d).exp()[..., None] * y
        y = torch.linalg.solve_triangular(self.upper, y, upper=True, unitriangular=True)
        return self._normalised(y.squeeze(-1), -self.log_d.sum(-1))

    @staticmethod
    def _normalised(y: Tensor, log_det: Tensor) -> tuple[Tensor, Tensor]:
        norm = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
        return y / norm, log_det - 4 * norm.squeeze(-1).log()


def symmetrised_moebius(w: Tensor) -> Tensor:
    r"""Matrix (…, 4, 4) of the symmetrised Moebius map with centre w (…, 4), |w| < 1.

    The map is f(q) = (h_w(q) + h_{−w}(q)) / |…| with :math:`h_w(q) = \frac{1-|w|^2}{|q-w|^2}(q-w) - w`. Along w and
    across it the sum is proportional to (1 − |w|²) and (1 + |w|²) times q: f(q) = Aq/|Aq| with A = (1 + |w|²) 1 −
    2wwᵀ, so its inverse and its log-determinant are those of a linear map.

    Source: Köhler, Invernizzi, de Haan & Noé 2023 (arXiv:2301.11355); Rezende et al. 2020 (arXiv:2002.02428).
    """
    outer = w[..., :, None] * w[..., None, :]
    return (1 + (w * w).sum(-1))[..., None, None] * torch.eye(4, dtype=w.dtype, device=w.device) - 2 * outer


def _times(matrix: Tensor, q: Tensor) -> Tensor:
    return (matrix @ q[..., None]).squeeze(-1)
