"""C4: metadata sent by a client never overwrites what the server found out, and breaks no reader."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from lib.cli.labels import _line
from lib.datastore.label_clicks import first_clicks
from lib.datastore.label_info import flattened, info_of_submission, info_with_note
from lib.datastore.label_measurements import measurements_of
from lib.datastore.label_record import LabelRecord
from lib.datastore.opening import open_datastore
from lib.errors import UserError
from lib.exports.case_table import size_of_lesions
from lib.exports.label_exports import LabelExports
from lib.exports.lesion_table import as_csv
from lib.exports.provenance import Provenance
from lib.exports.seg_storage import SegStorage
from lib.geometry.voxel_grid import VoxelGrid
from lib.initial_labels.initial_labels import InitialLabels
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import Settings

GRID = Acquisition(shape=(4, 16, 16), spacing=(2.5, 1, 1))
FACTS = {
    "changes": {"x": 1},
    "sha256": "0" * 64,
    "voxels": -1,
    "grid": "other",
    "size": [1],
    "settings": "none",
    "number": 99,
    "time": 0,
    "user": "somebody else",
    "source": {"uid": "1.2"},
    "slices": 3,
    "restored": 1,
    "dicom_seg": {},
    "noted_by": "somebody else",
    "last_lesion_number": 99,
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("facts")
    write_dicom_series(folder / "dicom", np.zeros(GRID.shape, np.int16), GRID.affine, patient_id="P")
    return Settings.from_conf(str(folder / "dicom"), {"workspace": str(folder / "workspace")})


@pytest.fixture
def labelled(settings, tmp_path):
    datastore = open_datastore(settings)
    datastore.client.scan()
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1, 2, 3] = 1
    mask.tofile(tmp_path / "label.bin")
    (image,) = datastore.list_images()
    info = {**info_of_submission({**FACTS, "note": "n", "seen": "yes"}), "user": "ada"}
    datastore.save_label(image, str(tmp_path / "label.bin"), "final", info)
    return datastore, image


def test_c4_params_sent_with_a_label_do_not_overwrite_facts(labelled):
    datastore, image = labelled
    info = datastore.labels.latest(image, "final").info
    assert (info["voxels"], info["changes"], info["user"], info["note"]) == (1, None, "ada", "n")
    assert info["grid"] != "other"
    assert info["last_lesion_number"] == 1
    assert not {"source", "slices", "restored", "settings", "number", "time"} & info.keys()
    assert info["client"]["changes"] == {"x": 1}, "what the client sent is kept"
    assert flattened(info)["seen"] == "yes"
    assert flattened(info)["voxels"] == 1


@pytest.mark.parametrize("name", [*FACTS, "model_version", "client"])
def test_c4_note_does_not_overwrite_facts(labelled, name):
    datastore, image = labelled
    before = datastore.labels.latest(image, "final").info
    datastore.note_label(image, "final", {name: FACTS.get(name, "x"), "annotator": "Bob"}, "bob")
    after = datastore.labels.latest(image, "final").info
    differing = {key for key in after.keys() | before.keys() if after.get(key) != before.get(key)}
    assert differing <= {"annotator", "noted_by", "client"}
    assert (after["annotator"], after["noted_by"]) == ("Bob", "bob")
    datastore.update_label_info(image, "final", {"second": 2})
    assert {name, "second"} <= datastore.labels.latest(image, "final").info["client"].keys()


def test_c4_values_of_wrong_type_are_stored_as_client_data():
    said = info_of_submission({"annotator": {"a": 1}, "note": 5, "model_version": ["v"], "client_id": "x" * 10**5})
    assert said.keys() == {"client"}
    assert info_with_note({"client": {"client": 1}}, {"client": "junk"}) == {"client": {"client": {"client": 1}}}


BAD = [{"x": 1}, [], "text", 7, {"added": "1", "removed": 0, "kept": 0}, {"added": -1, "removed": 0, "kept": 0}, None]


@pytest.mark.parametrize("changes", BAD, ids=str)
def test_c4_malformed_records_do_not_break_readers(labelled, changes):
    datastore, image = labelled
    bad = {"changes": changes, "model_version": 5, "annotator": ["x"], "source": [], "voxels": None}
    datastore.labels.update_info(image, "final", lambda known: bad)
    record = datastore.labels.latest(image, "final")
    provenance = Provenance.of_label(record)
    assert (provenance.algorithm_type, provenance.model_version, provenance.author) == ("SEMIAUTOMATIC", "5", "ada")
    assert "its prediction is not known" in _line(record, in_use=True)
    exports = LabelExports(datastore, datastore._settings.info)
    SegStorage(datastore, exports, to_pacs=False).store_missing()
    assert "sop_instance_uid" in datastore.labels.latest(image, "final").dicom_seg
    assert exports.lesions(record)[0]["algorithm_type"] == "SEMIAUTOMATIC"
    InitialLabels(datastore, datastore._settings.info["imports"]).read_new_objects()


def test_c4_record_without_a_model_is_manual():
    assert (
        Provenance.of_label(LabelRecord("1.2", 1, "final", 0.0, "a", {"changes": {"x": 1}})).algorithm_type == "MANUAL"
    )


CLICK = {"lesion": 1, "kind": "foreground", "points": [[1, 2, 3]], "model_version": "pretrained"}


def test_clicks_are_a_field_of_the_label():
    box = {**CLICK, "kind": "box", "points": [[1, 2, 3], [4, 5, 6]]}
    assert info_of_submission({"clicks": [CLICK, box]}) == {"clicks": [CLICK, box]}


def test_first_click_on_each_lesion():
    def click(lesion, kind, *points):
        return {**CLICK, "lesion": lesion, "kind": kind, "points": [*points]}

    clicks = [
        click(1, "foreground", [1, 2, 3]),
        click(2, "scribble", [4, 4, 4], [5, 5, 5]),
        click(1, "foreground", [2, 2, 3]),
        click(2, "foreground", [6, 6, 6]),
        click(3, "foreground", [7, 8, 9]),
        click(3, "background", [0, 0, 0]),
    ]
    assert first_clicks({"clicks": clicks}) == [[1, 2, 3], [7, 8, 9]]
    assert first_clicks({}) == first_clicks({"clicks": "many"}) == first_clicks({"client": {"clicks": clicks}}) == []


@pytest.mark.parametrize(
    "clicks",
    [
        "many",
        [3],
        [{}],
        [{**CLICK, "lesion": 0}],
        [{**CLICK, "lesion": True}],
        [{**CLICK, "kind": "lasso"}],
        [{**CLICK, "kind": []}],
        [{**CLICK, "points": []}],
        [{**CLICK, "points": [[1, 2]]}],
        [{**CLICK, "points": [[1, 2, -3]]}],
        [{**CLICK, "points": [[1, 2, 3.5]]}],
        [{**CLICK, "points": [[1, 2, 10**400]]}],
        [{**CLICK, "points": [[1, 2, 3]] * 10_001}],
        [{**CLICK, "model_version": None}],
        [{**CLICK, "other": 1}],
    ],
)
def test_what_is_no_list_of_clicks_is_kept_apart(clicks):
    assert info_of_submission({"clicks": clicks}) == {"client": {"clicks": clicks}}


LESION = {"voxel": [1, 2, 3], "state": "rejected", "confidence": 0.3, "note": "vessel"}
LENGTH = {"kind": "length", "plane": "axial", "points": [[1.5, -2, 3], [4, 5, 6]]}
AXES = {"kind": "bidirectional", "plane": "coronal", "points": [[0, 0, 0], [9, 0, 0], [4, 0, -2], [4, 0, 2]]}
NOT_MEASUREMENTS = [
    {},
    [LENGTH] * 201,
    [{**LENGTH, "kind": "angle"}],
    [{**LENGTH, "kind": ["length"]}],
    [{**LENGTH, "kind": "bidirectional"}],
    [{**LENGTH, "plane": "oblique"}],
    [{**LENGTH, "points": [[1, 2, 3], [1, 2, 3]]}],
    [{**LENGTH, "points": [[1, 2, 3], [4, 5]]}],
    [{**LENGTH, "points": [[1, 2, 3], [4, 5, float("inf")]]}],
    [{**LENGTH, "points": [[1, 2, 3], [4, 5, float("nan")]]}],
    [{**LENGTH, "points": [[1, 2, 3], [4, 5, 1e300]]}],
    [{**LENGTH, "points": [[1, 2, 3], [4, 5, 10**400]]}],
    [{**LENGTH, "points": [[1, 2, 3], [4, 5, True]]}],
    [{**LENGTH, "mm": 3}],
]


def test_what_a_reader_measured_is_kept_in_mm():
    assert info_of_submission({"measurements": [LENGTH, AXES]}) == {"measurements": [LENGTH, AXES]}
    length, axes = measurements_of([LENGTH, {**AXES, "points": AXES["points"][2:] + AXES["points"][:2]}])
    assert length.lengths == pytest.approx([np.sqrt(2.5**2 + 7**2 + 3**2)])
    assert axes.lengths == [9, 4], "the long axis comes first"


@pytest.mark.parametrize("measurements", NOT_MEASUREMENTS, ids=range(len(NOT_MEASUREMENTS)))
def test_malformed_measurements_are_stored_as_client_data(measurements):
    assert info_of_submission({"measurements": measurements}) == {"client": {"measurements": measurements}}
    assert measurements_of(measurements) == []


def test_a_measurement_outside_of_the_image_is_refused(labelled, tmp_path):
    datastore, image = labelled
    grid = VoxelGrid.from_file(Path(datastore.get_image_uri(image)))
    inside = {**LENGTH, "points": grid.to_mm(np.array([[-0.5, 2, 1], [15.5, 2, 1]])).tolist()}
    outside = {**LENGTH, "points": grid.to_mm(np.array([[3, 2, 1], [18, 2, 1]])).tolist()}
    label = str(tmp_path / "label.bin")
    datastore.save_label(image, label, "final", {"measurements": [inside]})
    with pytest.raises(UserError, match=r"Measurement 2 of 2 .* is not inside"):
        datastore.save_label(image, label, "final", {"measurements": [inside, outside]})
    record = datastore.labels.latest(image, "final")
    assert record.info["measurements"] == [inside]


def test_the_lesion_table_says_what_the_reader_said_and_measured(labelled, tmp_path):
    """And it lists what was rejected, and a measurement beside all lesions, which have no voxels."""
    datastore, image = labelled
    grid = VoxelGrid.from_file(Path(datastore.get_image_uri(image)))
    info = {
        "lesions": [{**LESION, "voxel": [3, 2, 1], "state": "added", "texture": "solid"}, LESION],
        "measurements": [
            {**LENGTH, "points": grid.to_mm(np.array(line)).tolist()}
            for line in ([[2, 2, 1], [4, 2, 1]], [[9, 9, 1], [9, 12, 1]])
        ],
    }
    datastore.save_label(image, str(tmp_path / "label.bin"), "final", info)
    record = datastore.labels.latest(image, "final")
    lesion, rejected, beside = rows = LabelExports(datastore, datastore._settings.info).lesions(record)[1]
    assert size_of_lesions(rows)["lesions"] == 1
    assert (lesion.number, lesion.tracking_uid) == (1, record.info["lesion_numbers"][0]["uid"])
    assert (lesion.state, lesion.texture, lesion.note) == ("added", "solid", "vessel")
    assert (lesion.ruler_long_mm, lesion.ruler_short_mm) == (2, None)
    assert (rejected.state, rejected.confidence, rejected.note, rejected.number) == ("rejected", 0.3, "vessel", 0)
    assert [rejected.x_mm, rejected.y_mm, rejected.z_mm] == grid.to_mm(np.array(LESION["voxel"])).tolist()
    assert (beside.state, beside.ruler_long_mm) == ("measured", 3)
    assert [row.slice for row in rows] == [2, LESION["voxel"][2] + 1, 2]
    (row,) = [one for one in csv.DictReader(io.StringIO(as_csv([({}, [lesion, rejected])]))) if one["number"] == "0"]
    assert (row["state"], row["voxels"], row["volume_mm3"]) == ("rejected", "", "")


def test_what_was_rejected_or_clicked_in_a_label_that_is_not_used_any_more_is_unknown(labelled, tmp_path):
    """A training reads it hours after it has listed the labels."""
    datastore, image = labelled
    datastore.save_label(image, str(tmp_path / "label.bin"), "final", {"lesions": [LESION], "clicks": [CLICK]})
    assert datastore.rejected(image) == [(1, 2, 3)]
    assert datastore.first_clicks(image) == [[1, 2, 3]]
    datastore.labels.withdraw(image, "final")
    assert datastore.rejected(image) == datastore.first_clicks(image) == []


NOT_LESIONS = [
    {},
    [LESION] * 501,
    [{**LESION, "state": "unknown"}],
    [{**LESION, "voxel": [1, 2]}],
    [{**LESION, "voxel": [1, 2, -3]}],
    [{**LESION, "voxel": [1, 2, True]}],
    [{**LESION, "voxel": [1, 2, 10**400]}],
    [{**LESION, "confidence": 1.5}],
    [{**LESION, "confidence": "high"}],
    [{**LESION, "note": None}],
    [{**LESION, "note": "x" * 1001}],
    [{**LESION, "more": 1}],
    [{**LESION, "texture": "soft"}],
]


def test_what_the_reader_says_about_findings_is_kept():
    lesions = [LESION, {**LESION, "state": "added", "confidence": None, "texture": "part_solid"}]
    assert info_of_submission({"lesions": lesions}) == {"lesions": lesions}


@pytest.mark.parametrize("lesions", NOT_LESIONS, ids=range(len(NOT_LESIONS)))
def test_malformed_lesions_are_stored_as_client_data(lesions):
    assert info_of_submission({"lesions": lesions}) == {"client": {"lesions": lesions}}
