"""Patches for offline training: what is inserted where, and at which scale."""

import numpy as np
import pytest
import torch

from lib.settings import load_info
from lib.training.pasting import add_cavity
from lib.training.patches import PatchSampler
from lib.training.scans import Scan

PREPROCESSING = load_info()["preprocessing"] | {"slice_offsets_mm": [-2.5, 0, 2.5]}
LUNG, TISSUE = -0.45, 1.8  # normalised values of -800 and 30 HU


def host():
    """Return two lungs in a body, 40 slices of 2.5 mm, with a tumour in one lung."""
    image = torch.full((256, 256, 40), -0.98)
    image[30:226, 50:206] = TISSUE
    image[50:115, 70:180, 5:] = LUNG
    image[140:205, 70:180, 5:] = LUNG
    label = torch.zeros(image.shape, dtype=torch.bool)
    label[70:90, 100:120, 10:20] = True
    image[label] = TISSUE
    return Scan("host", image, label.float(), 2.5, tuple(range(5, 40)))


def crop(slices=4):
    """Return a nodule 8 pixels wide in the middle of 30, brighter than anything else."""
    image = torch.full((30, 30, slices), LUNG)
    label = torch.zeros(image.shape, dtype=torch.bool)
    label[11:19, 11:19] = True
    image[label] = 2.8
    return Scan("crop_1", image, label.float(), 1.25, tuple(range(slices)))


def sampler(crops, hosts, seed=0):
    return PatchSampler(crops, hosts, preprocessing=PREPROCESSING, size=64, seed=seed)


def test_batch_has_the_shape_and_values_of_the_network_input():
    image, label = sampler([crop()], [host()]).batch(60)
    assert image.shape == (60, 3, 64, 64)
    assert label.shape == (60, 1, 64, 64)
    assert image.dtype == label.dtype == torch.float32
    assert set(label.unique().tolist()) == {0.0, 1.0}
    share = (label.sum((1, 2, 3)) > 0).float().mean()
    assert 0.4 < share < 1.0
    low, high = ((np.array(PREPROCESSING["hu_window"]) - PREPROCESSING["hu_mean"]) / PREPROCESSING["hu_std"]).tolist()
    assert image.min() >= low - 1e-5 and image.max() <= high + 1e-5


def test_nodules_keep_their_size_within_the_augmentation():
    _, label = sampler([crop()], []).batch(200)
    widths = (label[:, 0].any(1).sum(1)).float()
    widths = widths[widths > 0]
    assert (widths <= 64 / 1.25 * 1.2).all()  # the largest tumours have 64 mm
    # Five in six are scaled by at most a quarter; some extend over the border of the patch.
    assert ((widths >= 4) & (widths <= 11)).float().mean() > 0.7
    assert widths.median() == pytest.approx(8, abs=1)


def test_label_matches_the_nodule():
    image, label = sampler([crop()], [host()]).batch(20)
    tumour = image[:, 1:2][label.bool()]
    assert (tumour > 1.0).float().mean() > 0.85  # the rest are cavities


def test_channels_outside_of_a_thin_crop_show_the_host():
    drawer = sampler([crop(slices=1)], [host()])
    nodule, within = drawer._nodule()
    assert within.tolist() == [False, True, False]
    stack = torch.full((4, 64, 64), LUNG)
    drawer._set_in(stack, nodule, within, torch.ones(nodule.shape[1:]))
    assert stack[0].max() == stack[2].max() == pytest.approx(LUNG)
    assert stack[1].max() > 2


def test_slices_of_a_crop_are_flipped_together():
    drawer = sampler([crop()], [])
    stack = torch.zeros(4, 8, 8)
    stack[0] = 1
    turned_over = 0
    for _ in range(30):
        turned, within = drawer._turned(stack, torch.tensor([True, False, False]))
        assert (turned[:-1].amax((1, 2)) == 1).tolist() == within.tolist()
        turned_over += within.tolist() == [False, False, True]
    assert 0 < turned_over < 30


def test_crop_without_a_host_is_surrounded_by_air():
    image, _ = sampler([crop(slices=1)], []).batch(20)
    assert image[:, 1].max() > 1.0
    assert image[:, [0, 2]].max() < 0  # noise and shift are small compared with a nodule


def test_nothing_is_inserted_outside_of_the_lungs():
    drawer = sampler([crop()], [host()])
    stack = torch.full((4, 64, 64), TISSUE)
    stack[-1] = 0
    nodule, within = drawer._nodule()
    drawer._set_in(stack, nodule, within, torch.ones(nodule.shape[1:]))
    assert stack[-1].sum() == 0


