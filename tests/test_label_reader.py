"""Labels of any file type and axis order are mapped exactly onto the voxels of their image, or refused."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lib.datastore.label_reader import read_label
from lib.datastore.volume import write_mask
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.phantoms import Acquisition

SIZE = (14, 11, 8)
LABELS = {"lung_tumor": 1}


@pytest.fixture(params=["head_first_supine", "feet_first_supine", "sagittal"])
def image(request) -> sitk.Image:
    acquisition = Acquisition(shape=SIZE[::-1], spacing=(2.5, 0.8, 0.7), plane=request.param, oblique_degrees=1)
    image = sitk.Image(SIZE, sitk.sitkInt16)
    affine = acquisition.affine
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(np.linalg.norm(affine[:3, :3], axis=0).tolist())
    image.SetDirection((affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).ravel().tolist())
    return image


@pytest.fixture
def image_path(image, tmp_path) -> Path:
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    return tmp_path / "image.nrrd"


@pytest.fixture
def label(image) -> sitk.Image:
    array = np.zeros(SIZE[::-1], np.uint8)
    array[1:3, 2:6, 3:4] = 1
    array[6, 9, 12] = 1
    label = sitk.GetImageFromArray(array)
    label.CopyInformation(image)
    return label


def is_same_image(found: sitk.Image, expected: sitk.Image) -> bool:
    return found.GetPixelID() == sitk.sitkUInt8 and np.array_equal(
        sitk.GetArrayViewFromImage(found), sitk.GetArrayViewFromImage(expected)
    )


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"])
def test_reads_every_file_type(label, image_path, tmp_path, suffix):
    path = tmp_path / f"label{suffix}"
    sitk.WriteImage(label, str(path))
    assert is_same_image(read_label(path, image_path, LABELS), label)


def test_reads_raw_bytes_of_ohif(label, image_path, tmp_path):
    path = tmp_path / "label.bin"
    sitk.GetArrayFromImage(label).tofile(path)
    assert is_same_image(read_label(path, image_path, LABELS), label)


def test_axes_in_another_order_or_direction(label, image_path, tmp_path):
    turned = sitk.PermuteAxes(sitk.Flip(label, [True, False, True]), [2, 0, 1])
    assert turned.GetSize() != label.GetSize()
    path = tmp_path / "turned.nrrd"
    sitk.WriteImage(turned, str(path))
    assert is_same_image(read_label(path, image_path, LABELS), label)


def test_segment_cropped_to_its_extent(label, image_path, tmp_path):
    path = tmp_path / "cropped.seg.nrrd"
    sitk.WriteImage(label[2:14, 1:11, 1:7], str(path))
    assert is_same_image(read_label(path, image_path, LABELS), label)


def test_floats_with_integer_values_are_accepted(label, image_path, tmp_path):
    path = tmp_path / "float.nii.gz"
    sitk.WriteImage(sitk.Cast(label, sitk.sitkFloat32), str(path))
    assert is_same_image(read_label(path, image_path, LABELS), label)


@pytest.fixture
def tilted(tmp_path) -> tuple[sitk.Image, Path]:
    """Return a label of a tilted scan with square slices and pixels, and the path of its image."""
    direction = np.eye(3)
    direction[:, 2] = 0, np.sin(np.radians(18)), np.cos(np.radians(18))
    grid = VoxelGrid.from_geometry((12, 12, 8), (-5, -7, 30), (0.8, 0.8, 2.5), direction)
    sitk.WriteImage(grid.image(np.zeros(grid.shape, np.int16)), str(tmp_path / "tilted.nrrd"))
    return grid.mask(np.random.default_rng(0).random(grid.shape) < 0.2), tmp_path / "tilted.nrrd"


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_label_of_a_tilted_scan_may_have_the_box_of_its_grid(tilted, tmp_path, suffix):
    label, image_path = tilted
    write_mask(label, tmp_path / f"label{suffix}", True)
    assert is_same_image(read_label(tmp_path / f"label{suffix}", image_path, LABELS), label)


def test_axes_of_a_tilted_scan_in_another_order(tilted, tmp_path):
    label, image_path = tilted
    turned = sitk.PermuteAxes(label, [1, 0, 2])
    assert (turned.GetSize(), turned.GetSpacing(), turned.GetOrigin()) == (
        label.GetSize(),
        label.GetSpacing(),
        label.GetOrigin(),
    )
    sitk.WriteImage(turned, str(tmp_path / "turned.nrrd"))
    assert is_same_image(read_label(tmp_path / "turned.nrrd", image_path, LABELS), label)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_mirrored_label_of_a_tilted_scan_is_refused(tilted, tmp_path, axis):
    label, image_path = tilted
    direction = np.array(label.GetDirection()).reshape(3, 3)
    direction[axis] *= -1
    label.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(label, str(tmp_path / "mirrored.nrrd"))
    with pytest.raises(UserError, match=r"not on the voxel grid|beyond the image"):
        read_label(tmp_path / "mirrored.nrrd", image_path, LABELS)


def shifted(label: sitk.Image) -> sitk.Image:
    label.SetOrigin([value + 0.4 for value in label.GetOrigin()])
    return label


def coarser(label: sitk.Image) -> sitk.Image:
    return sitk.Shrink(label, [2, 2, 1])


def outside(label: sitk.Image) -> sitk.Image:
    label.SetOrigin(label.TransformIndexToPhysicalPoint((3, 0, 0)))
    return label


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (shifted, "is not on the voxel grid"),
        (coarser, "is not on the voxel grid"),
        (outside, "extends beyond"),
        (lambda label: label * 7, r"values \[7\]"),
        (lambda label: sitk.Cast(label, sitk.sitkFloat32) * 0.5, r"values \[0.5\]"),
        (lambda label: sitk.Compose(label, label), "one three-dimensional volume"),
        (lambda label: label[:, :, 0], "one three-dimensional volume"),
    ],
)
def test_label_of_another_image_is_refused(label, image_path, tmp_path, change, sentence):
    path = tmp_path / "label.nrrd"
    sitk.WriteImage(change(label), str(path))
    with pytest.raises(UserError, match=sentence):
        read_label(path, image_path, LABELS)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("label.bin", b"\x01" * 10, "10 voxels; the image has 14×11×8"),
        ("label.nii.gz", b"junk", "cannot be read"),
        ("label.txt", b"junk", "must be .nii.gz"),
    ],
)
def test_unreadable_file_is_refused(image_path, tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_label(tmp_path / name, image_path, LABELS)


def test_s9_raw_bytes_of_another_size_are_not_read(image_path, tmp_path, monkeypatch):
    """S9: a large file that cannot be a label of this image is never loaded into memory."""
    path = tmp_path / "label.bin"
    with path.open("wb") as file:
        file.truncate(3 << 30)  # sparse file
    monkeypatch.setattr(np, "fromfile", lambda *_, **__: pytest.fail("the file was read"))
    with pytest.raises(UserError, match="3221225472 voxels; the image has"):
        read_label(path, image_path, LABELS)
