"""Initial labels from annotations made elsewhere, at the right position in the patient."""

import copy
import re

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.uid import generate_uid

from lib.annotations import dicom_seg, lidc_xml, rtstruct
from lib.annotations.regions import Region, choose, select
from lib.datastore.label_info import author_of
from lib.datastore.opening import open_datastore
from lib.datastore.volume import read_volume
from lib.errors import UserError
from lib.exports.dicom_seg import segmentation
from lib.exports.label_exports import LabelExports
from lib.exports.lesion_table import lesion_table
from lib.exports.rtstruct import structure_set
from lib.exports.seg_storage import SegStorage
from lib.exports.source_images import SourceImages
from lib.geometry.voxel_grid import VoxelGrid
from lib.initial_labels.initial_labels import InitialLabels
from lib.phantoms import Acquisition
from lib.server.stored_labels import stored_labels
from lib.settings import Settings
from tests.support.dicom_variants import change, sorted_slices
from tests.support.marked_scan import INFO, SHAPE, Scan, corner, voxels

RULES = INFO["imports"]


@pytest.fixture(params=["head_first_supine", "feet_first_supine", "sagittal"])
def scan(request, tmp_path):
    return Scan(tmp_path / "ct", plane=request.param, oblique_degrees=1.0)


@pytest.mark.parametrize(("make", "read"), [(segmentation, dicom_seg), (structure_set, rtstruct)])
def test_objects_of_this_app_are_read_back_voxel_for_voxel(scan, tmp_path, make, read):
    regions = read.read_regions(scan.store(make, tmp_path / "object.dcm"), scan.grid)
    assert [region.name for region in regions] == ["lung_tumor"]
    found = choose(regions, RULES)
    assert np.array_equal(voxels(found), corner())
    assert found.GetDirection() == scan.image.GetDirection()
    assert found.GetOrigin() == scan.image.GetOrigin()


def test_frames_are_placed_by_position_in_any_order(scan, tmp_path):
    path = scan.store(segmentation, tmp_path / "seg.dcm")
    change([path], _shuffle)
    (region,) = dicom_seg.read_regions(path, scan.grid)
    assert np.array_equal(voxels(region.mask()), corner())


def _shuffle(seg):
    frames = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    count, length = int(seg.NumberOfFrames), seg.Rows * seg.Columns
    order = np.random.default_rng(0).permutation(count)
    assert not np.array_equal(order, np.arange(count))
    frames = frames[: count * length].reshape(count, length)[order]
    seg.PixelData = np.packbits(frames, bitorder="little").tobytes()
    seg.PerFrameFunctionalGroupsSequence = [seg.PerFrameFunctionalGroupsSequence[place] for place in order]


def test_segments_of_one_kind_are_merged_and_fractions_are_thresholded_at_half(scan, tmp_path):
    two = np.stack([corner(), np.roll(corner(), 3, axis=1)], axis=-1).astype(np.uint8)
    path = scan.foreign_seg(tmp_path / "seg.dcm", two, ["Segment 1", "Segment 2"])
    assert np.array_equal(voxels(choose(dicom_seg.read_regions(path, scan.grid), RULES)), two.max(-1))
    part = np.where(corner(), 0.6, 0.3).astype(np.float32)[..., None]
    path = scan.foreign_seg(tmp_path / "part.dcm", part, ["Nodule"], "FRACTIONAL")
    assert np.array_equal(voxels(choose(dicom_seg.read_regions(path, scan.grid), RULES)), corner())


def test_seg_on_another_grid_is_refused(scan, tmp_path):
    path = scan.store(segmentation, tmp_path / "seg.dcm")

    def move(seg):
        for groups in seg.PerFrameFunctionalGroupsSequence:
            position = groups.PlanePositionSequence[0].ImagePositionPatient
            groups.PlanePositionSequence[0].ImagePositionPatient = [float(value) + 0.4 for value in position]

    change([path], move)
    (region,) = dicom_seg.read_regions(path, scan.grid)
    with pytest.raises(UserError, match="different grid"):
        region.mask()


