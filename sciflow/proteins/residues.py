"""The twenty amino acids: their heavy atoms, the torsions of their side chains, their names.

Everything follows from one line a residue. ``|`` stands for a rotatable bond: the torsion χ_k turns the atoms behind
the k-th bar rigidly, and is measured to the first of them, over the first atoms before it (N, CA, CB, …).
"""

import torch

from ..alphabets import AMINO_ACIDS

__all__ = [
    "AMINO_ACIDS",
    "ATOMS",
    "CHIS",
    "GROUPS",
    "HAS_ATOM",
    "HAS_TORSION",
    "LETTERS",
    "PARENTS",
    "SYMMETRIC",
    "THREE",
    "UNKNOWN",
    "aatypes",
    "sequence",
]

_RESIDUES = """
ALA A CB
CYS C CB | SG
ASP D CB | CG | OD1 OD2
GLU E CB | CG | CD | OE1 OE2
PHE F CB | CG | CD1 CD2 CE1 CE2 CZ
GLY G
HIS H CB | CG | ND1 CD2 CE1 NE2
ILE I CB | CG1 CG2 | CD1
LYS K CB | CG | CD | CE | NZ
LEU L CB | CG | CD1 CD2
MET M CB | CG | SD | CE
ASN N CB | CG | OD1 ND2
PRO P CB | CG | CD
GLN Q CB | CG | CD | OE1 NE2
ARG R CB | CG | CD | NE | CZ NH1 NH2
SER S CB | OG
THR T CB | OG1 CG2
VAL V CB | CG1 CG2
TRP W CB | CG | CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2
TYR Y CB | CG | CD1 CD2 CE1 CE2 CZ OH
UNK X
"""
_LINES = [line.split(maxsplit=2) for line in _RESIDUES.split("\n") if line]
_SIDE_CHAINS = [[group.split() for group in "".join(line[2:]).split("|")] for line in _LINES]

UNKNOWN = 20  # the type of X; only its backbone is known
LETTERS = AMINO_ACIDS + "X"
THREE = tuple(line[0] for line in _LINES)  # three-letter names by type, UNK last

# Names of the heavy atoms by type: N, CA, C, O, then the side chain outwards; at most 14.
ATOMS = tuple(("N", "CA", "C", "O", *(atom for group in groups for atom in group)) for groups in _SIDE_CHAINS)
# The rigid group of each atom by type: 0 turns with the frame of the residue, 1 with ψ, 1 + k with χ_k.
GROUPS = tuple(
    (0, 0, 0, 1, *(k + 1 if k else 0 for k, group in enumerate(groups) for _ in group)) for groups in _SIDE_CHAINS
)
# The four atoms of each χ by type.
CHIS = tuple(
    tuple(
        tuple(("N", "CA", *(group[0] for group in groups))[k : k + 4]) for k in range(len(groups) - 1)
    )
    for groups in _SIDE_CHAINS
)  # fmt: skip

HAS_ATOM = torch.tensor([[i < len(names) for i in range(14)] for names in ATOMS])  # (21, 14)
HAS_TORSION = torch.tensor([[True] + [k < len(chis) for k in range(4)] for chis in CHIS])  # (21, 5): ψ, χ1 … χ4
# (21, 5): torsions that are the same after half a turn, for the two atoms that it swaps are alike.
SYMMETRIC = torch.tensor([[letter + str(k) in ("D2", "F2", "Y2", "E3") for k in range(5)] for letter in LETTERS])

# Modified residues and names of other programs: the residue that is drawn in their place. Atoms that the parent lacks
# are left out; selenium stands where the parent has sulphur.
PARENTS = {
    modified: parent
    for parent, names in {
        "ALA": "AIB ABA",
        "ARG": "AGM CIR ARN",
        "ASN": "MEN SNN",
        "ASP": "ASH BFD IAS PHD",
        "CYS": "CAF CAS CCS CME CSD CSO CSS CSX CSU CYM CYX CY0 OCS SEC SCH SCY SMC YCM",
        "GLN": "MEQ",
        "GLU": "5HP CGU GLH PCA",
        "GLY": "SAR",
        "HIS": "HIC HID HIE HIP HSD HSE HSP MHS NEP",
        "LEU": "MLE NLE",
        "LYS": "ALY KCX LLP LYN M3L MLY MLZ PYL",
        "MET": "FME MHO MSE OMT SME",
        "PHE": "MEA PHI",
        "PRO": "HY3 HYP",
        "SER": "SEP SAC",
        "THR": "TPO BMT",
        "TRP": "TRO TRQ",
        "TYR": "PTR TPQ TYI TYS",
        "VAL": "MVA",
    }.items()
    for modified in names.split()
}


def aatypes(letters: str) -> torch.Tensor:
    """Types (N,), long, of one-letter names; any other letter than the twenty is X."""
    return torch.tensor([AMINO_ACIDS.find(letter) % 21 for letter in letters], dtype=torch.long)


def sequence(types: torch.Tensor) -> str:
    """One-letter names of types (N,): the way back from :func:`aatypes`."""
    return "".join(LETTERS[i] for i in types.tolist())
