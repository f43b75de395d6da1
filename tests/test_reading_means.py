"""Cases of a study that the server's training learns as the mean of their readers."""

import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from monai.transforms import Compose

from lib.clicks.model import ClickModel
from lib.publishing import ModelStore
from lib.publishing.folds import Folds
from lib.publishing.shipped_patients import ShippedPatients
from lib.reading.conclusions import Conclusions
from lib.reading.reader_means import TARGET, learned, reader_count, with_reader_means
from lib.settings import load_info
from lib.trainers import LungTumorClickTrainTask
from lib.trainers.unfinished_run import UnfinishedRun
from lib.transforms import image_transforms
from lib.transforms.augmentation import patch_transforms
from tests.support.reader_study import study_labels, submit, write_study_file
from tests.support.train_task import task

AGREED, DISPUTED, OPEN = "1.2.1", "1.2.2", "1.2.3"


def box(start, stop):
    mask = np.zeros((48, 48, 8), bool)
    mask[start:stop, 12:36, 2:6] = True
    return mask


class Datastore:
    """Images of a study, all with the same voxels."""

    review_required = False

    def __init__(self, labels, image):
        self.labels, self._image, self.pinned = labels, image, []
        self.volumes = SimpleNamespace(pin=self.pinned.extend)

    def get_image_uri(self, case):
        return str(self._image)

    def series(self, case):
        return SimpleNamespace(value=lambda name: f"patient of {case}")

    def first_clicks(self, case):
        return []

    def save_label(self, case, file, tag, info):
        content = Path(file).read_bytes()
        self.labels.save(case, tag, lambda path: path.write_bytes(content), info)


@pytest.fixture
def study(tmp_path):
    """Two readers agree on one case and differ on the next; only one of them has submitted a label of the third."""
    file = write_study_file(tmp_path, ["anna", "ben"], [AGREED, DISPUTED, OPEN], "reviewers: [rhea]")
    labels = study_labels(file, tmp_path / "workspace")
    for case, masks in {AGREED: (box(8, 32), box(12, 32)), DISPUTED: (box(8, 24), box(20, 36))}.items():
        for reader, mask in zip(("anna", "ben"), masks, strict=True):
            submit(labels, reader, case, mask)
    submit(labels, "anna", OPEN, box(8, 24))
    image = tmp_path / "image.nii.gz"
    rng = np.random.default_rng(0)
    nibabel.save(nibabel.Nifti1Image(rng.integers(-900, 100, (48, 48, 8)).astype(np.int16), np.eye(4)), image)
    datastore = Datastore(labels.labels, image)
    Conclusions(labels, datastore, tmp_path, lambda case: None).run_once()
    return labels, datastore


def cases_of(labels, datastore):
    """Return the cases with a final label, as the datastore has them."""
    cases = []
    for case in (AGREED, DISPUTED, OPEN):
        with suppress(KeyError):
            record = labels.labels.in_use(case)["final"]
            path = str(labels.labels.path(record))
            cases.append({"image": datastore.get_image_uri(case), "label": path, "image_id": case, "label_sha256": "f"})
    return cases


def test_complete_cases_are_learned_as_the_mean_and_measured_on_the_consensus(study, tmp_path):
    labels, datastore = study
    before = cases_of(labels, datastore)
    assert [case["image_id"] for case in before] == [AGREED]
    agreed, disputed = with_reader_means(before, datastore, labels, tmp_path / "out")
    assert {name: agreed[name] for name in before[0]} == before[0]  # its final label is still what is measured on
    assert (disputed["image_id"], disputed["patient_id"]) == (DISPUTED, f"patient of {DISPUTED}")
    assert datastore.pinned == [Path(disputed["image"])] and len(disputed["label_sha256"]) == 64
    readers = np.asarray(nibabel.load(disputed[TARGET]).dataobj)
    assert [bool((readers[..., n] > 0).sum() == box(0, 16).sum()) for n in range(2)] == [True, True]
    consensus = np.asarray(nibabel.load(disputed["label"]).dataobj) > 0
    assert np.array_equal(consensus, box(8, 24) | box(20, 36))  # marked by half of the two readers


