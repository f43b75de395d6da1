"""AttentionResidualUNet: shapes, gradients, attention gates, baseline and errors."""

import pytest
import torch

from lib.networks import AttentionResidualUNet

CHANNELS = (4, 8, 16)


@pytest.mark.parametrize("attention", [True, False])
@pytest.mark.parametrize("residual", [True, False])
def test_gradients_reach_every_layer(attention, residual):
    torch.manual_seed(0)
    network = AttentionResidualUNet(channels=CHANNELS, attention=attention, residual=residual)
    logits = network(torch.randn(1, 1, 32, 32))
    logits.square().mean().backward()
    dead = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert logits.shape == (1, 1, 32, 32)
    assert dead == []


def test_attention_coefficients_have_the_size_of_their_skip():
    torch.manual_seed(0)
    network = AttentionResidualUNet(channels=CHANNELS).eval()
    image = torch.randn(2, 1, 32, 48)
    logits, coefficients = network(image, return_attention=True)
    assert [tuple(alpha.shape) for alpha in coefficients] == [(2, 1, 32, 48), (2, 1, 16, 24)]
    assert all(alpha.min() >= 0 and alpha.max() <= 1 for alpha in coefficients)
    assert torch.equal(logits, network(image))


def test_closed_gate_blocks_its_skip():
    torch.manual_seed(0)
    network = AttentionResidualUNet(channels=(4, 8)).eval()
    torch.nn.init.constant_(network.gates[0].psi.conv.bias, -1e4)
    seen = {}
    network.decoders[0].register_forward_pre_hook(lambda module, args: seen.update(merged=args[0]))
    _, (alpha,) = network(torch.randn(1, 1, 16, 16), return_attention=True)
    assert alpha.max() == 0
    assert seen["merged"][:, :4].abs().max() == 0
    assert seen["merged"][:, 4:].abs().max() > 0


def test_residual_block_with_zero_convolutions_is_its_shortcut():
    network = AttentionResidualUNet(in_channels=4, channels=(4, 8)).eval()
    block = network.encoders[0]
    for parameter in block.conv.parameters():
        torch.nn.init.zeros_(parameter)
    image = torch.randn(1, 4, 16, 16)
    assert torch.equal(block(image), image)


def test_baseline_has_no_gates_and_no_shortcuts():
    baseline = AttentionResidualUNet(channels=CHANNELS, attention=False, residual=False)
    names = [name for name, _ in baseline.named_modules()]
    assert not any("residual" in name or "gates." in name for name in names)
    assert baseline(torch.zeros(1, 1, 16, 16), return_attention=True)[1] == []


def test_output_does_not_depend_on_the_rest_of_the_batch():
    torch.manual_seed(0)
    network = AttentionResidualUNet(channels=CHANNELS).eval()
    batch = torch.randn(3, 1, 32, 32)
    torch.testing.assert_close(network(batch)[1:2], network(batch[1:2]))


def test_volumes():
    network = AttentionResidualUNet(spatial_dims=3, in_channels=2, out_channels=3, channels=(2, 4))
    assert network(torch.zeros(1, 2, 8, 8, 8)).shape == (1, 3, 8, 8, 8)


def test_size_that_cannot_be_halved_is_refused():
    network = AttentionResidualUNet(channels=(2, 2, 2, 2, 2))
    with pytest.raises(ValueError, match=r"multiple of 16 pixels; got 250 x 256"):
        network(torch.zeros(1, 1, 250, 256))


def test_single_level_is_refused():
    with pytest.raises(ValueError, match="at least two levels"):
        AttentionResidualUNet(channels=(16,))
