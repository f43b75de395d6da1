"""Agreement of a model and of readers, against manually calculated Dice."""

import nibabel
import numpy as np
import pytest

from lib.evaluation.metrics import SIZES_MM, size_title
from lib.evaluation.reader_comparison import compare_with_readers
from lib.evaluation.readers import agreement_with_readers
from lib.evaluation.truth import read_truth

SHAPE = (30, 4, 4)


def bar(start, stop):
    """Return a mask of whole slabs, so that Dice can be calculated from the numbers of slabs."""
    mask = np.zeros(SHAPE, bool)
    mask[start:stop] = True
    return mask


def readers(*spans):
    return np.stack([bar(*span) for span in spans], axis=-1)


def test_three_readers():
    # Consensus of all: 0-10. Of the others: 0-10, 0-10 and, as half of two is enough, 0-10 and 0-20.
    one = agreement_with_readers(bar(0, 5), readers((0, 10), (0, 10), (0, 20)), voxel_mm3=2.0)
    assert one.readers == 3
    assert one.model == pytest.approx(2 * 5 / 15)
    left_out = [(10, 20), (10, 20), (20, 10)]  # slabs of the reader and of the consensus of the others
    assert one.reader == pytest.approx(np.mean([2 * min(pair) / sum(pair) for pair in left_out]))
    assert one.model_with_others == pytest.approx(np.mean([2 * 5 / 25, 2 * 5 / 25, 2 * 5 / 15]))
    assert one.pairs == pytest.approx(np.mean([1, 2 * 10 / 30, 2 * 10 / 30]))
    assert one.difference == pytest.approx(one.model - one.reader)
    assert one.difference_with_others == pytest.approx(one.model_with_others - one.reader)
    assert one.diameter_mm == pytest.approx((6 * 10 * 16 * 2 / np.pi) ** (1 / 3))


def test_a_reader_is_not_compared_with_the_own_outline():
    one = agreement_with_readers(bar(0, 10), readers((0, 10), (20, 30), (20, 30), (20, 30)), 1.0)
    assert one.reader == pytest.approx(3 / 4)  # 0 of the first; with the others' consensus the rest agree fully
    assert one.model == 0


def test_two_readers_are_compared_with_each_other_only():
    one = agreement_with_readers(bar(0, 12), readers((0, 10), (5, 15)), 1.0)
    assert one.pairs == pytest.approx(0.5)
    assert one.model == pytest.approx(2 * 12 / 27)  # what half of two readers marked is what any of them did
    assert one.reader is one.model_with_others is one.difference is one.difference_with_others is None


@pytest.mark.parametrize("masks", [readers((0, 10)), readers((0, 5), (10, 15), (20, 25)), readers((0, 0), (0, 0))])
def test_nothing_to_compare_with(masks):
    assert agreement_with_readers(bar(0, 10), masks, 1.0) is None


def test_a_finding_elsewhere_lowers_the_agreement_of_the_model():
    one = agreement_with_readers(bar(0, 10) | bar(20, 30), readers((0, 10), (0, 10), (0, 10)), 1.0)
    assert (one.model, one.reader, one.pairs) == (pytest.approx(2 / 3), 1, 1)


def test_readers_of_a_file(tmp_path):
    """A mask with a fourth axis has the readers along it; one without is a single reader."""
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    for name, voxels in {
        "image": np.zeros(SHAPE, np.int16),
        "several": readers((0, 10), (0, 10), (0, 20)).astype(np.uint8),
        "single": bar(0, 10).astype(np.uint8),
    }.items():
        nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / f"{name}.nii.gz")
    several, single = (read_truth(tmp_path / "image.nii.gz", tmp_path / f"{n}.nii.gz") for n in ("several", "single"))
    assert several.readers.shape == (*SHAPE, 3) and single.readers.shape == (*SHAPE, 1)
    assert np.array_equal(several.mask, single.mask)
    assert several.voxel_mm3 == 2


def test_readers_of_lidc_agree_as_published_with_the_data(shared_data):
    """The table in the README of the data, recalculated from the outlines; the model is the first reader."""
    folder = shared_data / "lidc-nodules"
    if not (folder / "readers").is_dir():
        pytest.skip("SKIPPED: no outlines of the readers in ../shared/data/lidc-nodules/readers")
    agreements = []
    for path in sorted((folder / "readers").iterdir()):
        truth = read_truth(folder / "images" / path.name, path)
        agreements.append(agreement_with_readers(truth.readers[..., 0], truth.readers, truth.voxel_mm3))
    agreements = [one for one in agreements if one.readers >= 3]
    rows = {row["class"]: row for row in compare_with_readers(agreements, range(774), [None] * 774)}
    titles = ["all", *(size_title(*limits) for limits in SIZES_MM)]
    assert [rows[title]["images"] for title in titles] == [774, 296, 275, 172, 31]
    reader, pairs = ([rows[title][measure]["mean"] for title in titles] for measure in ("reader", "pairs"))
    assert reader == pytest.approx([0.787, 0.750, 0.794, 0.829, 0.841], abs=0.005)
    assert pairs == pytest.approx([0.759, 0.725, 0.766, 0.797, 0.817], abs=0.005)
