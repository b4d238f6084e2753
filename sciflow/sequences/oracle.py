"""Networks of the user's own that judge sequences, as ``torch.export.save`` writes them."""

from pathlib import Path

import torch
from torch import Tensor

from ..alphabets import DNA
from ..errors import InputError

__all__ = ["answers"]

_BATCH = 64


def answers(path: Path, x: Tensor) -> Tensor:
    """Numbers ``(n, T)``, float64, of sequences ``x (n, L)``; the network reads ``(B, 4, L)``, zeros and ones.

    Raises:
        InputError: no such network, or one that does not read these sequences.
    """
    try:
        network = torch.export.load(path).module()
        with torch.no_grad():
            found = [network(torch.nn.functional.one_hot(part, len(DNA)).mT.float()) for part in x.split(_BATCH)]
    except Exception as error:
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: does not judge {tuple(x.shape)} letters ({told}); see docs/sequences.md") from error
    return torch.cat(found).double().reshape(len(x), -1)
