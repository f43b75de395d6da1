"""What a reader and a reviewer see of the labels of a study, and what its readings lead to; without a server."""

from pathlib import Path

import numpy as np
import pytest

from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.reading.conclusions import Conclusions
from lib.reading.reviewer_view import ReviewerView
from lib.reading.stored_readings import reading_tag
from lib.reading.views import ReaderView, StrangerView, View
from tests.support.reader_study import study_labels, submit, write_study_file

CASE, DAY = "1.2.3", 24 * 3600


def box(start, stop):
    mask = np.zeros((24, 12, 8), bool)
    mask[start:stop, 4:8, 2:6] = True
    return mask


class Finals:
    """Datastore that keeps the final labels that it is given."""

    def __init__(self, labels):
        self.labels = labels

    def save_label(self, image, file, tag, info):
        content = Path(file).read_bytes()
        self.labels.save(image, tag, lambda path: path.write_bytes(content), info)


@pytest.fixture
def study(tmp_path):
    """Return ``study(more)``, the labels of a study of two readers and its conclusions."""

    def made(more="", folder=tmp_path):
        file = write_study_file(tmp_path, ["anna", "ben"], [CASE], f"{more}\nreviewers: [rhea]")
        labels = study_labels(file, folder / "workspace")
        datastore: SeriesDatastore = Finals(labels.labels)
        finals: list[str] = []
        return labels, Conclusions(labels, datastore, tmp_path, finals.append), finals

    return made


def final_of(labels):
    return labels.labels.in_use(CASE).get("final")


def test_a_crossover_hides_the_first_reading_in_the_second_and_in_between(study):
    labels, _, _ = study("model_mask: crossover\nwashout_days: 10")
    first = labels.plan.readings("anna")[0]
    submit(labels, "anna", CASE, box(0, 4), session=1)
    now = labels.labels.history(CASE)[0].time
    during, after = (ReaderView(labels, "anna", now + days * DAY) for days in (9, 10.1))
    assert not during.shows(CASE) and during.labels.history(CASE) == [] and during.next_image([CASE]) is None
    assert after.shows(CASE) and after.labels.history(CASE) == [] and after.next_image([CASE]) == CASE
    assert after.next_image([]) is None  # its series is not on the server yet
    stored = after.submission(CASE, "final", {"model_version": "v1"}, "P1")
    assert stored.info["study"]["session"] == 2
    assert stored.info["study"]["model_mask"] is not first.model_mask
    assert ("model_version" in stored.info) is not first.model_mask
    with pytest.raises(UserError, match="no image"):
        during.submission(CASE, "final", {}, "P1")


def test_without_the_model_clicks_are_as_the_study_says(study):
    for allowed in (True, False):
        view = ReaderView(study(f"click_tool: {str(allowed).lower()}")[0], "anna", 0)
        with pytest.raises(UserError, match="read without the model"):
            view.check_model(CASE, by_clicks=False)
        if allowed:
            view.check_model(CASE, by_clicks=True)
        else:
            with pytest.raises(UserError, match=r"by hand\."):
                view.check_model(CASE, by_clicks=True)


def test_nothing_is_concluded_before_all_have_read(study):
    labels, conclusions, finals = study()
    submit(labels, "anna", CASE, box(0, 4))
    conclusions.run_once()
    assert (conclusions.disputed(), finals, final_of(labels)) == ({}, [], None)


@pytest.mark.parametrize("method", ["majority", "staple"])
def test_consensus_is_made_once_and_anew_after_a_correction(study, method):
    labels, conclusions, finals = study(f"consensus: {method}")
    for reader in ("anna", "ben"):
        submit(labels, reader, CASE, box(0, 8))
    for _ in range(2):
        conclusions.run_once()
    assert final_of(labels).info["consensus"] == {"method": method, "of": [1, 2]}
    assert np.array_equal(labels.mask(final_of(labels)), box(0, 8))
    study(f"consensus: {method}")[1].run_once()  # as after a restart
    assert (finals, final_of(labels).number) == ([CASE], 3)
    submit(labels, "ben", CASE, box(1, 8))
    conclusions.run_once()
    assert final_of(labels).info["consensus"]["of"] == [1, 4]


def test_a_correction_that_brings_disagreement_takes_the_consensus_out_of_use(study):
    labels, conclusions, _ = study()
    for reader in ("anna", "ben"):
        submit(labels, reader, CASE, box(0, 8))
    conclusions.run_once()
    submit(labels, "ben", CASE, box(6, 14))
    conclusions.run_once()
    assert final_of(labels) is None
    assert conclusions.disputed()[CASE].numbers == (1, 4)