def test_nodule_at_the_wall_is_cut_off_by_it():
    drawer = sampler([crop()], [host()])
    nodule, within = drawer._nodule()
    cut_off = 0
    for _ in range(30):
        stack = torch.full((4, 64, 64), LUNG)
        stack[:-1, :, 32:] = TISSUE
        stack[-1] = 0
        drawer._set_in(stack, nodule, within, torch.ones(nodule.shape[1:]), at_wall=True)
        assert not stack[-1, :, 32:].any(), "the wall is marked as tumour"
        assert (stack[:-1, :, 32:] == TISSUE).all(), "the wall has changed"
        assert stack[-1].any()
        cut_off += bool(stack[-1, :, 31].any()) and stack[-1].sum() < nodule[-1].sum()
    assert cut_off > 20


def test_cavity_is_air_inside_the_marked_nodule_and_narrows_with_the_distance():
    stack = torch.zeros(4, 40, 40)
    rows, columns = torch.meshgrid(*[torch.arange(40) - 20] * 2, indexing="ij")
    disc = torch.hypot(rows.float(), columns.float()) <= 14
    stack[:, disc] = 1.0
    add_cavity(stack, [-4.0, 0.0, 4.0], air=-0.8, rng=np.random.default_rng(0))
    area = (stack[:-1] < -0.7).sum((1, 2)).tolist()
    assert area[1] > area[0] == area[2] > 0
    assert torch.equal(stack[-1] > 0.5, disc), "the cavity belongs to the lesion"
    assert (stack[1][disc] > 0.9).sum() > 150, "the cavity has a wall"


def test_small_nodule_gets_no_cavity():
    stack = crop().image[..., 0].repeat(4, 1, 1)
    stack[-1] = crop().target[..., 0]
    before = stack.clone()
    stack[-1, :, :15] = 0  # a nodule of four pixels
    add_cavity(stack, [-2.0, 0.0, 2.0], air=-0.8, rng=np.random.default_rng(0))
    assert torch.equal(stack[:-1], before[:-1])


def test_same_seed_gives_the_same_patches():
    first, second = (sampler([crop()], [host()], seed=3).batch(5)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, sampler([crop()], [host()], seed=4).batch(5)[0])


def test_warm_up_starts_with_crops_only_and_adds_the_mixture_gradually():
    def share_in_padding(drawer, batches) -> float:
        air = drawer.air
        drawn = [image for _, (image, _) in zip(range(batches), drawer, strict=False)]
        # Padding is air plus noise; lung is denser everywhere.
        return float((torch.cat(drawn)[:, 1].median(-1).values.median(-1).values < air + 0.3).float().mean())

    def drawer(first):
        settings = {"preprocessing": PREPROCESSING, "size": 64, "seed": 0, "batch_size": 20}
        return PatchSampler([crop()], [host()], **settings, warm_up=100, first=first)

    start, half, whole = (share_in_padding(drawer(first), 5) for first in (0, 50, 100))
    assert start > 0.75  # enlarged crops fill the patch
    assert start > half + 0.1 > whole + 0.2


def test_decoy_from_a_crop_excludes_the_nodule():
    surrounded = crop()
    surrounded.image[:4] = 1.0  # a vessel far from the nodule
    drawer = sampler([surrounded], [host()])
    seen = 0
    for _ in range(40):
        decoy, _, weight = drawer._decoy()
        assert (weight[decoy[-1] > 0] == 0).all()
        seen += bool(decoy[-1].any()) and bool(((decoy[1] > 0.9) & (weight > 0.5)).any())
    assert seen > 5


def test_slices_above_and_below_a_nodule_are_sampled_too():
    cut_wide = crop(slices=9)
    cut_wide.target[..., :3] = cut_wide.target[..., 6:] = 0
    drawer = sampler([cut_wide], [])
    without = sum(not drawer._nodule()[0][-1].any() for _ in range(200))
    assert 10 < without < 70  # two thirds of a quarter


def test_more_decoys_cover_more_of_a_lung():
    marked = crop()
    marked.image[:] = 1.0

    def covered(decoys):
        drawer = PatchSampler([marked], [host()], preprocessing=PREPROCESSING, size=64, seed=0, decoys=decoys)
        image, _ = drawer.batch(60)
        return float(((image[:, 1] > 0.7) & (image[:, 1] < 1.3)).float().mean())

    assert covered(10) > covered(0) + 0.02


def test_disagreement_of_readers_is_kept_in_the_patches():
    base = crop()
    target = base.target.clone()
    target[9:11, 11:19] = 0.25
    soft = Scan("crop_1", base.image, target, base.spacing, base.usable)
    _, labels = sampler([soft], []).batch(8)
    shares = labels[(labels > 0.2) & (labels < 0.3)]
    assert len(shares) > 0
    assert labels.max() == 1
