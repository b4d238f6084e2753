"""The field of proteins: invariant point attention that moves frames, torsions and sequences to their endpoints."""

import math

import torch
from torch import Tensor, nn

from ..manifolds import SO3, Euclidean, Product
from ..manifolds.quaternion import rotate, to_matrix
from ..nets import Field, InvariantPointAttention, TimeEmbedding
from ..paths import GeodesicPath
from .residues import AMINO_ACIDS
from .tasks import FACTORS

__all__ = ["ProteinField"]

State = dict[str, Tensor]

_NOISE = 0.2  # what an angle of t = 0 counts for in its own answer
_REACH = 32  # residues along the chain that are told apart
_WAVES, _LONGEST = 16, 1024  # of places in the chain: wavelengths from 4 residues on
_DISTANCES = torch.linspace(0.3, 2.1, 19)  # nm: centres, one width apart, from neighbours to where contacts have ended


class ProteinField(Field):
    r"""Endpoints of the frames, torsions and amino acids of N residues, and the velocity that leads there.

    States are those of ``path.manifold``: ``translation`` (B, N, 3) [nm] and ``rotation`` (B, N, 4), with or without
    ``torsions`` (B, N, 5) [rad] and ``sequence`` (B, N, 20) probabilities. All of it enters by what does not change
    when the protein moves; so the endpoint turns and shifts with the state.

    Residues know what is given of them, their torsions, their amino acid and how far they are from both ends of their
    chain (without it a chain takes several times as long to be learnt), pairs how far apart they are along the
    chain and in space, now and in the ``previous`` endpoint (self-conditioning). ``depth`` times a block of invariant
    point attention and a perceptron moves the frames that are generated; pairs are renewed once, half way. Every change
    starts at zero: the endpoint of an untrained field is the state itself, its amino acids are equally likely.

    Conditions, all (B, N): ``mask`` of real residues; ``residue_index`` in the chain, and ``chain``; ``known_frames``,
    ``known_torsions``, ``known_sequence``: what is given and stays; ``aatype`` 0…20, read where the sequence is no
    factor of the state; ``torsion_mask`` (B, N, 5): torsions that exist, read where they and the amino acid are
    known; elsewhere it would give the amino acid away, or what a structure lacks. Padding may hold anything.

    Args:
        path: on the product, with its schedules.
        width, pair_width: of the features of residues and of pairs.
        depth: number of blocks.
        heads: of the attention.

    Source: Jumper et al. 2021, doi:10.1038/s41586-021-03819-2; as a flow Yim et al. 2023, arXiv:2310.05297, and for
    torsions and sequences Li et al. 2024, arXiv:2406.00735.
    """

    manifold: Product

    def __init__(
        self, path: GeodesicPath, width: int = 128, pair_width: int = 64, depth: int = 4, heads: int = 8
    ) -> None:
        super().__init__(path.manifold)
        self.path = path
        factors = self.manifold.factors
        self.time = TimeEmbedding(width)
        self.given = nn.Linear(len(factors), width, bias=False)
        self.types = nn.Embedding(len(AMINO_ACIDS) + 1, width)
        self.places = nn.Linear(4 * _WAVES, width, bias=False)
        self.angles = nn.Linear(15, width, bias=False) if "torsions" in factors else None
        self.pairs = _Pairs(width, pair_width)
        self.blocks = nn.ModuleList(_Block(width, pair_width, heads) for _ in range(depth))
        self.renewal = _Renewal(width, pair_width)
        self.torsions = _head(width, 10) if "torsions" in factors else None
        self.sequence = _head(width, len(AMINO_ACIDS)) if "sequence" in factors else None

    def denoise(  # type: ignore[override]  # its conditions have names
        self, x: State, t: Tensor, *, previous: State | None = None, **conditions: Tensor
    ) -> State:
        """Endpoints at t = 1, on the manifold (``sequence``: their probabilities); what is known comes back as it is.

        Args:
            previous: endpoints that an earlier call gave, whose distances are read.
        """
        mask, fixed = conditions["mask"], self._fixed(conditions)
        real = mask[..., None]
        start = x["translation"].where(real, 0.0)
        unit = torch.eye(4, dtype=start.dtype, device=start.device)[0]
        translation, rotation = start, x["rotation"].where(real, unit)
        h = self._residues(x, t, fixed, conditions)
        before = None if previous is None else previous["translation"].where(real, 0.0)
        z = self.pairs(h, start, before, conditions)
        moving = (~fixed["translation"])[..., None].to(start.dtype)
        for n, block in enumerate(self.blocks):
            if n == len(self.blocks) // 2:
                z = self.renewal(h, z)
            h, shift, turn = block(h, z, translation, rotation, mask)
            with torch.autocast(t.device.type, enabled=False):
                translation = translation + rotate(rotation, moving * shift)
                rotation = SO3().expmap(rotation, moving * turn)
        end = {"translation": translation, "rotation": rotation}
        with torch.autocast(t.device.type, enabled=False):
            if self.torsions is not None:
                sine, cosine = self.torsions(h).chunk(2, -1)
                angle = x["torsions"]  # of early ones small answers leave nothing, of late ones most
                kept = (_NOISE + (1 - _NOISE) * t)[:, None, None]
                end["torsions"] = torch.atan2(kept * angle.sin() + sine, kept * angle.cos() + cosine)
            if self.sequence is not None:
                end["sequence"] = self.sequence(h).softmax(-1)
        return {name: x[name].where(fixed[name][..., None], end[name]) for name in x}

    def velocity(  # type: ignore[override]  # its conditions have names
        self, x: State, t: Tensor, *, previous: State | None = None, **conditions: Tensor
    ) -> State:
        """The velocity of the path to the endpoints that are predicted here, see `towards`."""
        return self.towards(self.denoise(x, t, previous=previous, **conditions), x, t, **conditions)

    def towards(self, end: State, x: State, t: Tensor, **conditions: Tensor) -> State:
        """Velocity of the path at ``x`` to endpoints; of the sequence its mean, ``Σ_k p_k log_{x}(e_k) κ̇/(1 − κ)``.

        Zero where something is known. The 1 − κ is floored at t = 1, see `GeodesicPath.velocity`.
        """
        with torch.autocast(t.device.type, enabled=False):
            u = self.path.velocity(end, x, t)
            if "sequence" in x:
                u["sequence"] = self._towards_letters(end["sequence"], x["sequence"], t)
        return {name: u[name].masked_fill(given[..., None], 0.0) for name, given in self._fixed(conditions).items()}

    def _towards_letters(self, probabilities: Tensor, x: Tensor, t: Tensor) -> Tensor:
        letters = torch.eye(len(AMINO_ACIDS), dtype=x.dtype, device=x.device)
        ways = self.manifold.factors["sequence"].logmap(x[..., None, :], letters)
        mean = (probabilities[..., None] * ways).sum(-2)
        schedule = self.path.schedule
        flat = GeodesicPath(
            Euclidean(len(AMINO_ACIDS)), schedule["sequence"] if isinstance(schedule, dict) else schedule
        )
        return flat.velocity(mean, torch.zeros_like(mean), t)  # the mean is a logarithm already

    def _fixed(self, conditions: dict[str, Tensor]) -> dict[str, Tensor]:
        """Where each factor stays, (B, N): what is known, and padding."""
        padding = ~conditions["mask"]
        return {name: padding | conditions.get(FACTORS[name], padding) for name in self.manifold.factors}

    def _residues(self, x: State, t: Tensor, fixed: dict[str, Tensor], conditions: dict[str, Tensor]) -> Tensor:
        """What each residue knows of itself, (B, N, width); its clock stands at 1 where all of it is given."""
        given = torch.stack(list(fixed.values()), -1)
        clocks = self.time(torch.cat([t, torch.ones_like(t[:1])]))
        h = torch.where(given.all(-1, keepdim=True), clocks[-1], clocks[:-1, None]) + self.given(given.to(t.dtype))
        h = h + self.places(_places(conditions).to(t.dtype))
        real, types = conditions["mask"][..., None], self.types.weight
        unknown = torch.full_like(conditions["residue_index"], len(AMINO_ACIDS))
        if "sequence" in x:
            h = h + x["sequence"].where(real, 0.0) @ types[:-1]
            certain = fixed["sequence"]
        else:
            aatype = conditions.get("aatype", unknown)
            h = h + self.types(aatype.where(conditions["mask"], unknown))
            certain = aatype != unknown
        if self.angles is not None:
            exists = conditions["torsion_mask"] | ~(certain & fixed["torsions"])[..., None]
            angle = x["torsions"].where(real, 0.0)
            seen = torch.stack([angle.sin(), angle.cos(), torch.ones_like(angle)], -1) * exists[..., None]
            h = h + self.angles(seen.flatten(-2))
        return h.to(x["translation"].dtype)


