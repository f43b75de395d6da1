"""Labels are identified by the names of their segments, as written and sent by 3D Slicer and its MONAI Label module."""

from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk

from lib.datastore.label_names import label_value, values_by_label_info
from lib.datastore.label_reader import read_label
from lib.errors import UserError

LABELS = {"lung_tumor": 1, "lymph_node": 2}
SHAPE = (6, 9, 12)


@pytest.fixture
def image_path(tmp_path) -> Path:
    image = sitk.Image(SHAPE[::-1], sitk.sitkInt16)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-10, -20, -30))
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    return tmp_path / "image.nrrd"


def box(low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = 1
    return mask


TUMOR, NODE = box((1, 2, 3), (3, 5, 5)), box((4, 1, 8), (5, 4, 11))


def seg_nrrd(path: Path, layers: list[np.ndarray], segments: list[dict[str, object]]) -> Path:
    """Write a segmentation as 3D Slicer 5 does: columns first, one component for each layer."""
    header = {
        "space": "left-posterior-superior",
        "kinds": ["domain"] * 3,
        "space directions": np.diag([0.7, 0.8, 2.5]),
        "space origin": [-10, -20, -30],
    }
    pixels = layers[0].transpose()
    if len(layers) > 1:
        pixels = np.stack([layer.transpose() for layer in layers])
        header["kinds"] = ["list", *header["kinds"]]
        header["space directions"] = np.vstack([[np.nan] * 3, header["space directions"]])
    for number, segment in enumerate(segments):
        header.update({f"Segment{number}_{key}": str(value) for key, value in segment.items()})
    nrrd.write(str(path), pixels, header)
    return path


def found(path: Path, image_path: Path, **sent) -> np.ndarray:
    return sitk.GetArrayFromImage(read_label(path, image_path, LABELS, **sent))


def test_header_assigns_values_to_labels(image_path, tmp_path):
    segments = [
        {"Name": "Lymph node", "Layer": 0, "LabelValue": 1},
        {"Name": "Lung Tumour", "Layer": 0, "LabelValue": 7},
        {"Name": "Segment_3", "Layer": 0, "LabelValue": 3},  # segment without voxels
    ]
    path = seg_nrrd(tmp_path / "a.seg.nrrd", [7 * TUMOR + NODE], segments)
    wrong = [{"name": "lung_tumor", "idx": 1}]
    assert np.array_equal(found(path, image_path, label_info=wrong), TUMOR + 2 * NODE)


def test_overlapping_segments_are_in_layers(image_path, tmp_path):
    both = NODE | box((4, 1, 6), (5, 3, 9))
    segments = [
        {"Name": "lung_tumor", "Layer": 0, "LabelValue": 1},
        {"Name": "lymph_node", "Layer": 1, "LabelValue": 1},
        {"Name": "background_scribbles", "Layer": 1, "LabelValue": 2},
    ]
    layers = [TUMOR | both, NODE + 2 * box((0, 0, 0), (1, 3, 3))]
    expected = np.where(NODE, 2, TUMOR | both)
    assert np.array_equal(found(seg_nrrd(tmp_path / "a.seg.nrrd", layers, segments), image_path), expected)


def test_older_files_have_a_layer_for_each_segment(image_path, tmp_path):
    path = seg_nrrd(tmp_path / "a.seg.nrrd", [NODE, TUMOR], [{"Name": "lymph_node"}, {"Name": "lung_tumor"}])
    assert np.array_equal(found(path, image_path), TUMOR + 2 * NODE)


@pytest.mark.parametrize(
    ("layers", "segments", "sentence"),
    [
        ([TUMOR], [{"Name": "Segment_1"}], "'Segment_1'.*(lung_tumor, lymph_node)"),
        ([TUMOR + 3 * NODE], [{"Name": "lung_tumor"}], "belong to no segment"),
        ([TUMOR], [{"Name": "lung_tumor", "Layer": 1}], "in layer 1; the file has 1"),
        ([TUMOR], [{"Name": "lung_tumor", "LabelValue": "one"}], "not an integer: 'one'"),
        ([TUMOR, NODE], [], "must name its segments"),
    ],
)
def test_unknown_names_are_refused(image_path, tmp_path, layers, segments, sentence):
    with pytest.raises(UserError, match=sentence):
        found(seg_nrrd(tmp_path / "a.seg.nrrd", layers, segments), image_path)


def test_label_info_assigns_values_of_a_file_without_names(image_path, tmp_path):
    path = tmp_path / "label.nii.gz"
    label = sitk.GetImageFromArray(2 * TUMOR + NODE)
    label.CopyInformation(sitk.ReadImage(str(image_path)))
    sitk.WriteImage(label, str(path))
    info = [{"name": "Lymph Node", "idx": 1}, {"name": "Lung tumor", "idx": 2}]
    assert np.array_equal(found(path, image_path, label_info=info), TUMOR + 2 * NODE)
    assert np.array_equal(found(path, image_path), 2 * TUMOR + NODE)


@pytest.mark.parametrize(
    ("info", "values", "expected"),
    [
        ([{"name": "lung_tumor"}], [1], {1: 1}),
        ([{"name": "lung_tumor", "idx": 3}], [3], {3: 1}),
        # Slicer counted a helper segment in idx, but omitted it from the file:
        ([{"name": "lung_tumor", "idx": 2}], [1], {1: 1}),
        ([{"name": "lymph_node", "idx": 2}, {"name": "lung_tumor", "idx": 3}], [1, 2], {1: 2, 2: 1}),
        ([{"name": "vessel", "idx": 1}, {"name": "lung_tumor", "idx": 2}], [2], {2: 1}),
    ],
)
def test_label_info_is_matched_by_idx_or_order(info, values, expected):
    assert values_by_label_info(info, values, LABELS) == expected


@pytest.mark.parametrize(
    ("info", "values", "sentence"),
    [
        (
            [{"name": "lymph_node", "idx": 2}, {"name": "lung_tumor", "idx": 3}],
            [2],
            "idx and its order assign different names",
        ),
        ([{"name": "vessel", "idx": 1}], [1], "'vessel'"),
        ([{"name": "lung_tumor", "idx": 1}], [4], "names only"),
        ({"lung_tumor": 1}, [1], "must be a list"),
        ([{"idx": 1}], [1], "must be a list"),
        ([{"name": "lung_tumor", "idx": [1]}], [1], "must be a list"),
    ],
)
def test_inconsistent_label_info_is_refused(info, values, sentence):
    with pytest.raises(UserError, match=sentence):
        values_by_label_info(info, values, LABELS)


@pytest.mark.parametrize("name", ["lung_tumor", "Lung tumor", "LUNG-TUMOUR", " lung  tumor "])
def test_spelling_variants_are_accepted(name):
    assert label_value(name, LABELS) == 1


@pytest.mark.parametrize("name", ["tumor", "lung", "lung_tumor_2", "lungtumors", ""])
def test_other_names_are_refused(name):
    with pytest.raises(UserError, match="not a label of this app"):
        label_value(name, LABELS)