def test_inner_contour_is_a_hole_a_point_is_ignored_and_a_contour_between_slices_is_refused(scan, tmp_path):
    mask = np.zeros(SHAPE, np.uint8)
    mask[4, 3:12, 4:16] = 1
    inner = np.zeros(SHAPE, np.uint8)
    inner[4, 5:8, 6:11] = 1
    outer_file = scan.store(structure_set, tmp_path / "rt.dcm", mask)
    hole = dcmread(scan.store(structure_set, tmp_path / "hole.dcm", inner)).ROIContourSequence[0].ContourSequence[0]
    point = copy.deepcopy(hole)
    point.ContourGeometricType, point.ContourData = "POINT", hole.ContourData[:3]
    change([outer_file], lambda rt: rt.ROIContourSequence[0].ContourSequence.extend([hole, point, hole]))
    (region,) = rtstruct.read_regions(outer_file, scan.grid)
    assert np.array_equal(voxels(region.mask()), mask - inner)
    assert "1 contour(s) of type POINT" in region.warnings[0]

    def lift(rt):
        contour = rt.ROIContourSequence[0].ContourSequence[0]
        normal = scan.sources.stack.normal
        contour.ContourData = (np.array(contour.ContourData, float).reshape(-1, 3) + normal).ravel().round(3).tolist()

    change([outer_file], lift)
    with pytest.raises(UserError, match="match no slice"):
        rtstruct.read_regions(outer_file, scan.grid)[0].mask()


def test_millilitres_of_a_tilted_scan_are_those_of_its_lesions(tmp_path):
    scan = Scan(tmp_path / "dicom", gantry_tilt_degrees=25)
    scan.store(structure_set, scan.folder / "rt.dcm")
    datastore = datastore_of(scan.folder, tmp_path)
    InitialLabels(datastore, RULES).read_new_objects()
    stated = datastore.labels.latest(scan.uid, "initial").info["millilitres"]
    lesions = lesion_table(corner(), scan.image, INFO["labels"])
    assert stated == pytest.approx(sum(one.volume_ml for one in lesions), abs=2e-4)


def draw(rt, scan, corners, places):
    """Replace the contours by the same polygon (column, row) on several slices, in mm with three decimals."""
    (roi,) = rt.ROIContourSequence
    contour, made = roi.ContourSequence[0], []
    for place in places:
        index = np.column_stack([corners, np.full(len(corners), place)])
        made.append(copy.deepcopy(contour))
        made[-1].ContourData = [f"{mm:.3f}" for mm in scan.grid.to_mm(index).ravel()]
        made[-1].NumberOfContourPoints = len(corners)
    roi.ContourSequence = made


def test_rounding_does_not_decide_on_pixels_whose_centres_a_contour_runs_through(scan, tmp_path):
    path = scan.store(structure_set, tmp_path / "rt.dcm")
    change([path], lambda rt: draw(rt, scan, [(4, 3), (13, 3), (13, 12), (4, 12)], range(SHAPE[0])))
    expected = np.zeros(SHAPE, np.uint8)
    expected[:, 3:12, 4:13] = 1  # as many pixels as the area of the polygon
    assert np.array_equal(voxels(rtstruct.read_regions(path, scan.grid)[0].mask()), expected)