def _places(conditions: dict[str, Tensor]) -> Tensor:
    """Waves (B, N, 64) of the number of residues to the first and to the last one there is of the same chain."""
    index, chain, mask = conditions["residue_index"], conditions["chain"], conditions["mask"]
    together = (chain[:, None] == chain[:, :, None]) & mask[:, None]
    away = (index[:, :, None] - index[:, None]) * together
    ends = torch.stack([away.amax(-1), -away.amin(-1)], -1)
    rates = torch.pi / 2 * torch.logspace(0, 2 - math.log2(_LONGEST), _WAVES, base=2, device=index.device)
    angle = (ends[..., None] * rates).flatten(-2)
    return torch.cat([angle.sin(), angle.cos()], -1)


class _Block(nn.Module):
    """Attention, a perceptron, and by how much each frame moves, in its own axes."""

    def __init__(self, width: int, pair_width: int, heads: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        self.attention = InvariantPointAttention(width, pair_width, heads)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )
        self.frame = _head(width, 6)

    def forward(
        self, h: Tensor, z: Tensor, translation: Tensor, rotation: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        h = h + self.attention(self.before(h), z, translation, to_matrix(rotation), mask)
        h = h + self.mlp(h)
        with torch.autocast(h.device.type, enabled=False):
            shift, turn = self.frame(h).chunk(2, -1)
        return h, shift, turn


class _Pairs(nn.Module):
    """Features (B, N, N, pair_width) of pairs: along the chain, in space now and before, and of both residues."""

    centres: Tensor

    def __init__(self, width: int, pair_width: int) -> None:
        super().__init__()
        self.register_buffer("centres", _DISTANCES.clone(), persistent=False)
        self.offset = nn.Embedding(2 * _REACH + 2, pair_width)  # the last one: of two chains
        self.distance = nn.Linear(2 * len(_DISTANCES), pair_width, bias=False)
        self.ends = nn.Linear(width, 2 * pair_width)
        self.inner = nn.Sequential(nn.SiLU(), nn.Linear(pair_width, pair_width), nn.LayerNorm(pair_width))

    def forward(self, h: Tensor, now: Tensor, before: Tensor | None, conditions: dict[str, Tensor]) -> Tensor:
        index, chain = conditions["residue_index"], conditions["chain"]
        offset = (index[:, None] - index[:, :, None]).clamp(-_REACH, _REACH) + _REACH
        offset = offset.masked_fill(chain[:, None] != chain[:, :, None], 2 * _REACH + 1)
        seen = self._spread(now) if before is None else torch.cat([self._spread(now), self._spread(before)], -1)
        distances = nn.functional.linear(seen, self.distance.weight[:, : seen.shape[-1]])  # zeros, where none before
        return self.inner(self.offset(offset) + distances + _outer(self.ends(h)))

    def _spread(self, x: Tensor) -> Tensor:
        """Gaussians of the distances, smooth: a distance at the edge of a bin would break the symmetry by rounding."""
        square = (x[:, :, None] - x[:, None]).square().sum(-1)
        steps = ((square + 1e-6).sqrt()[..., None] - self.centres) / (self.centres[1] - self.centres[0])
        return (-0.5 * steps.square()).exp()


class _Renewal(nn.Module):
    """Pairs hear what their residues have learnt: ``norm(z + W silu(z + a_i + b_j))``, one small matrix a pair."""

    def __init__(self, width: int, pair_width: int) -> None:
        super().__init__()
        self.ends = nn.Linear(width, 2 * pair_width)
        self.inner = nn.Linear(pair_width, pair_width)
        self.norm = nn.LayerNorm(pair_width)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        return self.norm(z + self.inner(nn.functional.silu(z + _outer(self.ends(h)))))


def _outer(ends: Tensor) -> Tensor:
    a, b = ends.chunk(2, -1)
    return a[:, :, None] + b[:, None]


def _head(width: int, out: int) -> nn.Sequential:
    """A linear map that starts at zero."""
    linear = nn.Linear(width, out)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(nn.LayerNorm(width), linear)
