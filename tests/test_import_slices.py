"""``python main.py import slices`` on patients stored as PNG slices, and as DICOM with PNG masks."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import UserError
from lib.phantoms import Acquisition, write_dicom_series
from lib.public_sets.pictures import read_grey, read_mask
from lib.public_sets.slice_folders import find_stacks
from tests.support.imports import content, labelled_cases, marked_points

pytestmark = pytest.mark.slow

SHAPE = (5, 16, 20)
SCALE = ("--pixel-spacing", 0.8, 0.7, "--slice-spacing", 2.5, "--window", -400, 1200)
LAYOUTS = {
    "beside": ("{p}/slice_{n}.png", "{p}/slice_{n}_mask.png"),
    "trees": ("images/{p}/{n}.png", "masks/{p}/{n}.png"),
    "in the patient": ("{p}/images/IM_{n}.png", "{p}/masks/IM_{n}.png"),
    "flat": ("images/{p}_{n}.png", "masks/{p}_{n}.png"),
    "infix": ("train/{p}_original_{n}.png", "train/{p}_mask_{n}.png"),
    "prefixed trees": ("2d_images/ID_{p}_Z_{n}.tif", "2d_masks/ID_{p}_Z_{n}.tif"),
}


def patient(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return grey levels and an L-shaped mask that no flip or rotation maps onto itself, both (slice, row, column)."""
    grey = np.random.default_rng(seed).integers(0, 256, SHAPE).astype(np.uint8)
    mask = np.zeros(SHAPE, np.uint8)
    mask[1, 4, 3:9] = mask[1, 4:7, 3] = mask[2, 4, 3] = mask[3, 4, 3] = 255
    return grey, mask


def write_picture(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))


def write_patients(root: Path, layout: str = "beside", patients: tuple[str, ...] = ("P1", "P2")) -> Path:
    """Write patients as pictures: slices 8 to 12, with masks only for slices with marked pixels."""
    for seed, name in enumerate(patients):
        grey, mask = patient(seed)
        for place in range(SHAPE[0]):
            image_path, mask_path = (text.format(p=name, n=place + 8) for text in LAYOUTS[layout])
            write_picture(grey[place], root / image_path)
            if mask[place].any():
                write_picture(mask[place], root / mask_path)
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_give_the_same_stacks(layout, tmp_path):
    stacks, failures = find_stacks(write_patients(tmp_path, layout))
    assert not failures
    for seed, stack in enumerate(stacks):
        assert f"P{seed + 1}" in stack.name
        grey, mask = patient(seed)
        assert list(stack.slices) == [8, 9, 10, 11, 12] and list(stack.masks) == [9, 10, 11]
        np.testing.assert_array_equal([read_grey(path) for path in stack.slices.values()], grey)
        np.testing.assert_array_equal([read_mask(path, None) for path in stack.masks.values()], mask[1:4] > 0)


@pytest.mark.parametrize("layout", ["beside", "flat"])
def test_volumes_and_labels_are_at_their_positions_in_mm(layout, run_import, tmp_path):
    source, studies, workspace = write_patients(tmp_path / "set", layout), tmp_path / "studies", tmp_path / "w"
    before = content(source)
    said = run_import("slices", source, "--studies", studies, *SCALE, "--workspace", workspace)
    assert "10 slices of 2 scans, 6 masks; 4 slices of labelled scans have no mask" in said
    assert "2 labelled; 0 failed" in said and f"make run STUDIES={studies}" in said
    assert content(source) == before
    cases = labelled_cases(studies, workspace)
    assert len(cases) == 2
    for seed, (_, case) in enumerate(sorted(cases.items())):
        grey, mask = patient(seed)
        volume = nibabel.load(next(path for path in studies.iterdir() if path.name.startswith(case["patient_id"])))
        hu = np.asarray(volume.dataobj)
        # Row 2, column 7 of the third slice: 7 × 0.7 mm to the left, 2 × 0.8 mm to the back, 2 × 2.5 mm below the top.
        index = nibabel.affines.apply_affine(np.linalg.inv(volume.affine), (-7 * 0.7, -2 * 0.8, 2 * 2.5)).round()
        assert hu[tuple(index.astype(int))] == np.rint(-1000 + grey[2, 2, 7] / 255 * 1200)
        expected = np.argwhere(mask)[:, ::-1] * (0.7, 0.8, -2.5) + (0, 0, 4 * 2.5)
        np.testing.assert_allclose(marked_points(case["label"]), sorted(expected.round(3).tolist()), atol=1e-3)