@pytest.mark.parametrize("points", [["1", "2", "3", "4"], ["nan"] * 9])
def test_damaged_contours_of_one_region_do_not_hide_another(scan, tmp_path, points):
    path = scan.store(structure_set, tmp_path / "rt.dcm")

    def add_heart(rt):
        for sequence in (rt.StructureSetROISequence, rt.ROIContourSequence):
            sequence.append(copy.deepcopy(sequence[0]))
        rt.StructureSetROISequence[1].ROINumber = rt.ROIContourSequence[1].ReferencedROINumber = 2
        rt.StructureSetROISequence[1].ROIName = "Heart"
        rt.ROIContourSequence[1].ContourSequence[0].ContourData = points
        rt.ROIContourSequence[0].ContourSequence.append(copy.deepcopy(rt.ROIContourSequence[0].ContourSequence[0]))
        del rt.ROIContourSequence[0].ContourSequence[-1].ContourData

    change([path], add_heart)
    regions = rtstruct.read_regions(path, scan.grid)
    assert np.array_equal(voxels(choose(regions, RULES)), corner())
    assert "1 contour(s) of type CLOSED_PLANAR of 'lung_tumor' enclose nothing" in regions[0].warnings[0]
    with pytest.raises(UserError, match="The contours of 'Heart' are damaged"):
        choose(regions, RULES, ["Heart"])


@pytest.mark.parametrize("again", ["turned", "reversed", "closed"])
def test_a_contour_written_twice_in_another_way_is_one(scan, tmp_path, again):
    path = scan.store(structure_set, tmp_path / "rt.dcm")
    corners = [(3.5, 2.5), (12.5, 2.5), (12.5, 11.5), (3.5, 11.5)]
    twice = {"turned": [*corners[2:], *corners[:2]], "reversed": corners[::-1], "closed": [*corners, corners[0]]}

    def draw_twice(rt):
        draw(rt, scan, corners, [4])
        (first,) = rt.ROIContourSequence[0].ContourSequence
        draw(rt, scan, twice[again], [4])
        rt.ROIContourSequence[0].ContourSequence.append(first)

    change([path], draw_twice)
    expected = np.zeros(SHAPE, np.uint8)
    expected[4, 3:12, 4:13] = 1
    assert np.array_equal(voxels(rtstruct.read_regions(path, scan.grid)[0].mask()), expected)


def region(name, *codes):
    return Region(name, codes, lambda: None)


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (["Nodule 1", "Nodule 2", "Heart"], ["Nodule 1", "Nodule 2"]),
        (["Lung_L", "Heart", "GTV-1"], ["GTV-1"]),
        (["Tumor_c40", "LN_c40"], ["Tumor_c40"]),
        (["GTV-1", "GTV-2"], None),
        (["Tumor_c40", "Tumor_c50"], None),
        (["Lung_L", "Esophagus"], None),
    ],
)
def test_regions_are_chosen_or_need_a_choice(there, chosen):
    regions = [region(name) for name in there]
    if chosen is None:
        with pytest.raises(UserError, match=there[0]):
            select(regions, RULES)
    else:
        assert [one.name for one in select(regions, RULES)] == chosen
    assert [one.name for one in select(regions, RULES, [there[-1].upper()])] == [there[-1]]


def test_retired_code_equals_its_successor():
    assert select([region("A", "SRT:M-03010"), region("B", "SCT:39607008")], RULES)[0].name == "A"


def datastore_of(folder, tmp_path):
    datastore = open_datastore(Settings.from_conf(str(folder), {"workspace": str(tmp_path / "workspace")}))
    datastore.client.scan()
    datastore.catalog.refresh()
    return datastore


