"""Small volumes in a batch get the same result as alone."""

from types import SimpleNamespace

import torch

from lib.inference.crops import crop_batches, tumour_probability
from lib.networks import AttentionResidualUNet
from lib.settings import load_info

PREPROCESSING = load_info()["preprocessing"]


def crops():
    """Return five crops of four sizes, one of them a whole scan."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(20, 14, 5), (90, 70, 300), (20, 14, 7), (33, 40, 3), (12, 13, 4)]
    return [
        SimpleNamespace(image=torch.randn(shape, generator=generator), spacing=spacing)
        for shape, spacing in zip(shapes, (1.25, 2.5, 2.0, 1.0, 1.25), strict=True)
    ]


def test_batches_are_padded_and_split_again():
    given, seen = crops(), []
    for batch in crop_batches(given, PREPROCESSING):
        channels, width, height, slices = batch.volume.shape
        assert channels == len(PREPROCESSING["slice_offsets_mm"])
        assert width == height
        assert width % 16 == 0
        assert slices == sum(crop.image.shape[2] for crop in batch.crops)
        middle = batch.volume[channels // 2]  # channel of the slice itself
        for crop, part in zip(batch.crops, batch.split(middle), strict=True):
            assert torch.equal(part, crop.image)
        seen += batch.crops
    assert sorted(map(id, seen)) == sorted(map(id, given))


def test_crop_has_the_same_probability_in_a_batch_as_alone():
    torch.manual_seed(0)
    network = AttentionResidualUNet(in_channels=len(PREPROCESSING["slice_offsets_mm"]), channels=(4, 8)).eval()
    first, _, second, *_ = crops()
    (batch,) = crop_batches([first, second], PREPROCESSING)
    together = batch.split(tumour_probability(network, batch.volume))
    for crop, found in zip(batch.crops, together, strict=True):
        (own,) = crop_batches([crop], PREPROCESSING)
        (alone,) = own.split(tumour_probability(network, own.volume))
        torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-6)
        assert found.shape == crop.image.shape
