"""Entropies of the eigenfunction targets: what no density on a surface can score below, as the mesh is refined.

sciflow fetch meshes
python docs/benchmarks/entropies.py data/raw/meshes
"""

import argparse
from pathlib import Path

import trimesh
from timing import table

from sciflow.geometry.mesh import SURFACES
from sciflow.manifolds import Mesh, PiecewiseLinear, read_mesh


def entropies(file: Path, scale: float, subdivisions: int, ks: list[int]) -> list[tuple[int, str, str]]:
    """Of both signs of each eigenfunction: ``k, φ₊, φ₋``."""
    vertices, faces = read_mesh(file, scale)
    for _ in range(subdivisions):
        vertices, faces = trimesh.remesh.subdivide(vertices, faces)
    mesh = Mesh(vertices, faces, modes=max(ks))
    modes = mesh.spectrum.eigenfunctions
    found = {s: [PiecewiseLinear(mesh, (s * modes[:, k - 1]).clamp_min(0)).entropy() for k in ks] for s in (1, -1)}
    return [(k, f"{a:.3f}", f"{b:.3f}") for k, a, b in zip(ks, found[1], found[-1], strict=True)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the OBJ files")
    parser.add_argument("--subdivisions", type=int, nargs="+", default=[0, 2], help="of every face into four")
    arguments = parser.parse_args()
    rows = [
        (name, times, *row)
        for name in ("bunny", "spot")
        for times in arguments.subdivisions
        for row in entropies(arguments.folder / SURFACES[name][0], SURFACES[name][1], times, [10, 50, 100])
    ]
    table("Entropies, nats", ("surface", "subdivided", "k", "entropy, φ₊", "entropy, φ₋"), rows)
