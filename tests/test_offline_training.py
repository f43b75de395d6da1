"""``python main.py train`` on phantoms: pairs, split, checkpoint, resuming, manifest and prediction."""

import argparse
import hashlib
import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from pydicom import dcmread

from lib.cli import evaluate, train
from lib.errors import UserError
from lib.inference import ModelDescription, Predictor
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_dicom_series, write_volume
from lib.settings import load_info
from lib.training.data_folders import DataFolders
from lib.training.data_split import held_out
from lib.training.run_manifest import refuse_trained_on
from lib.training.scans import LabelledImage, Scan, find_cases, find_pairs, load_scan, patient_from_file_name
from lib.training.training_curve import training_curve
from lib.training.training_data import TrainingData, read_training_data

PREPROCESSING = load_info()["preprocessing"]


@pytest.fixture(autouse=True)
def small_network(monkeypatch):
    """Return the app's settings with a network that trains quickly."""
    info = load_info()
    info["network"]["channels"] = [4, 8]
    monkeypatch.setattr(train, "load_info", lambda: info)
    return info


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Create a whole phantom with lesions, one without, and crops around the lesions of the first."""
    root = tmp_path_factory.mktemp("data")
    grid = Acquisition(shape=(16, 128, 128), spacing=(5.0, 2.8, 2.8))
    lesions = draw_lesions(1, 6, diameters=(20, 36))
    hu, mask, affine = chest_volume(1, lesions=lesions, acquisition=grid)
    write_volume(root / "images" / "P1_whole.nii.gz", hu, affine)
    write_volume(root / "masks" / "P1_whole.nii.gz", mask, affine)
    image, label = (sitk.ReadImage(str(root / kind / "P1_whole.nii.gz")) for kind in ("images", "masks"))
    for index, lesion in enumerate(lesions):
        centre = label.TransformPhysicalPointToIndex(lesion.center)
        start = [
            int(np.clip(c - h, 0, n - 2 * h)) for c, h, n in zip(centre, (10, 10, 3), label.GetSize(), strict=True)
        ]
        for kind, volume in (("images", image), ("masks", label)):
            sitk.WriteImage(sitk.RegionOfInterest(volume, (20, 20, 6), start), str(root / kind / f"P{index}_R.nii.gz"))
    healthy, _, affine = chest_volume(2, acquisition=grid)
    write_volume(root / "negatives" / "healthy.nii.gz", healthy, affine)
    return root


def arguments(data, output, *extra):
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    line = ["--images", data / "images", "--masks", data / "masks", "--negatives", data / "negatives"]
    line += ["--output", output, "--batch-size", 2, "--patch-size", 32, "--save-every", 2, *extra]
    return parser.parse_args([str(word) for word in line])


@pytest.mark.parametrize(
    ("option", "value"),
    [("large-tumours", 30), ("large-tumours", "nan"), ("crops-first", -0.1), ("decoys", -1), ("steps", 0)],
)
def test_settings_out_of_range_are_refused_before_the_data_are_read(option, value, tmp_path):
    options = arguments(tmp_path / "missing", tmp_path / "run", f"--{option}={value}")
    with pytest.raises(UserError, match=f"^Options are out of range: --{option}: Input should be "):
        train.run(options)


@pytest.mark.slow
def test_stopped_run_is_resumed_and_writes_weights_with_a_manifest(data, tmp_path, small_network):
    assert train.run(arguments(data, tmp_path / "run", "--steps", 4)) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert [entry["step"] for entry in manifest["history"]] == [2, 4]
    assert all(entry["trained_crop_dice"] is not None for entry in manifest["history"])
    names = {f"P{index}_R" for index in range(6)}
    assert set(manifest["data"]["crops"]) | set(manifest["data"]["held_out_crops"]) == names
    assert all(held_out(name.split("_")[0]) for name in manifest["data"]["held_out_crops"])
    assert not any(held_out(name.split("_")[0]) for name in manifest["data"]["crops"])
    assert manifest["data"]["whole_scans"]["healthy"] == 0 < manifest["data"]["whole_scans"]["P1_whole"]

    assert ElementTree.parse(tmp_path / "run" / "curve.svg")

    checkpoint = tmp_path / "run" / "resume.pt"
    before = torch.load(checkpoint, weights_only=True)
    assert before["step"] == 4
    train.run(arguments(data, tmp_path / "run", "--steps", 4))  # already complete
    assert torch.load(checkpoint, weights_only=True)["step"] == 4

    image = data / "images" / "P1_whole.nii.gz"
    mask = Predictor.from_file(tmp_path / "run" / "model.pt", ModelDescription.from_info(small_network)).predict(image)
    assert mask.shape == sitk.ReadImage(str(image)).GetSize()
    assert set(np.unique(mask)) <= {0, 1}

    with pytest.raises(UserError, match="other settings or data"):
        train.run(arguments(data, tmp_path / "run", "--steps", 6))


@pytest.mark.slow
def test_manifest_tells_data_patients_settings_and_versions(data, tmp_path, small_network):
    train.run(arguments(data, tmp_path / "run", "--steps", 4, "--leave-out", "P2", "healthy"))
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    names = {path.name.split(".nii")[0] for folder in ("images", "negatives") for path in (data / folder).iterdir()}
    assert manifest["left_out"] == ["P2", "healthy"]
    assert manifest["trained_on"] == manifest["data"]["patients"]
    assert set(manifest["trained_on"]) == {f"P{n}" for n in range(6) if n != 2 and not held_out(f"P{n}")}
    assert "P2_R" not in manifest["data"]["crops"] and list(manifest["data"]["whole_scans"]) == ["P1_whole"]
    checksums = {one["name"]: one for one in manifest["checksums"]}
    assert checksums.keys() == names
    for kind in ("image", "mask"):
        content = (data / f"{kind}s" / "P0_R.nii.gz").read_bytes()
        assert checksums["P0_R"][kind] == hashlib.sha256(content).hexdigest()
    assert set(checksums["healthy"]) == {"name", "image"}
    assert manifest["settings"]["seed"] == 0 and manifest["settings"]["steps"] == 4
    assert manifest["versions"].keys() == {"python", "torch", "monai", "lunglabel", "commit"}
    assert manifest["sha256"] == hashlib.sha256((tmp_path / "run" / "model.pt").read_bytes()).hexdigest()
    seconds = [entry["seconds"] for entry in manifest["history"]]
    assert 0 <= seconds[0] <= seconds[1] < 600


def test_unknown_patient_to_leave_out_is_an_error_with_the_known_ones():
    voxels = torch.zeros(4, 4, 4)
    scans = [Scan(f"{name}_R", voxels, voxels, 1.0, ()) for name in ("P1", "P2", "P3")]
    data = TrainingData(scans[:1], scans[1:2], scans[2:])
    with pytest.raises(UserError, match=r"no images of P9 to leave out\. The patients are P1, P2, P3\."):
        data.leaving_out(["P1", "P9"])
    without = data.leaving_out(["P1", "P3"])
    assert (without.crops, without.hosts, without.test_crops) == ([], scans[1:2], scans[2:])
    assert without.left_out == {"P1", "P3"}
    with pytest.raises(ValueError, match="both trained on and held out: P1"):
        TrainingData(scans[:1], [], [], left_out=frozenset({"P1"}))


@pytest.mark.slow
def test_changed_mask_is_other_data(data, tmp_path, small_network):
    masks = shutil.copytree(data / "masks", tmp_path / "masks")
    line = ["--steps", 2, "--masks", masks]
    train.run(arguments(data, tmp_path / "run", *line))
    mask = sitk.ReadImage(str(masks / "P0_R.nii.gz"))
    sitk.WriteImage(mask * 0, str(masks / "P0_R.nii.gz"))
    with pytest.raises(UserError, match=r"other settings or data \(see checksums.* in its manifest.json"):
        train.run(arguments(data, tmp_path / "run", *line))


@pytest.mark.slow
def test_patients_of_the_initial_weights_count_as_trained_on(data, tmp_path, small_network):
    train.run(arguments(data, tmp_path / "first", "--steps", 2))
    weights = tmp_path / "first" / "model.pt"
    last = ("--steps", 2, "--initial", weights, "--leave-out", "P1")
    train.run(arguments(data, tmp_path / "last", *last))
    first, manifest = (json.loads((tmp_path / run / "manifest.json").read_text()) for run in ("first", "last"))
    assert "P1" not in manifest["data"]["patients"] and manifest["left_out"] == ["P1"]
    assert manifest["trained_on"] == first["trained_on"] and "P1" in first["trained_on"]
    assert manifest["initial"] == {name: value for name, value in first.items() if name != "history"}
    with pytest.raises(UserError, match="last cannot be measured on P1: these weights were trained on them"):
        refuse_trained_on("last", manifest, ["P1", "P99"])
    refuse_trained_on("last", manifest, ["P99"])
    (tmp_path / "first" / "manifest.json").unlink()
    with pytest.raises(UserError, match="has no manifest with the patients"):
        train.run(arguments(data, tmp_path / "other", *last))


@pytest.mark.slow
def test_smaller_patient_subset_is_part_of_the_larger_one(data, tmp_path, small_network):
    crops = {}
    for number in (1, 2):
        train.run(arguments(data, tmp_path / str(number), "--steps", 2, "--patients", number))
        manifest = json.loads((tmp_path / str(number) / "manifest.json").read_text())
        crops[number] = set(manifest["data"]["crops"])
    assert len(crops[1]) == 1 and crops[1] < crops[2] and len(crops[2]) == 2
    with pytest.raises(UserError, match="not of 70"):
        train.run(arguments(data, tmp_path / "many", "--steps", 2, "--patients", 70))


@pytest.mark.slow
def test_training_continues_from_initial_weights(data, tmp_path, small_network):
    train.run(arguments(data, tmp_path / "first", "--steps", 2))
    weights = tmp_path / "first" / "model.pt"
    train.run(arguments(data, tmp_path / "second", "--steps", 2, "--initial", weights, "--learning-rate", 1e-9))
    first, second = (
        torch.load(tmp_path / run / "model.pt", weights_only=True)["model"]["head.conv.weight"]
        for run in ("first", "second")
    )
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    settings = json.loads((tmp_path / "second" / "manifest.json").read_text())["settings"]
    assert settings["initial"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    small_network["network"]["channels"] = [4, 6]
    with pytest.raises(UserError, match="do not match the network"):
        train.run(arguments(data, tmp_path / "third", "--steps", 2, "--initial", weights))


def test_crop_is_stored_without_its_padding(data, tmp_path):
    scan = load_scan(data / "images" / "P0_R.nii.gz", data / "masks" / "P0_R.nii.gz", PREPROCESSING, tmp_path)
    expected = round(20 * 2.8 / (PREPROCESSING["field_mm"] / 256))
    assert scan.image.shape == scan.label.shape
    assert scan.image.shape[:2] == pytest.approx((expected, expected), abs=1)
    assert scan.image.shape[2] == 6
    assert scan.label.any()
    assert scan.patient == "P0"


@pytest.mark.slow
def test_crop_whose_readers_agree_on_no_voxel_is_excluded(data, tmp_path, caplog):
    for kind in ("images", "masks"):
        shutil.copytree(data / kind, tmp_path / kind)
    name = next(f"P{index}_R" for index in range(6) if not held_out(f"P{index}"))
    volume = sitk.ReadImage(str(tmp_path / "masks" / f"{name}.nii.gz"))
    sitk.WriteImage(volume * 0, str(tmp_path / "masks" / f"{name}.nii.gz"))
    folders = DataFolders((tmp_path / "images",), (tmp_path / "masks",), (data / "negatives",))
    read = read_training_data(folders, load_info(), tmp_path / "volumes")
    assert name not in [crop.name for crop in read.crops]
    assert f"agree on no voxel: {name}" in caplog.text


def test_dicom_series_without_a_mask(tmp_path, phantom_studies):
    folder = next(path for path in phantom_studies.directory.rglob("*.dcm")).parent
    scan = load_scan(folder, None, PREPROCESSING, tmp_path)
    assert scan.image.shape[:2] == (256, 256)
    assert not scan.label.any()
    assert scan.patient == dcmread(next(folder.iterdir())).PatientID


def test_c2_folders_of_the_same_name_are_separate_volumes_with_their_own_patients(tmp_path):
    """C2: `a/CT` and `b/CT` became one volume, with the part of its name before an underscore as patient."""
    for folder, patient, value in (("a", "P_1", -700), ("b", "P_2", 40)):
        hu = np.full((4, 32, 32), value, np.int16)
        write_dicom_series(tmp_path / folder / "CT", hu, np.diag([1.0, 1, 2, 1]), patient_id=patient)
        mask = sitk.GetImageFromArray(np.zeros((4, 32, 32), np.uint8))
        sitk.WriteImage(mask, str(tmp_path / f"{folder}.nii.gz"))
    images, masks = ([tmp_path / name for name in names] for names in (("a/CT", "b/CT"), ("a.nii.gz", "b.nii.gz")))
    cases = find_cases(images, masks, tmp_path / "cache")
    assert [(case.name, case.patient) for case in cases] == [("a-CT", "P_1"), ("b-CT", "P_2")]
    values = [np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(case.image)))).tolist() for case in cases]
    assert values == [[-700], [40]]


def test_c1_no_patient_is_in_both_splits(data, tmp_path, small_network):
    """C1: whole scans of held-out patients were used as hosts, and `evaluate --held-out` was run on them."""
    patient = next(name for name in (f"Q{number}" for number in range(1000)) if held_out(name))
    for kind in ("images", "masks"):
        folder = tmp_path / kind
        shutil.copytree(data / kind, folder)
        shutil.copy(data / kind / "P1_whole.nii.gz", folder / f"{patient}_whole.nii.gz")
        shutil.copy(data / kind / "P2_R.nii.gz", folder / f"{patient}_R.nii.gz")
    folders = ["--images", tmp_path / "images", "--masks", tmp_path / "masks"]
    train.run(arguments(data, tmp_path / "run", "--steps", 2, *folders))
    kept = json.loads((tmp_path / "run" / "manifest.json").read_text())["data"]
    assert kept["held_out_whole_scans"] == [f"{patient}_whole"] and f"{patient}_R" in kept["held_out_crops"]
    assert set(kept["whole_scans"]) == {"P1_whole", "healthy"}
    trained = {name.split("_")[0] for name in (*kept["crops"], *kept["whole_scans"])}
    tested = {name.split("_")[0] for name in (*kept["held_out_crops"], *kept["held_out_whole_scans"])}
    assert not trained & tested and trained == set(kept["patients"])
    assert all(map(held_out, tested)) and not any(map(held_out, trained))


def test_c1_split_with_a_patient_on_both_sides_is_refused():
    voxels = torch.zeros(4, 4, 4)
    crop = Scan("P1_R", voxels, (voxels > 0).float(), 1.0, ())
    with pytest.raises(ValueError, match="both trained on and held out: P1"):
        TrainingData([], [crop], [crop])


def test_c1_split_of_the_lidc_crops_is_unchanged(shared_data):
    """C1: the shipped weights and their results depend on this split of the LIDC-IDRI crops."""
    names = sorted(path.name.split(".nii")[0] for path in (shared_data / "lidc-nodules" / "images").iterdir())
    test = {name for name in names if held_out(patient_from_file_name(name))}
    assert (len(test), len({patient_from_file_name(name) for name in test})) == (106, 64)


def test_c1_evaluate_excludes_patients_a_run_was_trained_on(tmp_path):
    """C1: the weights, or those they started from, may have been trained on whole scans of held-out patients."""
    patient, other = [name for name in (f"Q{number}" for number in range(1000)) if held_out(name)][:2]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text(json.dumps({"trained_on": [patient]}))
    cases = [LabelledImage(f"{name}_R", tmp_path, tmp_path, name, False) for name in (patient, other, "P1")]
    kept = evaluate._held_out_cases(cases, [tmp_path / "run" / "model.pt"])
    assert [case.patient for case in kept] == [other]


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ("nowhere", "masks", "nowhere does not exist"),
        ("empty", "nowhere.nii.gz", r"nowhere\.nii\.gz does not exist"),
        ("images", "negatives", "have no mask"),
        ("empty", "masks", "contains no volumes"),
    ],
)
def test_invalid_folders_are_reported(data, images, masks, message):
    (data / "empty").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=message):
        find_pairs(data / images, data / masks)


@pytest.mark.parametrize("damaged", ["images", "masks"])
def test_truncated_volume_is_reported(data, tmp_path, damaged):
    """SimpleITK reads it without an error, nibabel stops with a traceback."""
    for folder in ("images", "masks"):
        shutil.copytree(data / folder, tmp_path / folder)
    path = min((tmp_path / damaged).iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{path.name} cannot be used: "):
        find_pairs(tmp_path / "images", tmp_path / "masks")


def test_missing_weights_are_reported(tmp_path):
    with pytest.raises(UserError, match="no weights at"):
        Predictor.from_file(tmp_path / "none.pt", ModelDescription.from_info(load_info()))


def test_curve_rises_with_the_dice():
    history = [{"step": step, "test_crop_dice": dice} for step, dice in ((10, 0.2), (20, None), (30, 0.5), (40, 0.6))]
    line = ElementTree.fromstring(training_curve(history)).find("{http://www.w3.org/2000/svg}polyline")
    x, y = zip(*(map(float, point.split(",")) for point in line.get("points").split()), strict=True)
    assert x[2] - x[1] == pytest.approx((x[1] - x[0]) / 2, abs=0.2)  # the x axis is to scale
    assert y[0] - y[1] == pytest.approx(3 * (y[1] - y[2]), abs=0.2)
    assert y[0] > y[1] > y[2]


def test_curve_shows_training_crops_beside_held_out_crops():
    history = [{"step": step, "test_crop_dice": 0.5, "trained_crop_dice": 0.5 + step / 100} for step in (10, 20)]
    held_out_line, trained_line = ElementTree.fromstring(training_curve(history)).findall(
        "{http://www.w3.org/2000/svg}polyline"
    )
    ends = [float(line.get("points").split()[-1].split(",")[1]) for line in (held_out_line, trained_line)]
    assert ends[0] > ends[1]  # y points down in SVG