def test_first_slice_can_be_at_the_feet(run_import, tmp_path):
    source, studies = write_patients(tmp_path / "set"), tmp_path / "studies"
    run_import("slices", source, "--studies", studies, *SCALE, "--first-slice", "feet", "--workspace", tmp_path / "w")
    expected = np.argwhere(patient(0)[1])[:, ::-1] * (0.7, 0.8, 2.5)
    label = labelled_cases(studies, tmp_path / "w")["P1"]["label"]
    np.testing.assert_allclose(marked_points(label), sorted(expected.round(3).tolist()), atol=1e-3)


def test_second_run_imports_only_the_rest(run_import, tmp_path):
    source, studies = write_patients(tmp_path / "set"), tmp_path / "studies"
    arguments = ("slices", source, "--studies", studies, *SCALE, "--workspace", tmp_path / "w")
    before = content(tmp_path)
    assert "2 would be labelled; 0 failed" in run_import(*arguments, "--dry-run")
    assert content(tmp_path) == before
    assert "1 labelled" in run_import(*arguments, "--limit", 1)
    assert [path.name for path in studies.iterdir()] == ["P1.nii.gz"]
    assert "1 there already; 1 labelled" in run_import(*arguments)
    before = content(studies, tmp_path / "w/labels")
    assert "2 there already; 0 failed" in run_import(*arguments)
    assert content(studies, tmp_path / "w/labels") == before
    other = [value if value != 2.5 else 5 for value in arguments]
    assert "made from other slices or with other values" in run_import(*other, status=1)
    assert content(studies, tmp_path / "w/labels") == before


def test_studies_folder_must_be_separate_and_empty(run_import, tmp_path):
    source, studies = write_patients(tmp_path / "set"), tmp_path / "studies"
    studies.mkdir()
    (studies / "letter.txt").write_text("Dear colleague")
    arguments = (*SCALE, "--workspace", tmp_path / "w")
    before = content(tmp_path)
    assert "other files, such as letter.txt" in run_import("slices", source, "--studies", studies, *arguments, status=1)
    for inside in (source, source / "studies"):
        assert "overlap" in run_import("slices", source, "--studies", inside, *arguments, status=1)
    inside = ("slices", source / "P1", "--studies", source, *arguments)
    assert "overlap" in run_import(*inside, status=1)
    assert content(tmp_path) == before


def test_missing_geometry_options_are_reported(run_import, tmp_path):
    source, studies = write_patients(tmp_path / "set"), tmp_path / "studies"
    said = run_import("slices", source, "--studies", studies, "--slice-spacing", 2, status=1)
    assert "--pixel-spacing and --window must be given" in said
    said = run_import("slices", source, "--workspace", tmp_path / "w", status=1)
    assert "no usable CT series" in said and "--studies NEW_FOLDER --pixel-spacing" in said
    said = run_import("slices", source, "--studies", studies, *SCALE[:-1], 0, status=1)
    assert "WIDTH of --window must be above 0" in said
    assert not studies.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("slices", "--window", -600, 1500), "--window does not apply to slices without --studies"),
        (("slices", "--roi", "tumour"), "--roi does not apply to slices;"),
        (("luna16", "--roi", "nodule"), "--roi does not apply to luna16;"),
        (("msd", "--annotations", "/"), "--annotations does not apply to msd;"),
        (("msd", "--mask-value", 0), "--mask-value does not apply to msd;"),
    ],
)
def test_option_without_effect_is_refused(arguments, sentence, run_import, tmp_path):
    assert sentence in run_import(arguments[0], tmp_path, *arguments[1:], status=1)
    assert not list(tmp_path.iterdir())


