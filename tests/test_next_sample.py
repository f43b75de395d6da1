"""The next image for a user: never one that was skipped, nor one that the viewer cannot show."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from monailabel.tasks.activelearning.first import First

from lib.activelearning import Leases, NextSample, Review
from lib.datastore.skipped_images import SkippedImages
from lib.errors import UserError

OHIF, SLICER = {"viewer": "ohif"}, {}


@dataclass
class Entry:
    uid: str
    is_dicom: bool = True


@dataclass
class Catalog:
    entries: list[Entry]

    def all(self) -> list[Entry]:
        return self.entries


@dataclass
class Images:
    """The parts of a datastore that matter here."""

    catalog: Catalog
    skipped: SkippedImages
    labelled: list[str] = field(default_factory=list)

    def get_labeled_images(self, label_tag=None, labels=None) -> list[str]:
        return list(self.labelled)

    @property
    def labels(self) -> SimpleNamespace:
        return SimpleNamespace(current=lambda image: {})

    def review_of(self, image: str) -> None:
        return None

    def get_unlabeled_images(self, label_tag=None, labels=None) -> list[str]:
        return [one.uid for one in self.catalog.entries if one.uid not in self.labelled]


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(Catalog([Entry("a"), Entry("b"), Entry("nifti", is_dicom=False)]), SkippedImages(tmp_path / "s.json"))


@pytest.fixture
def offer(images):
    chooser = NextSample({"random": First()}, Review(dict), Leases(60))

    def ask(viewer: dict) -> str | None:
        chosen = chooser.choose({"client_id": "one", **viewer}, images)
        return chosen and chosen["id"]

    return ask


def test_ohif_is_never_offered_a_file_that_it_cannot_show(images, offer):
    images.labelled = ["a", "b"]
    assert offer(SLICER) == "nifti"
    assert offer(OHIF) in ("a", "b"), "labels are reviewed once all that it can show are labelled"
    images.labelled = ["nifti"]
    assert offer(OHIF) == "a"


def test_skipped_images_are_not_offered_until_that_is_taken_back(images, offer):
    images.skipped.skip("a", "poor quality", "ada", 1.0)
    assert offer(OHIF) == "b"
    images.labelled = ["b"]
    assert offer(OHIF) == "b", "to review"
    images.skipped.take_back("a")
    assert offer(OHIF) == "a"


def test_images_skipped_for_later_come_after_all_others(images, offer):
    images.skipped.skip("a", "later", "ada", 1.0)
    assert offer(OHIF) == "b"
    images.labelled = ["b"]
    assert offer(OHIF) == "a"


def test_open_image_is_offered_only_if_there_is_no_other(images, offer):
    assert offer(OHIF | {"open": "a"}) == "b"
    images.labelled = ["b"]
    assert offer(OHIF | {"open": "a"}) == "a"
    assert offer(OHIF | {"open": ["a"]}) == "a"


def test_open_image_is_the_last_to_be_reviewed_too(images, offer):
    images.labelled = ["a", "b", "nifti"]
    assert offer(OHIF | {"open": "a"}) == "b"
    images.catalog.entries = [Entry("a")]
    images.labelled = ["a"]
    assert offer(OHIF | {"open": "a"}) == "a"


def test_skipping_is_kept_with_its_reason(tmp_path):
    skipped = SkippedImages(tmp_path / "skipped.json")
    skipped.skip("a", "not a chest", "ada", 5.0)
    skipped.skip("b", "later", "bob", 6.0)
    skipped.take_back("b")
    skipped.take_back("c")
    again = SkippedImages(tmp_path / "skipped.json")
    assert again.all() == {"a": {"reason": "not a chest", "by": "ada", "time": 5.0}}
    with pytest.raises(UserError, match="poor quality"):
        again.skip("a", "I do not like it", "ada", 7.0)


def test_damaged_file_skips_nothing(tmp_path):
    path = tmp_path / "skipped.json"
    path.write_text('{"a": 5}')
    assert SkippedImages(path).all() == {}
    SkippedImages(path).skip("b", "later", "ada", 1.0)
    assert list(SkippedImages(path).all()) == ["b"]


def test_unknown_strategy_is_an_error(images):
    with pytest.raises(UserError, match="There is no strategy 'best'; there is random"):
        NextSample({"random": First()}, Review(dict), Leases(60)).choose({"strategy": "best"}, images)
