"""A preference study without a server: what its readers see, their answers, and the results."""

import json
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest

from lib.cli import main
from lib.errors import UserError
from lib.inference import ModelDescription
from lib.reading.compared_outlines import ComparedOutlines, choice_of, letter_of
from lib.reading.making_outlines import MakingOutlines, check_compared
from lib.reading.preference_answers import Answer, Answers, damaged_answers
from lib.reading.preference_results import chosen_as_a, favour_of_patients, known_results, preference_rows
from lib.reading.preference_view import PreferenceView
from lib.reading.stored_readings import compared_tag
from lib.reading.study_export import changed_files
from lib.settings import SettingsError
from tests.support.reader_study import study_labels, write_study_file

CASES = ["1.2.1", "1.2.2"]
FIRST, SECOND = "00001-20260101-000000", "pretrained"
PREFERENCE = f"kind: preference\ncompare: [{FIRST}, {SECOND}]\n"


def box(start, stop):
    mask = np.zeros((24, 12, 8), bool)
    mask[start:stop, 4:8, 2:6] = True
    return mask


def store(labels, case, source, mask):
    image = nibabel.Nifti1Image(mask.astype(np.uint8), np.eye(4))
    info = {
        "study": {"name": "nodules", "source": source, "patient": f"patient {case}"},
        "model_version": source,
        "findings": [],
        "voxels": int(mask.sum()),
        "size": [24, 12, 8],
    }
    labels.labels.save(case, compared_tag("nodules", source), lambda path: nibabel.save(image, path), info)


@pytest.fixture
def compared(tmp_path):
    """Two cases: in the first one, the outlines differ on one of two lesions, and in the second one they are equal."""
    labels = study_labels(write_study_file(tmp_path, ["anna", "ben"], CASES, PREFERENCE), tmp_path / "workspace")
    store(labels, CASES[0], FIRST, box(0, 4) | box(12, 16))
    store(labels, CASES[0], SECOND, box(0, 4) | box(12, 18))
    for source in (FIRST, SECOND):
        store(labels, CASES[1], source, box(0, 4))
    return ComparedOutlines(labels, Answers(tmp_path / "workspace", "nodules"))


def answer(view, case, lesion, letter, seconds=None):
    """Answer a question as it is shown now."""
    (shown,) = {one["shown"] for one in view.questions(case)}
    view.answer(case, lesion, letter, seconds, shown)


def test_nothing_that_a_reader_sees_tells_whose_an_outline_is(compared):
    for reader in ("anna", "ben"):
        view = PreferenceView(compared, reader)
        shown = view.labels.history(CASES[0])
        assert [(one.number, one.tag, one.info["annotator"]) for one in shown] == [
            (1, "A", "outline A"),
            (2, "B", "outline B"),
        ]
        assert len({one.time for one in shown}) == 1
        seen = json.dumps([one.to_json() for one in shown]) + json.dumps([view.describe(), view.questions(CASES[0])])
        assert not any(name in seen for name in (FIRST, SECOND, "model_version", "findings", "source"))
        first = compared.shown_as_a(reader, CASES[0]) == "first"
        assert [one.info["voxels"] for one in shown] == ([128, 160] if first else [160, 128])
        assert view.labels.content(shown[0]) == compared.labels.content(compared.outlines(CASES[0])[0 if first else 1])
        for refused in (view.check_model, view.submission):
            with pytest.raises(UserError, match="In this study"):
                arguments = {"by_clicks": True} if refused == view.check_model else {"tag": "final", "info": {}}
                refused(CASES[0], **arguments, **({} if refused == view.check_model else {"patient": ""}))


def test_each_reader_sees_each_outline_as_a_in_half_of_the_cases(tmp_path):
    file = write_study_file(tmp_path, ["anna", "ben"], [f"1.{number}" for number in range(100)], PREFERENCE)
    labels = study_labels(file, tmp_path / "workspace")
    compared = ComparedOutlines(labels, Answers(tmp_path, "nodules"))
    sides = {
        reader: [compared.shown_as_a(reader, case) for case in labels.plan.study.cases] for reader in ("anna", "ben")
    }
    assert all(of.count("first") == 50 for of in sides.values()) and sides["anna"] != sides["ben"]
    again, elsewhere = (ComparedOutlines(labels, Answers(one, "nodules")) for one in (tmp_path, tmp_path / "other"))
    assert [again.shown_as_a("anna", case) for case in labels.plan.study.cases] == sides["anna"]
    guessed = [elsewhere.shown_as_a("anna", case) for case in labels.plan.study.cases]
    assert guessed != sides["anna"], "readers can guess a seed"


