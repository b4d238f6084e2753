"""Ideal local coordinates of the rigid groups of residues: medians over crystal structures, Å.

Each group is seen from its own frame (sciflow/proteins/frames.py), in which it does not move. N, CA, C and O stand for
all residues, so that a backbone needs no sequence. How near structures come back from frames and torsions by the table
that is shipped stands on standard error.

    sciflow fetch structures && sciflow fetch pepset
    python docs/benchmarks/ideal_geometry.py data/raw/structures data/raw/pepset > ideal.csv
    mv ideal.csv sciflow/proteins/
"""

import math
import sys
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from sciflow.proteins.collection import read_structures
from sciflow.proteins.frames import all_atoms, axes, dihedral, frames, torsions
from sciflow.proteins.residues import ATOMS, CHIS, GROUPS, THREE

chains = [chain for path in sys.argv[1:] for chain in read_structures(Path(path))[0]]
atoms = torch.cat([chain.atoms for chain in chains])
mask = torch.cat([chain.atom_mask for chain in chains])
aatype = torch.cat([chain.aatype for chain in chains])


def local(a: Tensor, b: Tensor, c: Tensor, angle: Tensor, origin: Tensor, points: Tensor) -> Tensor:
    """Points (R, 3) in the frame of the bond b→c, turned by the torsion ``angle`` (R,)."""
    x, y, z = ((points - origin)[:, None] @ axes(a, b, c))[:, 0].unbind(-1)
    return torch.stack([x, angle.cos() * y + angle.sin() * z, angle.cos() * z - angle.sin() * y], -1)


seen: dict[tuple[str, str], list[Tensor]] = defaultdict(list)
for aa in range(20):
    of_type = aatype == aa
    for slot, (name, group) in enumerate(zip(ATOMS[aa], GROUPS[aa], strict=True)):
        quad = [ATOMS[aa].index(k) for k in CHIS[aa][group - 2]] if group > 1 else [0, 1, 2, 3]
        needed = quad if group else [0, 1, 2]
        rows = of_type & mask[:, [*needed, slot]].all(-1)
        a, b, c, d = (atoms[rows, k] for k in quad)
        angle = dihedral(a, b, c, d) + (math.pi if group == 1 else 0) if group else torch.zeros(len(a)).double()
        place = local(a, b, c, angle, c if group else b, atoms[rows, slot])
        seen["any" if slot < 4 else THREE[aa], name].append(10 * place)

print("# Ideal coordinates of rigid groups in their own frames, in Å: medians over crystal structures.")
print("# python docs/benchmarks/ideal_geometry.py data/raw/structures data/raw/pepset > ideal.csv")
print(f"# {len(chains)} chains, {len(atoms)} residues; data: see structures and pepset in sciflow/conf/sources.yaml")
print("residue,atom,x,y,z")
for (residue, name), parts in seen.items():
    middle = torch.cat(parts).median(0).values
    print(f"{residue},{name}," + ",".join(f"{round(value, 4) + 0:.4f}" for value in middle.tolist()))

translation, rotation = frames(*atoms[:, :3].unbind(1))
angles, _ = torsions(atoms, mask, aatype, torch.zeros_like(mask[:, 0]))
state = {"translation": translation, "rotation": rotation, "torsions": angles}
again, there = all_atoms(state, aatype, torch.ones_like(mask[:, 0]))
error, there = 10 * (again - atoms).norm(dim=-1), there & mask
for name, of in (("N, CA, C, O", slice(0, 4)), ("all heavy atoms", slice(0, 14))):
    found = error[:, of][there[:, of]]
    floor = f"root mean square {found.square().mean().sqrt():.3f} Å, median {found.median():.3f} Å"
    print(f"{name}: {floor}", file=sys.stderr)