def test_a_case_that_somebody_still_reads_is_not_learned(study, tmp_path):
    """Its labels would reach the other reader through the model."""
    labels, datastore = study
    cases = with_reader_means(cases_of(labels, datastore), datastore, labels, tmp_path / "out")
    assert [case["image_id"] for case in cases] == [AGREED, DISPUTED]


def test_a_consensus_that_is_not_trained_on_is_not_learned_as_a_mean(study, tmp_path):
    """The datastore leaves it out if a reviewer has sent it back."""
    labels, datastore = study
    cases = with_reader_means([], datastore, labels, tmp_path / "out")
    assert [case["image_id"] for case in cases] == [DISPUTED]
    datastore.review_required = True
    assert with_reader_means([], datastore, labels, tmp_path / "out") == [], "nobody has approved anything"


def test_a_decision_and_a_label_from_elsewhere_are_learned_as_they_are(study, tmp_path):
    labels, datastore = study
    image = nibabel.Nifti1Image(box(8, 20).astype(np.uint8), np.eye(4))
    decided = {"adjudicates": [1, 2], "study": {"name": "nodules"}}
    for case, info in ((DISPUTED, decided), (AGREED, {"user": "carl"})):
        labels.labels.save(case, "final", lambda path: nibabel.save(image, path), info)
    before = cases_of(labels, datastore)
    assert with_reader_means(before, datastore, labels, tmp_path / "out") == before


def test_patches_have_the_share_of_the_readers(study, tmp_path):
    labels, datastore = study
    info = load_info()
    info["preprocessing"].update(field="slice", size=[64, 64])
    (case,) = [one for one in with_reader_means([], datastore, labels, tmp_path / "out") if one["image_id"] == DISPUTED]
    files = {name: learned(case)[name] for name in ("image", "label")}
    transforms = [
        *image_transforms(info["preprocessing"], ("image", "label")),
        *patch_transforms(info["preprocessing"], patch_size=32, count=6, soft=True),
    ]
    patches = Compose(transforms)(files)
    values = np.unique(np.concatenate([np.asarray(one["label"]).ravel() for one in patches]))
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert {*patches[0]} == {"image", "label"}


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("kind", ["automatic", "clicks"])
def test_the_train_tasks_learn_them_if_the_setting_says_so(study, tmp_path, train_info, monkeypatch, kind, wanted):
    labels, datastore = study
    datastore.pinned_datalist = lambda: cases_of(labels, datastore)
    trainer, learns = _automatic(tmp_path, train_info) if kind == "automatic" else _by_clicks(tmp_path)
    given = []
    monkeypatch.setattr(trainer, "_train", lambda *sent: given.extend(learns(trainer, sent)) or sys.exit())
    with pytest.raises(SystemExit):
        trainer({"readers_mean": wanted, "folds": 0}, datastore)
    assert given == ([2, 2] if wanted else [1])


def _automatic(folder, info):
    """Return the train task, and a function that returns the number of readers of each case that it learns from."""
    trainer = task(info, folder / "models", folder / "study.yaml")
    assert trainer.config()["readers_mean"] is False
    return trainer, lambda trainer, sent: map(reader_count, trainer._cases)


def _by_clicks(folder):
    store, unfinished = ModelStore(folder / "clicks", folder / "clicks.pt"), UnfinishedRun(folder / "training.json")
    folds = Folds(folder / "folds.json", ShippedPatients(folder / "clicks.pt"))
    model, info = ClickModel.from_info(load_info()), load_info()
    trainer = LungTumorClickTrainTask(model, info, store, folds, unfinished, folder / "study.yaml")

    return trainer, lambda trainer, sent: [len(image.readers) for image in trainer._images(sent[1], seed=0)]