def test_patient_that_cannot_be_stacked_is_reported_and_others_are_imported(run_import, tmp_path):
    names = ("gap", "good", "junk", "mixed", "size")
    source, studies = write_patients(tmp_path / "set", patients=names), tmp_path / "studies"
    (source / "gap/slice_10.png").unlink()
    (source / "junk/slice_10.png").write_bytes(b"junk")
    two = patient(0)[1][1]
    two[9, 9] = 100
    write_picture(two, source / "mixed/slice_9_mask.png")
    write_picture(np.zeros((3, 4), np.uint8), source / "size/slice_9_mask.png")
    arguments = ("slices", source, "--studies", studies, *SCALE, "--workspace", tmp_path / "w")
    said = run_import(*arguments, status=1)
    assert "slices are missing between 9 and 11" in said
    assert "1 have no slice of the same name, the first is gap/slice_10_mask.png" in said
    assert "slice_10.png cannot be read as a picture" in said
    assert "slice_9_mask.png has the values 100, 255. Select the tumour with --mask-value" in said
    assert "different sizes: 3×4, 16×20" in said
    assert list(labelled_cases(studies, tmp_path / "w")) == ["good"]
    run_import(*arguments, "--mask-value", 255, status=1)
    assert sorted(labelled_cases(studies, tmp_path / "w")) == ["good", "mixed"]


def test_patient_without_masks_gets_no_label(run_import, tmp_path):
    source, studies = write_patients(tmp_path / "set"), tmp_path / "studies"
    for path in (source / "P2").glob("*mask*"):
        path.unlink()
    arguments = ("slices", source, "--studies", studies, *SCALE, "--workspace", tmp_path / "w")
    for dry_run in (["--dry-run"], []):
        assert "1 nothing marked, left without a label; 0 failed" in run_import(*arguments, *dry_run)
    assert list(labelled_cases(studies, tmp_path / "w")) == ["P1"]


def test_r4_black_masks_create_no_label(run_import, tmp_path):
    """R4: an import never creates a final label without voxels."""
    source, studies = write_patients(tmp_path / "set"), tmp_path / "studies"
    for path in (source / "P2").glob("*mask*"):
        black = sitk.ReadImage(str(path)) * 0
        sitk.WriteImage(black, str(path))
    said = run_import("slices", source, "--studies", studies, *SCALE, "--workspace", tmp_path / "w")
    assert "1 nothing marked, left without a label; 0 failed" in said
    assert list(labelled_cases(studies, tmp_path / "w")) == ["P1"]


@pytest.mark.parametrize("place", ["dicom/{p}/{n}.dcm masks/{p}/{n}.png", "{p}/{n}.dcm {p}/{n}.png"])
def test_dicom_slices_with_mask_pictures_are_not_converted(place, run_import, tmp_path):
    source = tmp_path / "set"
    grid = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7))
    _, mask = patient(0)
    images, masks = place.split()
    folder = source / images.rpartition("/")[0].format(p="P1")
    hu = (np.arange(SHAPE[0], dtype=np.int16)[:, None, None] * 100).repeat(SHAPE[1], 1).repeat(SHAPE[2], 2)
    write_dicom_series(folder, hu, grid.affine, patient_id="P1", shuffle_files=True)
    write_dicom_series(source / "P2", hu, grid.affine, patient_id="P2")
    for path in sorted(folder.glob("*.dcm")):
        slice_number = int(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).max()) // 100
        write_picture(mask[slice_number], source / masks.format(p="P1", n=path.stem))
    before = content(source)
    for arguments, expected in ((["--dry-run"], "1 would be labelled"), ([], "1 labelled"), ([], "1 there already")):
        said = run_import("slices", source, "--workspace", tmp_path / "w", *arguments)
        assert "1 of 2 CT series have masks" in said and expected in said
    assert content(source) == before
    case = labelled_cases(source, tmp_path / "w")["P1"]
    index = np.argwhere(mask)[:, ::-1]
    expected = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    np.testing.assert_allclose(marked_points(case["label"]), sorted(expected.round(3).tolist()), atol=1e-3)


@pytest.mark.parametrize("window", [(0, "nan"), ("nan", 100), (0, "inf"), ("1e9", 100), (0, 0), (0, -1)])
def test_window_outside_of_hu_is_refused(window, run_import, tmp_path):
    source = write_patients(tmp_path / "set")
    (source / "P1/thumbnails.png").mkdir()
    scale = (*SCALE[:-2], *window)
    said = run_import("slices", source, "--studies", tmp_path / "out", *scale, status=1)
    assert "the window within -32767 to 32767 HU" in said
    assert not (tmp_path / "out").exists()
    said = run_import("slices", source, "--studies", tmp_path / "out", *SCALE, "--workspace", tmp_path / "w")
    assert "2 labelled; 0 failed" in said, "a folder is no picture"


