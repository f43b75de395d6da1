"""infer_slices: skips slices without lung, averages views where needed, and calls a hook before each pass."""

import pytest
import torch

from lib.inference.slice_inference import infer_slices
from lib.networks import AttentionResidualUNet


def test_slices_without_lung_are_skipped():
    class Counting(AttentionResidualUNet):
        slices = 0

        def forward(self, image, return_attention=False):
            Counting.slices += len(image)
            return super().forward(image, return_attention)

    network = Counting(channels=(4, 8)).eval()
    volume = torch.randn(1, 32, 32, 10)
    logits, attention = infer_slices(network, volume, (3, 8), batch_size=2, attention=True)
    assert Counting.slices == 5
    assert logits.shape == attention.shape == (1, 32, 32, 10)
    assert (logits[..., [0, 1, 2, 8, 9]] < -10).all()
    assert (attention[..., [0, 1, 2, 8, 9]] == 0).all()
    with torch.inference_mode():
        alone = network(volume[None, ..., 5])[0]
    torch.testing.assert_close(logits[..., 5], alone, rtol=1e-4, atol=1e-4)


def test_views_are_averaged_where_the_first_finds_something():
    class LeftHalf(torch.nn.Module):
        """Marks the left half of the non-empty part of its input."""

        stride = 4

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, image, return_attention=False):
            logits = torch.where(image > 0, torch.where(torch.arange(8) < 4, 3.0, -3.0)[:, None], -9.0)
            return (logits, []) if return_attention else logits

    volume = torch.zeros(1, 8, 8, 2)
    volume[..., 1] = 1
    once, _ = infer_slices(LeftHalf(), volume, (0, 2), batch_size=2)
    twice, _ = infer_slices(LeftHalf(), volume, (0, 2), batch_size=2, views=2)
    assert (once[0, :4, :, 1] == 3).all()
    torch.testing.assert_close(twice[..., 1], torch.zeros(1, 8, 8), atol=1e-5, rtol=0)  # 0.5 on either side
    assert torch.equal(twice[..., 0], once[..., 0])
    # three channels: each slice between its neighbours
    beneath = torch.cat([torch.full_like(volume, -1), volume, torch.full_like(volume, 2)])
    seen = []

    class Recording(LeftHalf):
        def forward(self, image, return_attention=False):
            seen.append(image[:, :, 0, 0].tolist())
            return super().forward(image[:, 1:2], return_attention)

    infer_slices(Recording(), beneath, (1, 2), batch_size=2, views=2)
    assert seen == [[[-1, 1, 2]], [[2, 1, -1]]], "neighbouring slices are flipped too"
    four, _ = infer_slices(LeftHalf(), volume, (0, 2), batch_size=1, views=4)
    torch.testing.assert_close(four, twice)


def test_further_views_see_only_the_neighbourhood_of_findings():
    class Finding(torch.nn.Module):
        """Predicts the brightness as logit and records the sizes of its inputs."""

        stride = 8

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen = []

        def forward(self, image, return_attention=False):
            self.seen.append(tuple(image.shape[2:]))
            logits = image[:, :1] * (1 + len(self.seen))  # each view is more confident than the last
            return (logits, []) if return_attention else logits

    volume = torch.full((1, 256, 256, 1), -4.0)
    volume[0, 40:50, 100:104] = volume[0, 200:210, 30:90] = 3.0
    volume[0, 0, 255] = 3.0
    network = Finding()
    found, _ = infer_slices(network, volume, (0, 1), batch_size=1, views=2)
    assert network.seen[0] == (256, 256)
    assert sorted(network.seen[1:]) == [(32, 32), (48, 48), (48, 96)]
    bright = volume[0] > 0
    assert (found[0][bright] > 6.5).all()  # mean with a more confident view; the first view alone gives 6
    far = torch.nn.functional.max_pool2d(bright[None, ..., 0].float(), 65, 1, 32)[0] == 0
    assert (found[0, ..., 0][far] == -8).all()  # as the first view left it


def test_hook_runs_before_each_forward_pass_and_can_cancel():
    network = AttentionResidualUNet(channels=(4, 8)).eval()
    volume = torch.randn(1, 32, 32, 6)
    seen = []
    infer_slices(network, volume, (1, 6), batch_size=2, before_pass=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 5), (2, 5), (4, 5)]  # a CPU processes a batch of small slices at once
    seen.clear()
    large = torch.randn(1, 256, 256, 6)
    infer_slices(network, large, (1, 4), batch_size=2, before_pass=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 3), (0, 3), (2, 3)]  # and large ones one by one

    def cancel(done, total):
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_slices(network, volume, (1, 6), batch_size=2, before_pass=cancel)