def test_the_reviewer_decides_and_names_the_labels(study):
    labels, conclusions, _ = study()
    submit(labels, "anna", CASE, box(0, 8), user="anna", annotator="anna", note="typed by anna")
    submit(labels, "ben", CASE, box(6, 14), user="ben", annotator="ben")
    view = ReviewerView(labels, conclusions)
    assert not view.shows(CASE)
    conclusions.run_once()
    seen = view.labels.history(CASE)
    assert len({one.time for one in seen}) == 1
    assert sorted(one.info["annotator"] for one in seen) == ["reader A", "reader B"]
    assert "anna" not in str(seen) and "ben" not in str(seen)
    for named in (None, [1], [1, 2, 3]):
        with pytest.raises(UserError, match="adjudicates"):
            view.submission(CASE, "final", {"adjudicates": named} if named else {}, "P1")
    decided = view.submission(CASE, "final", {"adjudicates": [2, 1]}, "P1")
    assert decided.info["adjudicates"] == [1, 2]
    labels.labels.save(CASE, decided.tag, lambda path: path.write_bytes(b"mask"), decided.info)
    conclusions.run_once()
    assert conclusions.disputed()[CASE].decided and view.next_image([CASE]) is None
    with pytest.raises(UserError, match="it is closed"):
        ReaderView(labels, "anna", 0).submission(CASE, "final", {}, "P1")
    assert "3" not in {one.number for one in ReaderView(labels, "anna", 0).labels.history(CASE)}


def test_a_label_under_the_tag_of_a_reader_by_somebody_else_is_no_reading(study):
    """As a program may have stored it before there was a study."""
    labels, _, _ = study()
    submit(labels, "anna", CASE, box(0, 4))
    first = labels.labels.history(CASE)[0]
    for forger in ("ben", None):
        submit(labels, "anna", CASE, box(8, 12), user=forger)
    (own,) = labels.of_case(CASE)
    assert (own.record.number, own.first_submitted) == (1, first.time)
    assert [one.number for one in ReaderView(labels, "anna", 0).labels.history(CASE)] == [1]
    submit(labels, "ben", CASE, box(8, 12), user="anna")
    assert labels.submitted("ben") == labels.submitted_of_case("ben", CASE) == {}
    assert ReaderView(labels, "ben", 0).labels.history(CASE) == []
    labels.labels.withdraw(CASE, first.tag)
    assert labels.of_case(CASE) == ReaderView(labels, "anna", 0).labels.labelled_images() == []


@pytest.mark.parametrize("kind", [View, StrangerView])
def test_nobody_but_a_reader_submits_a_reading(study, kind):
    labels, _, _ = study()
    view = View(labels.labels) if kind is View else StrangerView(labels)
    for tag in (reading_tag("nodules", "ben", 1), "reading-room"):
        with pytest.raises(UserError, match="kept for studies") as refused:
            view.submission("9.9", tag, {"user": "anna"}, "P1")
        assert refused.value.status == 403
    assert view.submission("9.9", "draft", {}, "P1").tag == "draft"


def test_a_reviewer_does_not_see_who_was_faster(study, tmp_path):
    """Numbers, names of files and the order of lists are the same, whoever submits first; a correction changes one."""
    told = []
    for place, order in enumerate((("anna", "ben"), ("ben", "anna"))):
        labels, conclusions, _ = study(folder=tmp_path / str(place))
        for reader in order:
            submit(labels, reader, CASE, box(0, 8) if reader == "anna" else box(6, 14))
        conclusions.run_once()
        view = ReviewerView(labels, conclusions)
        seen = view.labels.history(CASE)
        files = [(one.number, view.labels.file_name(one), one.tag, view.labels.content(one)) for one in seen]
        told.append((files, view.cases()[0]["labels"]))
    assert told[0] == told[1]
    assert [(one.number, one.tag) for one in seen] == [(1, "reader-A"), (2, "reader-B")]
    submit(labels, "anna", CASE, box(0, 7))
    conclusions.run_once()
    assert {one.number for one in view.labels.history(CASE)} in ({3, 2}, {1, 4})
    with pytest.raises(UserError, match="look at it first"):
        view.submission(CASE, "final", {"adjudicates": [1, 2]}, "P1")
    numbers = [one["number"] for one in view.cases()[0]["labels"]]
    decided = view.submission(CASE, "final", {"adjudicates": numbers}, "P1")
    assert decided.info["adjudicates"] == [1, 3]  # as they are stored
    labels.labels.save(CASE, decided.tag, lambda path: path.write_bytes(b"mask"), decided.info)
    assert view.labels.latest(CASE, "final").number == max(numbers) + 1
    assert view.labels.content(view.labels.latest(CASE, "final")) == b"mask"


