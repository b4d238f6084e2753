"""The eigenfunctions of a mesh, and the distances that they define."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
import torch
from torch import Tensor

from ...errors import InputError
from .surface import Surface

__all__ = ["Biharmonic", "Diffusion", "Premetric", "Spectrum", "cotangent_laplacian", "eigenfunctions"]

_DENSE = 400  # vertices below which the dense solver is as quick


class Premetric(Protocol):
    """Weights ``w_k`` of a spectral distance ``d(x, y)² = Σ_k w_k (φ_k(x) − φ_k(y))²``."""

    def weights(self, eigenvalues: Tensor) -> Tensor:
        """``w_k`` of the positive eigenvalues ``λ_k``."""
        ...


@dataclass(frozen=True)
class Biharmonic:
    """``w_k = 1/λ_k²`` (Lipman, Rustamov, Funkhouser 2010): smooth at the point, aware of the whole shape."""

    def weights(self, eigenvalues: Tensor) -> Tensor:
        return eigenvalues**-2


@dataclass(frozen=True)
class Diffusion:
    """``w_k = exp(−2 τ λ_k)`` (Coifman, Lafon 2006), with the diffusion time ``τ`` in squared units of length."""

    time: float

    def weights(self, eigenvalues: Tensor) -> Tensor:
        return (-2 * self.time * eigenvalues).exp()


@dataclass(frozen=True)
class Spectrum:
    """The least positive eigenvalues ``(K,)`` of a mesh and its eigenfunctions at the vertices ``(V, K)``.

    ``∫ φ_j φ_k = δ_jk`` under the lumped mass; the constant one is left out.
    """

    eigenvalues: Tensor
    eigenfunctions: Tensor


def cotangent_laplacian(surface: Surface) -> tuple[scipy.sparse.csc_matrix, np.ndarray]:
    """Stiffness ``S_ij = ∫ ∇λ_i·∇λ_j`` (the cotangent matrix) and lumped masses ``(V,)``; free (Neumann) at walls."""
    faces, n = surface.faces.numpy(), len(surface.vertex_normals)
    local = torch.einsum("fix,fjx,f->fij", surface.gradients, surface.gradients, surface.areas).numpy()
    rows, columns = (np.broadcast_to(index, local.shape) for index in (faces[:, :, None], faces[:, None, :]))
    stiffness = scipy.sparse.coo_matrix((local.ravel(), (rows.ravel(), columns.ravel())), (n, n)).tocsc()
    mass = np.bincount(faces.ravel(), np.repeat(surface.areas.numpy() / 3, 3), minlength=n)
    return stiffness, mass


def eigenfunctions(surface: Surface, modes: int) -> Spectrum:
    """Solve ``S φ = λ M φ`` for the ``modes`` least positive eigenvalues.

    By shift-invert Lanczos from a fixed start; of both signs the one whose largest value is positive. Repeatable up to
    rounding and to the choice of a basis where eigenvalues coincide (symmetric shapes).

    Raises:
        InputError: when the mesh has no more vertices than modes.
    """
    stiffness, mass = cotangent_laplacian(surface)
    n = len(mass)
    if not 0 < modes < n:
        raise InputError(f"modes={modes} of a mesh of {n} vertices: ask for 1 to {n - 1}")
    if n <= _DENSE:
        values, vectors = scipy.linalg.eigh(stiffness.toarray(), np.diag(mass), subset_by_index=(0, modes))
    else:
        # the shift lies below the spectrum, which starts at zero: the shifted matrix is positive definite
        values, vectors = scipy.sparse.linalg.eigsh(
            stiffness, modes + 1, scipy.sparse.diags(mass).tocsc(), sigma=-1 / mass.sum(), v0=np.cos(np.arange(n))
        )
    order = np.argsort(values)[1:]
    values, vectors = values[order], vectors[:, order]
    largest = np.abs(vectors).argmax(0)
    vectors = vectors * np.sign(vectors[largest, np.arange(modes)])
    return Spectrum(torch.as_tensor(values), torch.as_tensor(np.ascontiguousarray(vectors)))