def test_initial_label_is_created_once_and_is_not_counted_as_labelled(tmp_path):
    scan = Scan(tmp_path / "dicom")
    scan.store(structure_set, scan.folder / "rt.dcm")
    (scan.folder / "broken.dcm").write_bytes(scan.store(segmentation, tmp_path / "seg.dcm").read_bytes()[:3000])
    datastore = datastore_of(scan.folder, tmp_path)
    uid = str(dcmread(scan.folder / "rt.dcm").SOPInstanceUID)
    with datastore.senders.storing([uid], "ada") as stored:
        stored.add(uid)
    InitialLabels(datastore, RULES).read_new_objects()
    record = datastore.labels.latest(scan.uid, "initial")
    assert author_of(record.info) == "ada", "who stored the object, not whom it names as its creator"
    assert stored_labels(datastore.labels, scan.uid)[0]["source"]["creator"] == "ada"
    assert np.array_equal(voxels(sitk.ReadImage(datastore.get_label_uri(scan.uid, "initial"))), corner())
    assert record.info["source"]["regions"] == ["lung_tumor"]
    assert datastore.get_labeled_images() == datastore.datalist() == []
    assert datastore.status()["label_tags"] == {"initial": 1}
    InitialLabels(datastore, RULES).read_new_objects()
    assert len(datastore.labels.history(scan.uid)) == 1
    datastore.remove_label(scan.uid, "initial")
    InitialLabels(datastore, RULES).read_new_objects()
    assert "initial" not in datastore.labels.current(scan.uid)


@pytest.mark.parametrize(("make", "name"), [(segmentation, "seg.dcm"), (structure_set, "rt.dcm")])
def test_objects_lie_on_slices_that_are_shifted_by_less_than_a_volume_notes(make, name, tmp_path):
    scan = Scan(tmp_path / "dicom")
    for place, path in enumerate(sorted_slices(scan.folder)):
        x, y, z = Acquisition(shape=SHAPE, spacing=(2.5, 0.8, 0.7)).affine[:3, 3] + [0.05 * place, 0, 2.5 * place]
        change([path], lambda one, at=[x, y, z]: setattr(one, "ImagePositionPatient", [f"{mm:.3f}" for mm in at]))
    metadata = [dcmread(path, stop_before_pixels=True).to_json_dict() for path in sorted_slices(scan.folder)]
    scan.sources = SourceImages.of(metadata)
    assert scan.sources.stack.is_regular
    mask = corner()
    mask[-1, :, -1] = 1  # at the border, towards which the slices are shifted
    scan.store(make, scan.folder / name, mask)
    datastore = datastore_of(scan.folder, tmp_path)
    imports = InitialLabels(datastore, RULES)
    imports.read_new_objects()
    assert imports.refused(scan.uid) == ()
    assert np.array_equal(voxels(sitk.ReadImage(datastore.get_label_uri(scan.uid, "initial"))), mask)


def test_object_on_a_labelled_series_is_a_candidate_and_ambiguity_is_told_with_its_reason(tmp_path):
    scan = Scan(tmp_path / "dicom")
    both = np.stack([corner(), corner()], axis=-1)
    scan.foreign_seg(scan.folder / "seg.dcm", both, ["GTV-1", "GTV-2"])
    datastore = datastore_of(scan.folder, tmp_path)
    imports = InitialLabels(datastore, RULES)
    imports.read_new_objects()
    assert not datastore.labels.current(scan.uid)
    assert "GTV-2" in datastore.get_image_info(scan.uid)["warnings"][-1]
    (refused,) = imports.refused(scan.uid)
    assert (refused.source["kind"], refused.source["creator"]) == ("SEG", "Doe^J")
    assert refused.reason.startswith("Several regions may be the tumour: 'GTV-1'")
    label = tmp_path / "label.nii.gz"
    sitk.WriteImage(dicom_seg.read_regions(scan.folder / "seg.dcm", scan.grid)[0].mask(), str(label))
    datastore.save_label(scan.uid, str(label), "final", {})
    scan.store(structure_set, scan.folder / "rt.dcm")
    datastore.client.scan()
    InitialLabels(datastore, RULES).read_new_objects()
    assert list(datastore.labels.current(scan.uid)) == ["final", "candidate"]
    assert datastore.get_labeled_images() == [scan.uid]
    InitialLabels(datastore, RULES).read_new_objects()
    assert len(datastore.labels.history(scan.uid)) == 2