def test_a_reader_may_submit_while_the_labels_are_compared(study, monkeypatch):
    labels, conclusions, _ = study()
    for reader in ("anna", "ben"):
        submit(labels, reader, CASE, box(0, 4))
    submit(labels, "ben", CASE, box(12, 16))
    conclusions.run_once()
    both = labels.compared(CASE)
    answers = iter([both[:1], both, both[:1], both])
    monkeypatch.setattr(labels, "compared", lambda case: next(answers))
    view = ReviewerView(labels, conclusions)
    assert [len(one["labels"]) for one in view.cases()] == [1]
    assert len(view.labels.history(CASE)) == 2
    assert len(view.labels.history(CASE)) == 1


def test_damage_is_told_without_what_a_user_may_not_know(study):
    labels, conclusions, _ = study()
    submit(labels, "ben", CASE, box(6, 14))
    submit(labels, "anna", CASE, box(0, 8))
    conclusions.run_once()
    for reader, view in (("anna", ReaderView(labels, "anna", 0)), ("ben", ReaderView(labels, "ben", 0))):
        record = view.labels.latest(CASE, "final")
        view.labels.path(record).write_bytes(b"x")
        (damage,) = view.labels.damage(CASE)
        with pytest.raises(UserError) as raised:
            view.labels.content(record)
        assert damage.problem == str(raised.value), reader
        assert damage.problem.startswith(f"Label 1 of image {CASE} is damaged: its content is not what was stored. It")
        assert not [word for word in ("/", "nii.gz", "python", "reading-", "--") if word in damage.problem]


def test_views_are_read_only(study):
    labels, _, _ = study()
    submit(labels, "anna", CASE, box(0, 4))
    view = ReaderView(labels, "anna", 0).labels
    for change in (lambda: view.save(CASE, "final", print, {}), lambda: view.withdraw(CASE, "final")):
        with pytest.raises((TypeError, AttributeError)):
            change()
    assert [one.number for one in labels.labels.history(CASE)] == [1]


def test_who_has_no_part_sees_no_case_of_the_study(study):
    labels, _, _ = study()
    submit(labels, "anna", CASE, box(0, 4))
    view = StrangerView(labels)
    assert (view.shows(CASE), view.shows("9.9"), view.labels.images()) == (False, True, [])
    for action in (lambda: view.submission(CASE, "final", {}, ""), lambda: view.check_model(CASE, by_clicks=True)):
        with pytest.raises(UserError, match="no image"):
            action()


REMARK = {"voxel": [2, 5, 3], "state": "added", "confidence": None, "note": "", "texture": "solid"}


def test_a_label_without_what_is_asked_for_is_kept_and_is_no_reading(study):
    labels, conclusions, _ = study("ask: [texture]")
    view = ReaderView(labels, "anna", 0)
    panel, slicer = ({"lesions": [REMARK]}, {})
    note = view.submission(CASE, "final", panel, "P1").note
    assert note(box(0, 8)) == {} == view.submission(CASE, "final", slicer, "P1").note(box(0, 0))  # nothing was found
    with pytest.raises(UserError, match="asks for the texture of each lesion"):
        note(box(0, 4) | box(12, 16))
    submit(labels, "anna", CASE, box(0, 8), **view.submission(CASE, "final", slicer, "P1").note(box(0, 8)))
    submit(labels, "ben", CASE, box(0, 8))
    conclusions.run_once()
    assert (final_of(labels), labels.submitted("anna"), len(labels.incomplete())) == (None, {}, 1)
    assert view.next_image([CASE]) == CASE and "load the label" in view.describe()["incomplete"][CASE]
    assert [one.tag for one in view.labels.history(CASE)] == ["incomplete"]
    submit(labels, "anna", CASE, box(0, 8), lesions=[REMARK])
    conclusions.run_once()
    assert (final_of(labels).info["consensus"]["of"], labels.incomplete()) == ([3, 2], [])


def test_two_studies_in_one_workspace_share_nothing(study):
    first, concluded, _ = study("name: first")
    second, waiting, _ = study("name: second")
    for reader, mask in {"anna": box(0, 8), "ben": box(6, 14)}.items():
        submit(first, reader, CASE, mask)
    concluded.run_once()
    decision = ReviewerView(first, concluded).submission(CASE, "final", {"adjudicates": [1, 2]}, "P1")
    first.labels.save(CASE, decision.tag, lambda path: path.write_bytes(b"mask"), decision.info)
    view = ReaderView(second, "anna", 0)
    assert (view.labels.history(CASE), view.next_image([CASE]), second.of_case(CASE)) == ([], CASE, [])
    assert view.submission(CASE, "final", {}, "P1")  # the decision closes the case in its own study only
    for reader in ("anna", "ben"):
        submit(second, reader, CASE, box(0, 8))
    waiting.run_once()
    assert final_of(second).info["study"] == {"name": "second"}
    concluded.run_once()
    assert concluded.disputed()[CASE].decided and final_of(first).info["consensus"]["of"] == [4, 5]
    assert [one.number for one in ReviewerView(first, concluded).labels.history(CASE)] == [1, 2, 3]
