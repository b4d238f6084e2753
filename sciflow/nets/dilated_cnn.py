"""A network of dilated convolutions along sequences: motifs, and the distances between them."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from .sites import Modulation, SiteEmbedding

__all__ = ["DilatedCNN"]

_REACH = 256  # sites of the receptive field of a round of dilations


class DilatedCNN(nn.Module):
    r"""Logits ``(B, L, outputs)`` of states ``(B, L, inputs)`` at times ``(B,)``.

    Sites, with :class:`SiteEmbedding`, pass ``depth`` layers ``h ↦ h + W gelu(conv_d(M h))``: a norm that time and
    class modulate, then a convolution over ``kernel`` sites, d apart, with d = 1, 2, 4, … as long as the receptive
    field grows to at most 256 sites, and from 1 again. Outputs start at zero.

    A condition ``mask (B, L)`` is True at real sites: the others are zero wherever a convolution reads them, as
    beyond the ends, so padding changes nothing.

    Args:
        kernel: odd.
        places, classes, features: as in :class:`SiteEmbedding`.

    Source: van den Oord et al. 2016, arXiv:1609.03499; for DNA Avdeyev et al. 2023, arXiv:2305.10699.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int = 64,
        depth: int = 8,
        kernel: int = 7,
        dropout: float = 0.0,
        places: int = 0,
        classes: int = 0,
        features: int = 0,
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} has no middle: give an odd number")
        self.embed = SiteEmbedding(inputs, width, places, classes, features)
        widest = max(1, _REACH // kernel).bit_length()
        self.layers = nn.ModuleList(_Layer(width, kernel, 2 ** (n % widest), dropout) for n in range(depth))
        self.norm, self.outward = Modulation(width), nn.Linear(width, outputs)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(
        self, x: Float[Tensor, "B L inputs"], t: Float[Tensor, " B"], mask: Tensor | None = None, **cond: Any
    ) -> Float[Tensor, "B L outputs"]:
        """``cond`` may hold ``label`` and ``profile``, see :class:`SiteEmbedding`."""
        h, whole = self.embed(x, t, **cond)
        for layer in self.layers:
            h = layer(h, whole, mask)
        return self.outward(self.norm(h, whole))


class _Layer(nn.Module):
    def __init__(self, width: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.before = Modulation(width)
        self.along = nn.Conv1d(width, width, kernel, dilation=dilation, padding=dilation * (kernel // 2))
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(width, width), nn.Dropout(dropout))

    def forward(self, h: Tensor, whole: Tensor, mask: Tensor | None) -> Tensor:
        read = self.before(h, whole)
        if mask is not None:
            read = read * mask[..., None]
        return h + self.mix(self.along(read.mT).mT)