def test_only_lesions_with_different_outlines_are_asked_about(compared):
    view = PreferenceView(compared, "anna")
    (question,) = view.questions(CASES[0])
    assert (question["lesion"], question["answer"]) == (2, None)
    column, row, level = question["voxel"]
    assert box(12, 18)[column, row, level]
    assert (view.questions(CASES[1]), view.next_image(CASES)) == ([], CASES[0])
    assert (view.describe()["due"], view.describe()["submitted"]) == (1, 0)


def test_answers_are_stored_as_the_outline_that_was_meant(compared):
    view = PreferenceView(compared, "anna")
    for letter in ("equal", "B"):
        answer(view, CASES[0], 2, letter, 12.5)
    (given,) = compared.answers.latest()
    assert (given.reader, given.choice) == ("anna", choice_of("B", compared.shown_as_a("anna", CASES[0])))
    assert letter_of(given.choice, given.shown_as_a) == "B" == view.questions(CASES[0])[0]["answer"]
    assert (view.next_image(CASES), view.describe()["submitted"]) == (None, 1)
    assert PreferenceView(compared, "ben").next_image(CASES) == CASES[0]
    for case, lesion, letter, message in (
        (CASES[0], 1, "A", "no question about lesion 1"),
        (CASES[0], 2, "first", "must be A, B or equal"),
        ("1.2.9", 1, "A", "no image"),
    ):
        with pytest.raises(UserError, match=message):
            view.answer(case, lesion, letter, None, compared.shown(case))
    with pytest.raises(UserError, match="no image"):
        PreferenceView(compared, "eve").answer(CASES[0], 2, "A", None, compared.shown(CASES[0]))


def test_an_answer_about_outlines_that_were_made_anew_is_refused(compared):
    """They may be damaged, or withdrawn, while the case is open in a browser."""
    view = PreferenceView(compared, "anna")
    (before,) = view.questions(CASES[0])
    store(compared, CASES[0], SECOND, box(0, 4) | box(12, 20))
    with pytest.raises(UserError, match="Open the case again") as refused:
        view.answer(CASES[0], 2, "A", None, before["shown"])
    assert (refused.value.status, compared.answers.latest()) == (409, [])
    assert view.questions(CASES[0])[0]["shown"] != before["shown"]
    answer(view, CASES[0], 2, "B")
    assert [one.labels for one in compared.answers.latest()] == [(1, 3)]


def test_a_case_is_one_question_if_the_study_says_so(tmp_path):
    file = write_study_file(tmp_path, ["anna"], CASES, f"{PREFERENCE}per: case\n")
    labels = study_labels(file, tmp_path / "workspace")
    store(labels, CASES[0], FIRST, box(0, 4) | box(12, 16))
    assert not PreferenceView(ComparedOutlines(labels, Answers(tmp_path, "nodules")), "anna").shows(CASES[0])
    store(labels, CASES[0], SECOND, box(2, 4) | box(12, 18))
    view = PreferenceView(ComparedOutlines(labels, Answers(tmp_path, "nodules")), "anna")
    assert [one["lesion"] for one in view.questions(CASES[0])] == [0]


def answers(*choices):
    """Return an answer of one reader for each patient and choice."""
    return [
        Answer("nodules", "anna", f"1.{n}", f"P{n}", 1, FIRST, SECOND, "first", one, (1, 2), 500.0, 5.0, time.time())
        for n, one in enumerate(choices)
    ]


def test_share_and_exact_test_are_over_patients():
    given = answers(*["first"] * 6, "equal", "second")
    row = preference_rows(given)[0]
    assert (row["first"], row["equal"], row["second"], row["patients"]) == (6, 1, 1, 8)
    assert row["share"]["mean"] == pytest.approx(6.5 / 8)
    low, high = row["share"]["interval_95"]
    assert 0.4 < low < 0.8125 < high <= 1
    favour = favour_of_patients(given)
    assert (favour.first, favour.patients, round(favour.p, 4)) == (6, 7, 0.125)  # 2 (1 + 7) / 2^7
    assert chosen_as_a(given)[:2] == (6, 7)
    twice = [*given, *given]  # further answers about the same patients are no further patients
    assert favour_of_patients(twice) == favour
    assert preference_rows(twice)[0]["share"]["interval_95"] == [low, high]
    assert favour_of_patients(answers("equal")) is None and chosen_as_a(answers("equal")) is None


