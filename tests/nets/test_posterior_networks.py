"""Laws of networks that answer at every site: padding, places, conditions, precision."""

import pytest
import torch

from sciflow.nets import DilatedCNN, RotaryTransformer

F64 = torch.float64
NETWORKS = {"transformer": RotaryTransformer, "cnn": DilatedCNN}


def network(kind: type, **kwargs: int) -> torch.nn.Module:
    """With random weights everywhere: those that start at zero would hide what they read."""
    torch.manual_seed(0)
    net = kind(3, 4, width=16, depth=4, **kwargs).double().eval()
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return net


@pytest.fixture(params=NETWORKS)
def kind(request: pytest.FixtureRequest) -> type:
    return NETWORKS[request.param]


@pytest.mark.parametrize("places", [0, 14])
def test_padding_changes_nothing(kind: type, places: int) -> None:
    net = network(kind, classes=2, features=2, places=places)
    lengths, longest = [5, 11, 8], 14
    x, profile = torch.randn(3, longest, 3, dtype=F64), torch.randn(3, longest, 2, dtype=F64)
    t, label = torch.rand(3, dtype=F64), torch.tensor([0, 1, 2])
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    together = net(x, t, mask=mask, label=label, profile=profile)
    x[~mask], profile[~mask] = 7.0, -7.0
    torch.testing.assert_close(net(x, t, mask=mask, label=label, profile=profile)[mask], together[mask])
    for i, n in enumerate(lengths):
        alone = net(x[i : i + 1, :n], t[i : i + 1], label=label[i : i + 1], profile=profile[i : i + 1, :n])
        torch.testing.assert_close(together[i, :n], alone[0], rtol=0, atol=1e-12)


def test_every_site_reads_every_other_and_what_is_given(kind: type) -> None:
    net = network(kind, classes=2, features=2)
    x, profile, t = torch.randn(1, 9, 3, dtype=F64), torch.zeros(1, 9, 2, dtype=F64), torch.tensor([0.3], dtype=F64)
    for given in (x, profile, t):
        given.requires_grad_()
    for site in (0, 4, 8):
        answer = net(x, t, label=torch.tensor([1]), profile=profile)[0, site].sum()
        read = torch.autograd.grad(answer, (x, profile, t))
        assert all((slope.reshape(-1, slope.shape[-1]).abs().amax(-1) > 1e-6).all() for slope in read)
    labels = [net(x, t, label=torch.tensor([k]), profile=profile) for k in range(3)]
    assert not torch.allclose(labels[0], labels[1])
    torch.testing.assert_close(net(x, t, profile=profile), labels[2])  # the last label is none


def test_a_condition_that_it_does_not_know_is_refused(kind: type) -> None:
    net = network(kind)
    with pytest.raises(ValueError, match="label"):
        net(torch.zeros(1, 5, 3, dtype=F64), torch.zeros(1, dtype=F64), label=torch.tensor([0]))


@pytest.mark.parametrize("places", [0, 12])
def test_places_tell_alike_sites_apart(kind: type, places: int) -> None:
    """In the middle of a long run of the same state only a learned place can."""
    net = network(kind, places=places)
    x = torch.ones(1, 12, 3, dtype=F64)
    out = net(x, torch.zeros(1, dtype=F64))[0]
    if kind is RotaryTransformer and not places:  # attention to equals is a mean of equals, however they are turned
        torch.testing.assert_close(out, out[:1].expand_as(out))
    else:
        assert (out[1:] - out[:1]).abs().max() > 1e-3


def test_the_transformer_moves_with_its_sequence() -> None:
    """Rotary positions know distances alone: what stands before a sequence, masked, does not count."""
    net = network(RotaryTransformer)
    x, t = torch.randn(1, 8, 3, dtype=F64), torch.rand(1, dtype=F64)
    behind = torch.cat([torch.randn(1, 5, 3, dtype=F64), x], 1)
    mask = torch.arange(13)[None] >= 5
    torch.testing.assert_close(net(behind, t, mask=mask)[:, 5:], net(x, t), rtol=0, atol=1e-12)


def test_bfloat16_gives_the_same_to_its_rounding(kind: type) -> None:
    net = network(kind, places=10).float()
    x, t, mask = torch.randn(2, 10, 3), torch.tensor([0.2, 0.9]), torch.arange(10).expand(2, 10) < 7
    exact = net(x, t, mask=mask)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = net(x, t, mask=mask)
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact)[mask].abs().max() < 0.05 * exact[mask].abs().max()


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="width=12"):
        RotaryTransformer(3, 4, width=12, heads=4)
    with pytest.raises(ValueError, match="kernel=4"):
        DilatedCNN(3, 4, kernel=4)
