"""``python main.py import msd`` on a tiny set in the layout of the Medical Segmentation Decathlon."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from lib.public_sets import msd
from tests.support.imports import content, corner, ct, labelled_cases, marked_points, open_workspace, write_msd

pytestmark = pytest.mark.slow


def test_cases_are_imported_at_their_positions_in_mm(run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Task06_Lung"), tmp_path / "workspace"
    before = content(source)
    said = run_import("msd", source, "--workspace", workspace)
    assert "3 labelled; 0 failed" in said and f"make run STUDIES={source}" in said
    assert content(source) == before
    cases = labelled_cases(source, workspace)
    assert sorted(cases) == ["lung_001", "lung_002", "lung_003"]
    for name, case in cases.items():
        expected = marked_points(source / f"labelsTr/{name}.nii.gz")
        assert len(expected) > 6
        np.testing.assert_allclose(marked_points(case["label"]), expected, atol=1e-3)
        assert case["info"]["viewer"] == "import"
        assert case["info"]["import"]["file"] == f"labelsTr/{name}.nii.gz"
        assert case["info"]["import"]["regions"] == ["cancer"]
    datastore = open_workspace(source, workspace)
    assert len(datastore.get_unlabeled_images()) == 1  # the case in imagesTs


def test_r4_empty_mask_creates_no_label(run_import, tmp_path):
    """R4: an import never creates a final label without voxels, and replaces one that an earlier version created."""
    source, workspace = write_msd(tmp_path / "Task06_Lung"), tmp_path / "workspace"
    path = source / "labelsTr/lung_002.nii.gz"
    label = sitk.ReadImage(str(path))
    sitk.WriteImage(label * 0, str(path))
    said = run_import("msd", source, "--workspace", workspace)
    assert "2 labelled; 1 nothing marked, left without a label; 0 failed" in said
    assert sorted(labelled_cases(source, workspace)) == ["lung_001", "lung_003"]
    sitk.WriteImage(label, str(path))
    assert "2 there already; 1 labelled" in run_import("msd", source, "--workspace", workspace)
    datastore, image = open_workspace(source, workspace), labelled_cases(source, workspace)["lung_002"]["image_id"]
    datastore.labels.update_info(image, "final", lambda known: {"voxels": 0})
    assert "2 there already; 1 labelled" in run_import("msd", source, "--workspace", workspace)


def test_imported_cases_count_as_labelled(run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Task06_Lung"), tmp_path / "workspace"
    run_import("msd", source, "--workspace", workspace)
    status = open_workspace(source, workspace).status()
    assert (status["completed"], status["total"], status["label_tags"]) == (3, 4, {"final": 3})


def test_second_run_imports_only_the_rest(run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Task06_Lung"), tmp_path / "workspace"
    assert "2 labelled; 0 failed" in run_import("msd", source, "--workspace", workspace, "--limit", 2)
    assert "2 there already; 1 labelled; 0 failed" in run_import("msd", source, "--workspace", workspace)
    labels = content(workspace / "labels")
    assert "3 there already; 0 failed" in run_import("msd", source, "--workspace", workspace)
    assert content(workspace / "labels") == labels
    changed = corner(sitk.ReadImage(str(source / "imagesTr/lung_002.nii.gz")), 9)
    sitk.WriteImage(changed, str(source / "labelsTr/lung_002.nii.gz"))
    assert "1 labelled" in run_import("msd", source, "--workspace", workspace)
    assert len(marked_points(labelled_cases(source, workspace)["lung_002"]["label"])) == 13


def test_later_work_of_a_user_is_not_overwritten(run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Task06_Lung"), tmp_path / "workspace"
    run_import("msd", source, "--workspace", workspace)
    datastore, cases = open_workspace(source, workspace), labelled_cases(source, workspace)
    corrected, withdrawn = cases["lung_001"]["image_id"], cases["lung_002"]["image_id"]
    sitk.WriteImage(corner(ct(1), 8), str(tmp_path / "corrected.nii.gz"))
    datastore.save_label(corrected, str(tmp_path / "corrected.nii.gz"), "final", {"annotator": "Ada"})
    datastore.remove_label(withdrawn, "final")
    for name in ("lung_001", "lung_002"):  # the set has changed as well
        sitk.WriteImage(corner(ct(1), 9), str(source / f"labelsTr/{name}.nii.gz"))
    for dry_run in (["--dry-run"], []):
        said = run_import("msd", source, "--workspace", workspace, *dry_run)
        assert "1 left as a person labelled it; 1 left as a person withdrew its label; 1 there already" in said
    after = labelled_cases(source, workspace)
    assert after["lung_001"]["info"]["annotator"] == "Ada"
    assert "lung_002" not in after


def test_dry_run_writes_nothing(run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Task06_Lung"), tmp_path / "workspace"
    before = content(tmp_path)
    said = run_import("msd", source, "--workspace", workspace, "--dry-run")
    assert "3 would be labelled; 0 failed" in said and "Nothing was written" in said
    assert content(tmp_path) == before
    run_import("msd", source, "--workspace", workspace, "--limit", 1)
    before = content(tmp_path)
    said = run_import("msd", source, "--workspace", workspace, "--dry-run")
    assert "1 there already; 2 would be labelled" in said
    assert content(tmp_path) == before


def test_invalid_case_is_reported_and_others_are_imported(run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Task06_Lung", 5), tmp_path / "workspace"
    (source / "imagesTr/lung_001.nii.gz").unlink()
    (source / "labelsTr/lung_002.nii.gz").write_bytes(b"junk")
    sitk.WriteImage(corner(ct(3, (6, 20, 25))), str(source / "labelsTr/lung_003.nii.gz"))
    (source / "imagesTr/lung_004.nii.gz").write_bytes(b"junk")
    for arguments in ([], ["--dry-run"]):
        said = run_import("msd", source, "--workspace", workspace, *arguments, status=1)
        assert "dataset.json says 5 labelled images; 4 are here" in said and "4 failed" in said
        for name in ("lung_001", "lung_002", "lung_003", "lung_004"):
            assert f"  failed  {name}: " in said
    assert list(labelled_cases(source, workspace)) == ["lung_005"]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0, 255], "lung_001.nii.gz has the values [255]; dataset.json knows [0, 1]"),
        ([0.0, 0.7], "has the values [0.69999"),
        ([7, 1], "has the values [7]"),
    ],
)
def test_label_with_values_that_dataset_json_does_not_know_is_not_taken_for_empty(values, reason, run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Task06_Lung", 2), tmp_path / "workspace"
    path = source / "labelsTr/lung_001.nii.gz"
    former = nibabel.load(path)
    dtype = np.float32 if isinstance(values[1], float) else np.uint8
    nibabel.save(nibabel.Nifti1Image(np.array(values, dtype)[np.asarray(former.dataobj)], former.affine), path)
    said = run_import("msd", source, "--workspace", workspace, status=1)
    assert reason in said and "1 labelled; 1 failed" in said


def test_label_with_a_slope_is_read_as_whole_numbers(run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Task06_Lung", 1), tmp_path / "workspace"
    path = source / "labelsTr/lung_001.nii.gz"
    former = nibabel.load(path)
    values = np.asarray(former.dataobj).astype(np.float32) * np.float32(0.9999999)
    nibabel.save(nibabel.Nifti1Image(values, former.affine), path)
    assert "cancer: 8 voxels" in run_import("msd", source, "--workspace", workspace)


def test_label_that_is_no_volume_is_refused_in_plain_words(run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Task06_Lung", 3), tmp_path / "workspace"
    names = [source / f"labelsTr/lung_00{number}.nii.gz" for number in (1, 2)]
    former = nibabel.load(names[0])
    nibabel.save(nibabel.Nifti1Image(np.stack([np.asarray(former.dataobj)] * 3, -1), former.affine), names[0])
    sheared = former.affine.copy()
    sheared[0, 1] += 0.1
    image = nibabel.Nifti1Image(np.asarray(former.dataobj), sheared)
    image.set_qform(None, 0)
    nibabel.save(image, names[1])
    said = run_import("msd", source, "--workspace", workspace, status=1)
    assert "lung_001: The label claims 24×20×6×3 voxels, more than its image" in said
    assert "lung_002: The label file cannot be read as an image" in said
    assert "1 labelled; 2 failed" in said and "RuntimeError" not in said


def test_image_with_two_labels_gets_neither(run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Task06_Lung", 4), tmp_path / "workspace"
    described = json.loads((source / "dataset.json").read_text())
    training = described["training"]
    training[1]["image"] = training[0]["image"]
    training.append(training[2])  # the same pair twice is no contradiction
    (source / "dataset.json").write_text(json.dumps(described))
    for _ in range(2):
        said = run_import("msd", source, "--workspace", workspace, status=1)
        assert "failed  lung_001: dataset.json gives it 2 labels: labelsTr/lung_001.nii.gz, labelsTr/lung_002" in said
    assert sorted(labelled_cases(source, workspace)) == ["lung_003", "lung_004"]


def test_label_that_a_person_submits_meanwhile_is_not_replaced(run_import, tmp_path, monkeypatch):
    """While the import makes its label, which may take minutes."""
    source, workspace = write_msd(tmp_path / "Task06_Lung", 1), tmp_path / "workspace"
    sitk.WriteImage(corner(ct(1, flipped=True), 9), str(tmp_path / "label.nii.gz"))
    read = msd.read_values

    def read_slowly(path, grid):
        datastore = open_workspace(source, workspace)
        (image,) = datastore.get_unlabeled_images()
        datastore.save_label(image, str(tmp_path / "label.nii.gz"), "final", {"annotator": "Ada"})
        return read(path, grid)

    (source / "imagesTs/lung_002.nii.gz").unlink()
    monkeypatch.setattr(msd, "read_values", read_slowly)
    said = run_import("msd", source, "--workspace", workspace)
    assert "1 left as a person labelled it; 0 failed" in said
    (case,) = labelled_cases(source, workspace).values()
    assert (case["info"]["annotator"], len(marked_points(case["label"]))) == ("Ada", 13)


def test_tumour_label_is_found_by_name_in_dataset_json(run_import, tmp_path):
    workspace = tmp_path / "workspace"
    names = {"0": "background", "1": "lung", "2": "Lung Tumour"}
    source = write_msd(tmp_path / "second", labels=names, value=2)
    assert "Lung Tumour (value 2)" in run_import("msd", source, "--workspace", workspace)
    assert len(marked_points(labelled_cases(source, workspace)["lung_001"]["label"])) == 8
    source = write_msd(tmp_path / "strange", labels={"0": "background", "1": "thing", "2": "nodule"})
    assert "nodule (value 2)" in run_import("msd", source, "--workspace", workspace, "--dry-run")
    assert "thing (value 1)" in run_import("msd", source, "--workspace", workspace, "--dry-run", "--roi", "Thing")
    said = run_import("msd", source, "--workspace", workspace, "--roi", "gtv", status=1)
    assert "no label called gtv; it has 'thing', 'nodule'" in said
    source = write_msd(tmp_path / "two", labels={"0": "background", "1": "tumor", "2": "nodule"})
    assert "--roi NAME" in run_import("msd", source, "--workspace", workspace, status=1)


def test_nnunet_layout(run_import, tmp_path):
    source, workspace = write_msd(tmp_path / "Dataset006_Lung"), tmp_path / "workspace"
    for image in sorted((source / "imagesTr").glob("lung*")):
        image.rename(image.with_name(image.name.replace(".nii", "_0000.nii")))
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "cancer": 1}, "numTraining": 3}
    (source / "dataset.json").write_text(json.dumps(described))
    assert "3 labelled; 0 failed" in run_import("msd", source, "--workspace", workspace)
    assert sorted(labelled_cases(source, workspace)) == ["lung_001_0000", "lung_002_0000", "lung_003_0000"]


def test_other_folders_are_refused(run_import, tmp_path):
    assert "There is no folder" in run_import("msd", tmp_path / "nowhere", status=1)
    workspace = tmp_path / "workspace"
    assert "no dataset.json" in run_import("msd", tmp_path, "--workspace", workspace.parent.parent / "w", status=1)
    source = write_msd(tmp_path / "set")
    described = json.loads((source / "dataset.json").read_text())
    described["training"][0]["image"] = "../../elsewhere.nii.gz"
    (source / "dataset.json").write_text(json.dumps(described))
    assert "is outside" in run_import("msd", source, "--workspace", workspace, status=1)
    (source / "dataset.json").write_text(json.dumps(described | {"training": []}))
    for label in (source / "labelsTr").glob("*.nii.gz"):
        label.rename(label.with_name(label.name.replace(".nii.gz", ".nrrd")))
    assert "There is no label .nii or .nii.gz in" in run_import("msd", source, "--workspace", workspace, status=1)
    (source / "dataset.json").write_text("{")
    assert "damaged" in run_import("msd", source, "--workspace", workspace, status=1)
    assert "--studies is for slices" in run_import("msd", source, "--studies", tmp_path / "s", status=1)
    assert "is inside" in run_import("msd", source, "--workspace", source / "w", status=2)
