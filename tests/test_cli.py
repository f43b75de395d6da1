"""The command line."""

import errno
import shlex

import numpy as np
import pytest

from lib.cli import _parsed
from lib.cli.arguments import formats_of
from lib.cli.commands import DEVELOPMENT, EVERYDAY
from lib.datastore.label_store import LabelStore
from lib.exports.formats import ExportFormat
from lib.phantoms import Acquisition, write_dicom_series
from tests.support.imports import write_msd


def test_doctor_reports_the_content_of_a_folder_without_changing_it(tmp_path, run_main):
    folder = tmp_path / "dicom"
    grid = Acquisition(shape=(5, 16, 16))
    good = write_dicom_series(folder / "ct", np.zeros(grid.shape, np.int16), grid.affine, patient_id="GOOD")
    write_dicom_series(folder / "pt", np.zeros(grid.shape, np.int16), grid.affine, patient_id="PET", modality="PT")
    (folder / "letter.txt").write_text("Dear colleague")
    before = sorted(folder.rglob("*"))
    output = run_main("doctor", folder)
    assert sorted(folder.rglob("*")) == before
    assert "1 usable CT series" in output
    assert "1 excluded, 1 other files" in output
    assert good in output
    assert "modality PT; only CT is segmented" in output
    assert "not a DICOM file" in output
    assert output.endswith("1 other files. The installation has no problems.\n")


def test_doctor_fails_without_ct_series(tmp_path, run_main):
    assert "has no CT series that can be used" in run_main("doctor", tmp_path, status=1)
    assert "is neither a folder nor a URL" in run_main("doctor", tmp_path / "missing", status=1)
    assert "does not respond as DICOMweb" in run_main("doctor", "http://127.0.0.1:9/dicom-web", status=1)


@pytest.mark.parametrize("command", [("import", "msd"), ("infer", "--output")])
def test_place_that_cannot_be_used_is_named_in_a_sentence(command, tmp_path, run_main):
    source, blocked = write_msd(tmp_path / "set", 1), tmp_path / "file"
    blocked.write_text("")
    name, option = command
    where = ("import", "msd", source, "--workspace", blocked) if name == "import" else (name, source, option, blocked)
    for place in (blocked, blocked / "folder"):
        said = run_main(*where[:-1], place, status=1)
        assert "Traceback" not in said
        assert str(blocked) in said


@pytest.mark.parametrize(("number", "remedy"), [(errno.ENOSPC, "Free some space"), (errno.EROFS, "Make it readable")])
def test_disk_that_is_full_or_read_only_is_explained(number, remedy, tmp_path, run_main, monkeypatch):
    def fail(*_, **__):
        raise OSError(number, "as a disk says", "/data/out")

    monkeypatch.setattr("lib.cli.labels.LabelStore", fail)
    (tmp_path / "labels").mkdir()
    said = run_main("labels", "/data/dicom", "--workspace", tmp_path, status=1)
    assert "cannot be used: as a disk says (/data/out)." in said
    assert remedy in said


def test_rejects_unknown_commands(tmp_path, run_main):
    assert "invalid choice: 'frobnicate'" in run_main("frobnicate", status=2)


def test_labels_are_listed_and_restored(tmp_path, run_main):
    store = LabelStore(tmp_path / "labels")
    for text in ("first", "second"):
        store.save("1.2.3", "final", lambda path, text=text: path.write_text(text), {"annotator": "Ada"})
    where = ("labels", "/data/dicom", "--workspace", tmp_path)
    output = run_main(*where)
    assert output.count("Ada") == 2
    assert "restored from 1" in run_main(*where, "--image", "1.2.3", "--restore", 1)
    again = LabelStore(tmp_path / "labels")
    assert again.path(again.latest("1.2.3", "final")).read_text() == "first"
    assert len(again.history("1.2.3")) == 3
    assert "no label number 9" in run_main(*where, "--image", "1.2.3", "--restore", 9, status=1)


