"""Numbers and tracking UIDs that lesions keep over the submissions of an image."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from lib.datastore.label_record import LabelRecord
from lib.datastore.label_store import LabelStore
from lib.datastore.lesion_history import highest_number, lesions_of_submission
from lib.datastore.lesion_numbers import FormerLesions, lesions_of_record, number_lesions
from lib.datastore.volume import write_mask
from lib.geometry.voxel_grid import VoxelGrid

LABELS = {"lung_tumor": 1}
FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "lesion_numbers.json").read_text())
IMAGE = "1.2.3"


def mask_of(*lesions: list[int]) -> np.ndarray:
    mask = np.zeros(FIXTURE["size"][::-1], np.uint8)
    mask.ravel()[[index for lesion in lesions for index in lesion]] = 1
    return mask


@pytest.mark.parametrize("case", FIXTURE["cases"].values(), ids=FIXTURE["cases"])
def test_lesions_are_numbered_after_the_former_ones_as_in_the_viewer(case):
    numbers = np.zeros(FIXTURE["size"][::-1], int)
    for number, voxels in case["former"].items():
        numbers.ravel()[voxels] = int(number)
    uids = {int(number): f"1.2.{number}" for number in case["former"]}
    found = number_lesions(mask_of(*case["lesions"]), LABELS, FormerLesions(numbers, uids, case["last"]))
    by_voxel = {np.ravel_multi_index(one.voxel[::-1], numbers.shape): one for one in found}
    assert [by_voxel[lesion[0]].number for lesion in case["lesions"]] == case["numbers"]
    assert [one.number for one in found] == sorted(case["numbers"])
    kept = {one.number: one.uid for one in found if one.number in uids}
    assert kept == {number: uids[number] for number in kept}
    assert len({one.uid for one in found}) == len(found)


class History:
    """Submissions of one image."""

    def __init__(self, folder: Path) -> None:
        self.store = LabelStore(folder)
        self.grid = VoxelGrid.from_geometry(FIXTURE["size"], (0, 0, 0), (1, 1, 1), np.eye(3))

    def submit(self, mask: np.ndarray, tag: str = "final", **info: object) -> dict[int, tuple[str, list[int]]]:
        """Store a label; return UID and first voxel of each lesion by number."""
        known = info or lesions_of_submission(self.store, IMAGE, tag, mask, LABELS)
        image = self.grid.mask(mask)
        record = self.store.save(IMAGE, tag, lambda part: write_mask(image, part, True), known)
        return {one.number: (one.uid, [*one.voxel]) for one in lesions_of_record(record, mask, LABELS)}


@pytest.fixture
def history(tmp_path) -> History:
    return History(tmp_path / "labels")


def test_lesions_keep_number_and_uid_over_submissions(history):
    first = history.submit(mask_of([0, 1, 2], [22, 23]))
    without = history.submit(mask_of([22, 23, 29]))
    assert without == {2: first[2]}
    third = history.submit(mask_of([0, 1], [22]))
    assert third.keys() == {2, 3}, "that a lesion is the same as one that was gone is not known"
    assert third[2] == first[2]
    assert third[3][0] not in {uid for uid, _ in first.values()}


def test_a_restored_label_does_not_give_numbers_again(history):
    first = history.submit(mask_of([0], [22, 23]))
    history.submit(mask_of([0], [22, 23], [4]))
    former = history.store.history(IMAGE)[0]
    history.submit(mask_of([0], [22, 23]), **former.info, restored=1)
    assert highest_number(history.store, IMAGE) == 3
    again = history.submit(mask_of([0], [22, 23], [26]))
    assert again.keys() == {1, 2, 4}
    assert again[1] == first[1]


def test_lesions_of_an_imported_label_keep_their_number_and_those_of_a_prediction_do_not(history):
    imported = history.submit(mask_of([0], [22, 23]), tag="initial", source="RTSTRUCT")
    history.submit(mask_of([0, 1, 2]), tag="original")
    assert history.submit(mask_of([0, 1, 2])) == {2: imported[2]}


def test_predictions_do_not_use_up_numbers(history):
    for _ in range(2):
        assert history.submit(mask_of([0], [22, 23]), tag="original").keys() == {1, 2}
    assert history.submit(mask_of([0])).keys() == {1}


def test_a_withdrawn_label_is_not_followed(history):
    history.submit(mask_of([0], [22, 23]), tag="initial", source="RTSTRUCT")
    history.store.withdraw(IMAGE, "initial")
    assert history.submit(mask_of([0], [22, 23], [4])).keys() == {1, 2, 3}
    history.store.withdraw(IMAGE, "final")
    assert highest_number(history.store, IMAGE) == 3  # which the viewer counts on from, too
    assert history.submit(mask_of([0], [22, 23])).keys() == {4, 5}


def test_a_label_from_before_lesions_were_tracked_keeps_the_uids_of_its_reports():
    record = LabelRecord("1.2.3", 1, "final", 0.0, "abc", {})
    first, second = lesions_of_record(record, mask_of([0], [22, 23]), LABELS)
    assert (first.number, first.voxel, second.number) == (1, (4, 3, 0), 2)
    assert first.uid == "1.2.826.0.1.3680043.8.498.55291722906312058199077844438078008961"


@pytest.mark.parametrize(
    "numbers", ["x", [3], [{"voxel": [0, 0, 0], "number": 1}], [{"voxel": [1, 0, 0], "number": 1, "uid": "1.2"}]]
)
def test_malformed_numbers_are_not_used(numbers):
    record = LabelRecord("1.2.3", 1, "final", 0.0, "abc", {"lesion_numbers": numbers})
    (lesion,) = lesions_of_record(record, mask_of([0]), LABELS)
    assert (lesion.voxel, lesion.number) == ((0, 0, 0), 1)


def test_a_damaged_former_label_does_not_prevent_a_new_one(history, caplog):
    history.submit(mask_of([0], [22]))
    (history.store._folder / IMAGE / "1.nii.gz").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING):
        assert history.submit(mask_of([0])).keys() == {3}
    assert "not numbered after its former label" in caplog.text