def test_results_are_exported_and_stated_for_those_who_publish(compared, tmp_path, capsys):
    answer(PreferenceView(compared, "anna"), CASES[0], 2, "equal", 3.0)
    file, workspace, output = tmp_path / "study.yaml", tmp_path / "workspace", tmp_path / "out"
    assert main(["study", "check", str(file), "--workspace", str(workspace)]) == 0
    assert "| anna | 2 | 2 | 1 |" in capsys.readouterr().out
    assert main(["study", "agreement", str(file), "--workspace", str(workspace), "--output", str(tmp_path / "r")]) == 0
    assert "equal in 1 of 1 judgements of lesions of 1 patient" in capsys.readouterr().out
    assert main(["study", "export", str(file), "--workspace", str(workspace), "--output", str(output)]) == 0
    manifest = json.loads((output / "manifest.json").read_text())
    assert changed_files(output, manifest) == []
    assert {"answers.csv", "preferences.json", f"outlines/{CASES[0]}/second.nii.gz"} <= manifest["files"].keys()
    (result,) = known_results(workspace)
    assert result["compare"] == [FIRST, SECOND] and "preference for 00001-20260101-000000 0.500" in result["sentence"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("kind: preference", "compare must name the two outlines"),
        (f"{PREFERENCE}reviewers: [rhea]", "reviewers is for a study in which readers label"),
        (f"{PREFERENCE}model_mask: with", "model_mask is for a study"),
        (f"compare: [{FIRST}, label]", "compare is for a study with kind: preference"),
    ],
)
def test_study_files_that_make_no_sense_are_refused(tmp_path, more, message):
    with pytest.raises(SettingsError, match=message):
        study_labels(write_study_file(tmp_path, ["anna"], CASES, more), tmp_path)


def test_the_server_makes_the_outlines_that_are_missing_once(tmp_path, info, store):
    source = store.manifests()[0]["version"]
    more = f"kind: preference\ncompare: ['{source}', label]"
    labels = study_labels(write_study_file(tmp_path, ["anna"], CASES, more), tmp_path / "workspace")
    image, label = tmp_path / "image.nii.gz", tmp_path / "label.nii.gz"
    rng = np.random.default_rng(0)
    nibabel.save(nibabel.Nifti1Image(rng.integers(-900, 300, (32, 32, 6)).astype(np.int16), np.eye(4)), image)
    nibabel.save(nibabel.Nifti1Image(np.ones((32, 32, 6), np.uint8), np.eye(4)), label)
    saved = []

    class OneCase:
        labels = study_labels(tmp_path / "study.yaml", tmp_path / "workspace").labels
        list_images = staticmethod(lambda: [*CASES])
        volume_in_use = staticmethod(nullcontext)
        get_image_uri = staticmethod({CASES[0]: str(image)}.__getitem__)
        get_label_uri = staticmethod(lambda case, tag: str(label))
        series = staticmethod(lambda case: SimpleNamespace(value=lambda name: "P1"))

        def save_label(self, case, path, tag, stored):
            assert nibabel.load(path).shape == (32, 32, 6)
            saved.append((case, stored["study"]["source"], "P1" in str(stored)))
            self.labels.save(case, tag, lambda part: part.write_bytes(Path(path).read_bytes()), stored)

    check_compared(labels.plan, store)
    asked = []
    model = ModelDescription.from_info(info, tmp_path)
    worker = MakingOutlines(labels.plan, OneCase(), store, model, tmp_path, after=asked.append)
    for _ in range(2):
        worker.run_once()
    assert saved == [(CASES[0], source, False), (CASES[0], "label", False)]
    assert asked == [*CASES, *CASES]
    labels.plan.study.compare[0] = "00009"
    with pytest.raises(UserError, match="which is no version of the model; there is 00001"):
        check_compared(labels.plan, store)


def test_damaged_lines_are_skipped_and_kept(compared, tmp_path):
    view = PreferenceView(compared, "anna")
    answer(view, CASES[0], 2, "A")
    (file,) = (tmp_path / "workspace" / "preferences").glob("*.jsonl")
    whole = file.read_text()
    file.write_text(f'{whole}{{"study": "nodules", "choice": "third"}}\n{whole[:40]}')  # as if killed within a line
    answer(PreferenceView(compared, "ben"), CASES[0], 2, "B")
    assert [one.reader for one in compared.answers.latest()] == ["anna", "ben"]
    assert len(file.read_text().splitlines()) == 4
    (damage,) = damaged_answers(tmp_path / "workspace")
    assert "2 of 4 lines cannot be read" in damage.problem
