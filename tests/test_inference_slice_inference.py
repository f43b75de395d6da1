"""infer_slices: slices without lung are skipped, views are averaged where needed, and a hook sees each pass."""

import pytest
import torch

from lib.inference.slice_inference import infer_slices
from lib.networks import AttentionResidualUNet


def test_slices_without_lung_cost_nothing():
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


def test_views_are_averaged_where_the_first_shows_something():
    class Lopsided(torch.nn.Module):
        """Marks the left half of what it sees, as far as there is something."""

        stride = 4

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, image, return_attention=False):
            logits = torch.where(image > 0, torch.where(torch.arange(8) < 4, 3.0, -3.0)[:, None], -9.0)
            return (logits, []) if return_attention else logits

    volume = torch.zeros(1, 8, 8, 2)
    volume[..., 1] = 1
    once, _ = infer_slices(Lopsided(), volume, (0, 2), batch_size=2)
    twice, _ = infer_slices(Lopsided(), volume, (0, 2), batch_size=2, views=2)
    assert (once[0, :4, :, 1] == 3).all()
    torch.testing.assert_close(twice[..., 1], torch.zeros(1, 8, 8), atol=1e-5, rtol=0)  # 0.5 on either side
    assert torch.equal(twice[..., 0], once[..., 0])
    beneath = torch.cat([torch.full_like(volume, -1), volume, torch.full_like(volume, 2)])  # seen of three slices
    seen = []

    class Recording(Lopsided):
        def forward(self, image, return_attention=False):
            seen.append(image[:, :, 0, 0].tolist())
            return super().forward(image[:, 1:2], return_attention)

    infer_slices(Recording(), beneath, (1, 2), batch_size=2, views=2)
    assert seen == [[[-1, 1, 2]], [[2, 1, -1]]], "what lies above and below is turned over too"
    four, _ = infer_slices(Lopsided(), volume, (0, 2), batch_size=1, views=4)
    torch.testing.assert_close(four, twice)


def test_only_the_surroundings_of_what_was_found_are_looked_at_again():
    class Finding(torch.nn.Module):
        """As sure as the image is bright; notes how much it sees."""

        stride = 8

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen = []

        def forward(self, image, return_attention=False):
            self.seen.append(tuple(image.shape[2:]))
            logits = image[:, :1] * (1 + len(self.seen))  # each look is surer than the last
            return (logits, []) if return_attention else logits

    volume = torch.full((1, 256, 256, 1), -4.0)
    volume[0, 40:50, 100:104] = volume[0, 200:210, 30:90] = 3.0
    volume[0, 0, 255] = 3.0
    network = Finding()
    found, _ = infer_slices(network, volume, (0, 1), batch_size=1, views=2)
    assert network.seen[0] == (256, 256)
    assert sorted(network.seen[1:]) == [(32, 32), (48, 48), (48, 96)]
    bright = volume[0] > 0
    assert (found[0][bright] > 6.5).all()  # the mean with a surer look; the first alone says 6
    far = torch.nn.functional.max_pool2d(bright[None, ..., 0].float(), 65, 1, 32)[0] == 0
    assert (found[0, ..., 0][far] == -8).all()  # as the first look left it


def test_the_hook_sees_each_forward_pass_and_can_cancel():
    network = AttentionResidualUNet(channels=(4, 8)).eval()
    volume = torch.randn(1, 32, 32, 6)
    seen = []
    infer_slices(network, volume, (1, 6), batch_size=2, before_pass=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 5), (0, 5), (2, 5), (2, 5), (4, 5)]  # a CPU takes the slices of a batch one by one

    def cancel(done, total):
        if done >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_slices(network, volume, (1, 6), batch_size=2, before_pass=cancel)
