"""Which chains a model learns from, and which samples it is rectified on."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError, require_above
from .collection import read_structures
from .conformation import Backbones
from .structure import Chain
from .tm_align import pairwise_tm

__all__ = ["Filter", "Structures"]


@dataclass
class Structures:
    """Chains to learn from.

    Attributes:
        path: a PDB or mmCIF file, a folder or an archive of them; none: the fetched data set ``structures``.
        chain: the only chain to be taken, by its id; by default all.
        shortest, longest: residues of a chain that is kept.
        held_out: share of the chains in the test split and in the validation split, whole clusters of sequences each.
    """

    path: Path | None = None
    chain: str = ""
    shortest: int = 60
    longest: int = 128
    held_out: float = 0.1

    def __post_init__(self) -> None:
        require_above(3, "study.data.", self, "shortest")
        if self.longest < self.shortest:
            raise InputError(f"study.data.longest={self.longest}: less than study.data.shortest={self.shortest}")
        if not 0 < self.held_out < 0.5:
            raise InputError(f"study.data.held_out={self.held_out} must be above 0 and below 0.5")

    def read(self, raw: Path | None) -> tuple[list[Chain], dict[str, Any]]:
        """Chains that are kept, and for ``meta.json`` how many are not and why, and what was left out of files."""
        found, notes, unread = read_structures(self.path or (raw or Path("data/raw")) / "structures")
        dropped: Counter[str] = Counter()
        kept: dict[str, Chain] = {}
        for chain in found:
            reason = self._refused(chain)
            if reason is None and chain.sequence in kept:
                reason = "of the same sequence as another"
            if reason is None:
                kept[chain.sequence] = chain
            else:
                dropped[reason] += 1
        why = ", ".join(f"{n} {reason}" for reason, n in dropped.items())
        if not kept:
            raise InputError(f"{self.path or 'structures'}: no chain is left ({why}); {self._fix(found)}")
        if dropped:
            said = f"{len(kept)} of {len(found)} chains are kept ({why}; see meta.json)"
            print(f"{self.path or 'structures'}: {said}", file=sys.stderr, flush=True)
        return list(kept.values()), {
            "chains dropped": dict(dropped),
            "files not read": unread,
            "left out of files": notes,
        }

    def _fix(self, found: Sequence[Chain]) -> str:
        """What would keep one of them."""
        chosen = [chain for chain in found if self.chain in ("", chain.id)]
        if not chosen:
            ids = sorted({chain.id for chain in found})
            more = ", …" if len(ids) > 10 else ""
            return f"study.data.chain={self.chain} is none of {', '.join(ids[:10])}{more}"
        lengths = [len(chain) for chain in chosen]
        span = f"chains have {min(lengths)} to {max(lengths)} residues"
        return f"{span}: mend study.data.shortest={self.shortest} or study.data.longest={self.longest}"

    def _refused(self, chain: Chain) -> str | None:
        if self.chain and chain.id != self.chain:
            return f"not chain {self.chain}"
        if len(chain) < self.shortest:
            return f"shorter than {self.shortest} residues"
        if len(chain) > self.longest:
            return f"longer than {self.longest} residues"
        return None if chain.bonded[:-1].all() else "broken"


@dataclass
class Filter:
    """Which samples a model is rectified on: judged by their geometry alone, no folding model is asked.

    Attributes:
        ca_ca: least share of the distances between neighbouring Cα that lie within 3.7 to 3.9 Å.
        clashes: most pairs of Cα that clash, for 100 residues.
        max_tm: most a sample may be like a training chain; below 1 it is compared with all of them, which takes time.
    """

    ca_ca: float = 0.95
    clashes: float = 1.0
    max_tm: float = 1.0

    def keep(self, samples: Backbones, train: Backbones) -> Tensor:
        """Whether each sample passes, ``(B,)``."""
        (distance, bonded), clashes = samples.ca_ca(), samples.clashes().value.sum(1)
        right = (((distance - 0.38).abs() <= 0.01) & bonded).sum(1) >= self.ca_ca * bonded.sum(1)
        kept = right & (100 * clashes <= self.clashes * samples.lengths)
        if self.max_tm < 1 and kept.any():
            tm = pairwise_tm(samples[kept].traces, train.traces)
            kept[kept.clone()] = tm.amax(1).to(kept.device) <= self.max_tm
        return kept