def test_lidc_agreement_of_two_of_four_readers(tmp_path):
    scan = Scan(tmp_path / "ct")
    header = dcmread(sorted_slices(scan.folder)[4], stop_before_pixels=True)

    def reader(low, high):
        edge = [(x, low) for x in range(4, 12)] + [(11, y) for y in range(low + 1, high)]
        edge += [(x, high) for x in range(11, 3, -1)] + [(4, y) for y in range(high - 1, low, -1)]
        points = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in edge)
        return (
            "<readingSession><unblindedReadNodule><noduleID>1</noduleID><roi>"
            f"<imageZposition>{header.ImagePositionPatient[2]}</imageZposition><inclusion>TRUE</inclusion>{points}"
            "</roi></unblindedReadNodule></readingSession>"
        )

    sessions = reader(3, 9) + reader(6, 14) + 2 * "<readingSession/>"
    path = tmp_path / "reading.xml"
    path.write_text(f'<LidcReadMessage xmlns="http://www.nih.gov">{sessions}</LidcReadMessage>')
    (agreed,) = lidc_xml.read_regions(path, scan.grid)
    expected = np.zeros(SHAPE, np.uint8)
    expected[4, 7:9, 5:11] = 1
    assert np.array_equal(voxels(agreed.mask()), expected)
    nowhere = re.sub("<imageZposition>[^<]*", "<imageZposition>nan", sessions)
    path.write_text(f'<LidcReadMessage xmlns="http://www.nih.gov">{nowhere}</LidcReadMessage>')
    (lost,) = lidc_xml.read_regions(path, scan.grid)
    with pytest.raises(UserError, match="z = nan mm matches no slice"):
        lost.mask()
    path.write_text(f'<LidcReadMessage xmlns="http://www.nih.gov">{reader(3, 9)}</LidcReadMessage>')
    assert lidc_xml.read_regions(path, scan.grid) == []


@pytest.mark.parametrize(
    ("folder", "read", "file", "truth"),
    [
        ("4d-lung-113", rtstruct, "*47.35/*.dcm", "4d-lung-113_Tumor_c40.nii.gz"),
        ("lidc-idri-0001", lidc_xml, "069.xml", "lidc-idri-0001_nodule_ge2readers.nii.gz"),
    ],
)
def test_real_annotations_match_reference_masks(shared_data, folder, read, file, truth):
    slices = [path for path in sorted((shared_data / folder).rglob("*.dcm")) if "47.35" not in path.parent.name]
    grid = VoxelGrid.from_image(read_volume(slices))
    found = voxels(choose(read.read_regions(next((shared_data / folder).glob(file)), grid), RULES))
    assert np.array_equal(found, voxels(sitk.ReadImage(str(shared_data / "masks" / truth))) > 0)


def test_exported_label_is_not_imported_as_initial_label(tmp_path):
    scan = Scan(tmp_path / "dicom")
    datastore = datastore_of(scan.folder, tmp_path)
    label = tmp_path / "label.nii.gz"
    sitk.WriteImage(
        dicom_seg.read_regions(scan.store(segmentation, tmp_path / "s.dcm"), scan.grid)[0].mask(), str(label)
    )
    datastore.save_label(scan.uid, str(label), "final", {})
    SegStorage(datastore, LabelExports(datastore, INFO), to_pacs=False).store_missing()
    assert datastore.client.search_for_series(search_filters={"Modality": "SEG"})
    datastore.remove_label(scan.uid, "final")
    InitialLabels(datastore, RULES).read_new_objects()
    assert not datastore.labels.current(scan.uid)


def test_another_frame_of_reference_is_refused(tmp_path):
    scan = Scan(tmp_path / "dicom")
    path = scan.store(segmentation, scan.folder / "seg.dcm")
    change([path], lambda seg: setattr(seg, "FrameOfReferenceUID", generate_uid()))
    datastore = datastore_of(scan.folder, tmp_path)
    InitialLabels(datastore, RULES).read_new_objects()
    assert not datastore.labels.current(scan.uid)
    assert "frame of reference" in datastore.get_image_info(scan.uid)["warnings"][-1]
