"""``python main.py import luna16`` on a tiny set in the layout of the challenge."""

import numpy as np
import pytest
import SimpleITK as sitk

from lib.errors import UserError
from lib.public_sets.luna16 import Nodule, draw_spheres, read_nodules
from tests.support.imports import content, ct, labelled_cases, marked_points, open_workspace

pytestmark = pytest.mark.slow

UIDS = [f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{number}" for number in (100, 200, 300, 400)]
HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"


@pytest.fixture
def luna16(tmp_path):
    """Create three scans in two subsets, one flipped and one without a nodule, with lung masks; a fourth is missing."""
    root = tmp_path / "LUNA16"
    for folder in ("subset0", "subset1", "seg-lungs-LUNA16", "CSVFILES"):
        (root / folder).mkdir(parents=True)
    for number, (uid, subset) in enumerate(zip(UIDS[:3], (0, 0, 1), strict=True)):
        scan = ct(number, (12, 40, 50), flipped=number == 1)
        sitk.WriteImage(scan, str(root / f"subset{subset}/{uid}.mhd"))
        sitk.WriteImage(sitk.Cast(scan > 0, sitk.sitkUInt8), str(root / f"seg-lungs-LUNA16/{uid}.mhd"))
    (root / "CSVFILES/annotations.csv").write_text(
        HEADER
        + f"{UIDS[0]},41.5,-31.2,118.3,9.5\n{UIDS[0]},60.01,-20.03,110.1,0.4\n"
        + f"{UIDS[1]},15.2,-60.4,120.2,6.25\n"
        + f"{UIDS[3]},0,0,0,5\n"
    )
    return root


def test_spheres_are_at_their_positions_in_mm_and_noted_as_no_outlines(luna16, run_import, tmp_path):
    before = content(luna16)
    said = run_import("luna16", luna16, "--workspace", tmp_path / "w")
    assert "2 labelled; 0 failed" in said and "no outlines" in said
    assert "4 nodules in 3 scans; 2 of these scans are here, 1 are not" in said
    assert "3 of the 888 published scans are here. 1 have no nodule" in said
    assert content(luna16) == before
    cases = labelled_cases(luna16, tmp_path / "w")
    assert sorted(cases) == UIDS[:2]
    voxel = 0.7 * 0.8 * 2.5
    places = marked_points(cases[UIDS[0]]["label"])
    near = np.linalg.norm(places - (41.5, -31.2, 118.3), axis=1) <= 9.5 / 2 + 1e-3
    assert near.sum() * voxel == pytest.approx(np.pi / 6 * 9.5**3, rel=0.05)
    np.testing.assert_allclose(places[near].mean(0), (41.5, -31.2, 118.3), atol=0.3)
    (tiny,) = places[~near]  # smaller than a voxel: the nearest voxel is marked
    assert (np.abs(tiny - (60.01, -20.03, 110.1)) <= (0.36, 0.41, 1.26)).all()
    flipped = marked_points(cases[UIDS[1]]["label"])
    np.testing.assert_allclose(flipped.mean(0), (15.2, -60.4, 120.2), atol=0.5)
    assert np.linalg.norm(flipped - (15.2, -60.4, 120.2), axis=1).max() <= 6.25 / 2 + 1e-3
    info = cases[UIDS[0]]["info"]
    assert "no outlines" in info["note"] and info["import"]["file"] == "CSVFILES/annotations.csv"
    assert len(open_workspace(luna16, tmp_path / "w").get_unlabeled_images()) == 1
    assert "2 there already; 0 failed" in run_import("luna16", luna16, "--workspace", tmp_path / "w")


def test_changed_annotations_are_imported_again_and_a_dry_run_writes_nothing(luna16, run_import, tmp_path):
    run_import("luna16", luna16, "--workspace", tmp_path / "w")
    table = luna16 / "CSVFILES/annotations.csv"
    table.write_text(table.read_text().replace("6.25", "4.25"))
    before = content(tmp_path)
    said = run_import("luna16", luna16, "--workspace", tmp_path / "w", "--dry-run")
    assert "1 there already; 1 would be labelled" in said
    assert content(tmp_path) == before
    assert "1 there already; 1 labelled" in run_import("luna16", luna16, "--workspace", tmp_path / "w")


def test_nodule_outside_its_scan_fails_only_that_scan(luna16, run_import, tmp_path):
    table = luna16 / "CSVFILES/annotations.csv"
    table.write_text(table.read_text().replace("15.2,", "315.2,"))
    for arguments in (["--dry-run"], []):
        said = run_import("luna16", luna16, "--workspace", tmp_path / "w", *arguments, status=1)
        assert f"failed  {UIDS[1]}: a nodule at (315.2, -60.4, 120.2) mm is outside the scan" in said
    assert list(labelled_cases(luna16, tmp_path / "w")) == [UIDS[0]]


def test_invalid_table_is_refused(luna16, run_import, tmp_path):
    table = luna16 / "CSVFILES/annotations.csv"
    table.write_text("seriesuid,coordX\n1.2,3\n")
    assert "no column coordY, coordZ, diameter_mm" in run_import("luna16", luna16, status=1)
    table.unlink()
    assert "no annotations.csv" in run_import("luna16", luna16, status=1)


@pytest.mark.parametrize(
    "row",
    ["1.2,3,4,five,6", "1.2,3,4,5", "1.2,3,4,5,0", "1.2,3,4,5,nan", ",3,4,5,6", "1.2,3,4,5,1e300", "1.2,3,4,5,5651471"],
)
def test_malformed_line_is_reported(row, tmp_path):
    (tmp_path / "annotations.csv").write_text(f"{HEADER}1.2,3,4,5,6\n{row}\n")
    with pytest.raises(UserError, match=r"Line 3 of .* is damaged"):
        read_nodules(tmp_path / "annotations.csv")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"{HEADER}1.2,-128,69,-175,31,-298,38,5,65\n", "Line 2 of .* has 9 cells, its header 5"),  # decimal commas
        (f'{HEADER.strip()},note\n1.2,3,4,5,6,"open\n1.3,3,4,5,6,x\n', "Line 3 of .* is damaged: unexpected end"),
        (f"{HEADER}1.2,3,4,5,{'6' * 200_000}\n", "Line 2 of .* is damaged: field larger"),
        ("seriesuid,x,x,coordX,coordY,coordZ,diameter_mm\n1.2,1,1,3,4,5,6\n", "several columns called x"),
    ],
)
def test_table_whose_columns_cannot_be_told_apart_is_refused(content, reason, tmp_path):
    (tmp_path / "annotations.csv").write_text(content)
    with pytest.raises(UserError, match=reason):
        read_nodules(tmp_path / "annotations.csv")