def test_help_shows_everyday_commands_apart_from_those_for_development(run_main):
    everyday, development = run_main("--help").split("for the development of models and of this app:")
    assert "everyday commands:" in everyday
    for name in ("doctor", "import", "export", "infer", "labels", "models", "phantoms"):
        assert f"\n  {name} " in everyday
    for name in ("train", "evaluate", "ablation", "benchmark", "chaos"):
        assert f"\n  {name} " in development


@pytest.mark.parametrize("command", ["doctor", "export", "infer", "labels", "models", "import", "evaluate"])
def test_help_of_a_command_has_examples(command, run_main):
    assert f" {command} " in run_main(command, "--help").partition("examples:")[2]


def test_examples_are_valid():
    for name, command in (EVERYDAY | DEVELOPMENT).items():
        for example in command.examples:
            parsed = _parsed(name, command, shlex.split(example))
            assert parsed.run, example


@pytest.mark.parametrize("command", ["labels", "export", "infer"])
def test_studies_are_accepted_by_position_and_as_option(command, run_main):
    rest = () if command == "labels" else ("--output", "/out")
    for arguments in (("/data", *rest), (*rest, "/data"), ("--studies", "/data", *rest)):
        assert _parsed(command, EVERYDAY[command], arguments).studies == "/data"
    assert "give STUDIES" in run_main(command, *rest, status=2)
    assert "given twice" in run_main(command, "/data", "--studies", "/other", *rest, status=2)


@pytest.mark.parametrize("command", ["export", "infer"])
def test_formats_have_the_same_names_everywhere_and_former_names_work(command, run_main):
    def named(*names: str) -> tuple[ExportFormat, ...]:
        return formats_of(_parsed(command, EVERYDAY[command], ["/data", "--output", "/out", "--format", *names]))

    assert named("seg", "sr", "rtstruct", "nifti", "csv", "json", "lesion_seg") == (
        *(ExportFormat(name) for name in ("seg", "sr", "rtstruct", "nifti", "csv", "json", "lesion_seg")),
    )
    assert named("dicom_seg", "dicom_sr", "image") == named("seg", "sr", "nifti")
    assert named("table", "csv") == named("csv", "json")
    assert "there is no format 'tiff'; there is seg, lesion_seg, sr" in run_main(
        command, "/data", "--output", "/out", "--format", "tiff", status=2
    )


def test_doctor_names_refused_objects_under_their_series_and_counts_them_last(tmp_path, run_main):
    """XML files of LIDC-IDRI are recognised, and a refused object is no success."""
    folder, grid = tmp_path / "dicom", Acquisition(shape=(5, 16, 16))
    uid = write_dicom_series(folder / "ct", np.zeros(grid.shape, np.int16), grid.affine, patient_id="GOOD")
    message = '<LidcReadMessage xmlns="http://www.nih.gov"><ResponseHeader>{}</ResponseHeader></LidcReadMessage>'
    reference = f"<SeriesInstanceUid>{uid}</SeriesInstanceUid>"
    for name, header in (("069", reference), ("070", reference), ("071", "")):
        (folder / f"{name}.xml").write_text(message.format(f"<Version>{name}</Version>{header}"))
    (folder / "letter.txt").write_text("Dear colleague")
    output = run_main("doctor", folder)
    of_series, others = output.partition(uid)[2].split("Objects of no CT series here:")
    assert "not used as a label, 2 object(s): " in of_series
    assert "LIDC XML 069.xml, LIDC XML 070.xml" in of_series
    assert "LIDC XML 071.xml" in others.partition("file(s)")[0]
    assert "1 file(s): not a DICOM file" in others and "letter.txt" in others
    assert output.splitlines()[-1] == (
        "1 usable CT series (1 with a warning), 0 excluded, 1 other files, 3 object(s) not used as a label. "
        "The installation has no problems."
    )
