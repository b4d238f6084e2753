"""What networks of sequences read of their sites, and of what they are conditioned on."""

from jaxtyping import Float
from torch import Tensor, nn

from .embedding import TimeEmbedding

__all__ = ["Modulation", "SiteEmbedding"]


class SiteEmbedding(nn.Module):
    r"""Vectors ``(B, L, width)`` of sites, and ``(B, width)`` of what holds for the whole sequence.

    The first is ``W x`` plus a learned vector of the place, where places mean something, plus ``W' profile``; the
    second that of the time plus a learned vector of the class.

    Args:
        inputs: numbers that describe the state at a site.
        places: columns of an alignment, each with a learned vector; 0 where sequences have any length.
        classes: values of the condition ``label (B,)``; the number ``classes``, and no label, mean "none".
        features: numbers a site of the condition ``profile (B, L, features)``; without it they are zero.
    """

    def __init__(self, inputs: int, width: int, places: int = 0, classes: int = 0, features: int = 0) -> None:
        super().__init__()
        self.classes = classes
        self.state, self.time = nn.Linear(inputs, width), TimeEmbedding(width)
        self.places = nn.Embedding(places, width) if places else None
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.profile = nn.Linear(features, width, bias=False) if features else None

    def forward(
        self,
        x: Float[Tensor, "B L inputs"],
        t: Float[Tensor, " B"],
        label: Tensor | None = None,
        profile: Tensor | None = None,
    ) -> tuple[Float[Tensor, "B L width"], Float[Tensor, "B width"]]:
        """Sites, and the whole; conditions that the network was not built for are a mistake of the caller's.

        Raises:
            ValueError: for such a condition.
        """
        sites, whole = self.state(x), self.time(t)
        for name, given, module in (("label", label, self.label), ("profile", profile, self.profile)):
            if given is not None and module is None:
                raise ValueError(f"condition {name}: this network was built without it")
        if self.places is not None:
            sites = sites + self.places.weight[: x.shape[1]]
        if self.profile is not None and profile is not None:
            sites = sites + self.profile(profile.to(x.dtype))
        if self.label is not None:
            none = t.new_full(t.shape, self.classes).long()
            whole = whole + self.label(none if label is None else label)
        return sites, whole


class Modulation(nn.Module):
    r"""``h ↦ (1 + a) N h + b``, with layer norm N, and a and b linear in what holds for the whole sequence.

    Zero at first (Peebles & Xie 2022, arXiv:2212.09748).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.whole = nn.LayerNorm(width), nn.Linear(width, 2 * width)
        nn.init.zeros_(self.whole.weight)
        nn.init.zeros_(self.whole.bias)

    def forward(self, h: Float[Tensor, "B L width"], whole: Float[Tensor, "B width"]) -> Float[Tensor, "B L width"]:
        scale, shift = self.whole(nn.functional.silu(whole))[:, None].chunk(2, -1)
        return (1 + scale) * self.norm(h) + shift