def test_tables_of_spreadsheets_are_read(tmp_path):
    """Empty columns and lines at the end, old line ends, a line break and another encoding in a note."""
    header, quoted = f"{HEADER.strip()},note,,", '1.2,3,4,5,6,"two\nlines",,'
    for number, lines in enumerate(([header, "1.2,3,4,5,6,nodule\x85,,", "", ",,,,,,,"], [header, quoted])):
        for end in ("\n", "\r\n", "\r"):
            table = tmp_path / f"{number}.csv"
            table.write_bytes(end.join(lines).encode("latin-1"))
            assert read_nodules(table) == {"1.2": [Nodule(3, 4, 5, 6)]}


def test_scan_that_is_there_twice_is_reported(luna16, run_import, tmp_path):
    """Which of two different ones the nodules belong to is not known."""
    sitk.WriteImage(ct(7, (12, 40, 50)), str(luna16 / f"subset1/{UIDS[0]}.mhd"))
    said = run_import("luna16", luna16, "--workspace", tmp_path / "w", status=1)
    assert f"failed  {UIDS[0]}: it is there 2 times: subset0/{UIDS[0]}.mhd, subset1/{UIDS[0]}.mhd; keep one" in said
    assert list(labelled_cases(luna16, tmp_path / "w")) == [UIDS[1]]


def test_folder_without_scans_is_refused(luna16, run_import, tmp_path):
    for scan in luna16.rglob("subset*/*.mhd"):
        scan.unlink()
    assert "There is no scan (.mhd) in" in run_import("luna16", luna16, "--workspace", tmp_path / "w", status=1)


def test_sphere_is_clipped_at_the_edge_of_the_volume(tmp_path):
    sitk.WriteImage(ct(0), str(tmp_path / "scan.nrrd"))
    mask = sitk.GetArrayFromImage(draw_spheres(tmp_path / "scan.nrrd", [Nodule(31.0, -47.0, 105.0, 4.0)]))
    assert mask[0, 0, 0] == 1 and mask[-1].sum() == 0 and mask[:, :, -1].sum() == 0
    assert mask.sum() == sum(
        (0.7 * x) ** 2 + (0.8 * y) ** 2 + (2.5 * z) ** 2 <= 4 for x in range(24) for y in range(20) for z in range(6)
    )