def test_slice_with_two_masks_is_reported_and_files_may_be_named_by_a_uid_alone(run_import, tmp_path):
    """Two readers, whose masks differ: no one of them is chosen silently."""
    source = tmp_path / "set"
    grid = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7))
    mask = patient(0)[1].max(0)
    for name in ("P1", "P2"):
        write_dicom_series(source / name, np.zeros(SHAPE, np.int16), grid.affine, patient_id=name)
        for number, path in enumerate(sorted((source / name).glob("*.dcm"))):
            path.rename(path.with_name(f"1.2.840.{number}"))
            write_picture(mask, source / f"masks/{name}/1.2.840.{number}.png")
    write_picture(mask[::-1], source / "labels/P1/1.2.840.3.png")
    for arguments in (["--dry-run"], []):
        said = run_import("slices", source, "--workspace", tmp_path / "w", *arguments, status=1)
        assert "2 of 2 CT series have masks" in said and "1.2.840.3.png are masks of the same slice" in said
    (case,) = labelled_cases(source, tmp_path / "w").values()
    assert (case["patient_id"], case["info"]["voxels"]) == ("P2", mask.astype(bool).sum() * SHAPE[0])


def test_picture_with_several_pages_is_refused(tmp_path):
    """Its pages are neither rows nor channels."""
    write_picture(np.zeros((4, 4), np.uint8), tmp_path / "slice.tif")
    assert read_grey(tmp_path / "slice.tif").shape == (4, 4)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((6, 4, 5), np.uint8)), str(tmp_path / "pages.tif"))
    for read in (read_grey, lambda path: read_mask(path, None)):
        with pytest.raises(UserError, match=r"not a 2D picture .* 3 dimensions"):
            read(tmp_path / "pages.tif")


def test_transparent_pixels_are_not_marked(tmp_path):
    """Some programs write a mask as the transparency of a white picture."""
    mask = patient(0)[1][1]
    white = np.full_like(mask, 255)
    write_picture(np.stack([white, white, white, mask], -1), tmp_path / "rgba.png")
    write_picture(np.stack([mask, mask, mask, white], -1), tmp_path / "opaque.png")
    for name in ("rgba", "opaque"):
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png", None), mask > 0)


def test_series_and_duplicates_are_recognised_by_file_name(tmp_path):
    for name in ("P1/IM-0001-0001", "P1/IM-0001-0002", "P1/IM-0001-0003", "P1/IM-0002-0001", "P1/IM-0002-0002"):
        write_picture(np.zeros((4, 4), np.uint8), tmp_path / f"{name}.png")
    for name in ("P2/1.png", "P2/2.png", "P2/3.png", "P2/2.jpg", "P3/a.png", "P3/b.png"):
        write_picture(np.zeros((4, 4), np.uint8), tmp_path / name)
    stacks, failures = find_stacks(tmp_path)
    assert [(stack.name, list(stack.slices)) for stack in stacks] == [("P1-IM_0001", [1, 2, 3])]
    reasons = dict(failures)
    assert "2 slice(s)" in reasons["P1-IM_0002"]
    assert "both slice 2" in reasons["P2"]
    assert "no slice number in the name a.png" in reasons["P3-a"]


def test_colour_pictures(tmp_path):
    grey, mask = patient(0)[0][0], patient(0)[1][1]
    write_picture(np.stack([grey] * 3, -1), tmp_path / "grey.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "grey.png"), grey)
    write_picture(np.stack([grey, grey, grey[::-1]], -1), tmp_path / "colour.png")
    with pytest.raises(UserError, match="a colour picture"):
        read_grey(tmp_path / "colour.png")
    write_picture(np.stack([mask, mask * 0, mask * 0], -1), tmp_path / "red.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "red.png", None), mask > 0)


def test_jpeg_mask_must_be_black_and_white(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 20:50] = 255
    write_picture(mask, tmp_path / "mask.jpg")
    assert len(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "mask.jpg"))))) > 2
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.jpg", None), mask > 0)
    write_picture(mask // 255 * 40, tmp_path / "faint.jpg")
    with pytest.raises(UserError, match="a JPEG with values up to"):
        read_mask(tmp_path / "faint.jpg", None)
