"""S8: ``doctor --verify`` compares all stored files with their checksums, names damaged ones, and changes nothing."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lib.cli import main
from lib.datastore.image_info import ImageInfo
from lib.datastore.label_store import LabelStore
from lib.dicomweb.folder_index import FolderIndex
from lib.dicomweb.stored_objects import StoredObjects
from lib.inference.candidate_judge import CLASSIFIER_FILE, CandidateJudge, new_classifier
from lib.publishing import ModelStore
from lib.reading.preference_answers import Answer, Answers
from lib.server.damage_cache import DamageCache
from lib.settings import Settings
from lib.storage.integrity import Damage
from lib.verification import find_damage
from tools.support.damage import DAMAGES, damage, restore
from tools.support.waiting import wait_for

FILES = ("labels/1.2.3/1.nii.gz", "labels/1.2.3/2.nii.gz", "labels/1.2.3/1.json", "segs/1.2/3.4.dcm")
STATE = ("image_info/1.2.3.json", "cache/index.sqlite")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verified")
    store = LabelStore(folder / "labels")
    for text in ("first", "second"):
        store.save("1.2.3", "final", lambda path, text=text: path.write_text(text), {})
    objects = StoredObjects(folder / "segs")
    objects.write(objects.path_of("1.2", "3.4"), lambda part: part.write_bytes(b"DICOM" * 50))
    ImageInfo(folder / "image_info").update("1.2.3", {"strategy": {}})
    FolderIndex(folder / "cache" / "index.sqlite", [folder / "segs"]).scan()
    gc.collect()  # closes the index
    return folder


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and "sqlite-" not in path.name]
    return {path: path.read_bytes() for path in files}


def test_intact_workspace_passes(workspace, capsys):
    before = content(workspace)
    assert main(["doctor", "--verify", "--workspace", str(workspace)]) == 0
    assert "All files match their checksums" in capsys.readouterr().out
    assert content(workspace) == before
    assert main(["doctor", "--verify"]) == 1
    assert main(["doctor", "--verify", "--workspace", str(workspace / "none")]) == 1
    assert "There is no workspace" in capsys.readouterr().err


CASES = [(name, kind) for name in FILES for kind in DAMAGES if (name, kind) != (FILES[2], "missing")]
CASES += [(name, kind) for name in STATE for kind in ("truncated", "garbage", "directory")]


@pytest.mark.parametrize(("name", "kind"), CASES, ids=[f"S8-{name}-{kind}" for name, kind in CASES])
def test_damaged_file_is_named(workspace, name, kind, capsys):
    path = workspace / name
    before = path.read_bytes()
    damage(path, kind)
    try:
        assert main(["doctor", "--verify", "--workspace", str(workspace)]) == 1
        said = capsys.readouterr().out
        assert str(path) in said
        assert "1 damaged." in said
    finally:
        restore(path, before)


def test_damaged_version_of_the_model_for_clicks_is_named(tmp_path, capsys):
    (tmp_path / "weights.pt").write_bytes(b"weights")
    store = ModelStore(tmp_path / "models" / "lung_tumor_click")
    version = store.keep(tmp_path / "weights.pt", {})
    store.weights(version).write_bytes(b"damaged")
    (store.folder / "train_stats.json").write_text("[")
    assert main(["doctor", "--verify", "--workspace", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"Model version {version}" in said
    assert "train_stats.json is damaged" in said
    assert "2 damaged." in said


def test_damaged_model_versions_are_reported(workspace, monkeypatch, capsys):
    found = Damage("model version", workspace / "model.pt", "Version 1 is damaged.")
    monkeypatch.setattr(ModelStore, "damage", lambda self: [found], raising=False)
    assert main(["doctor", "--verify", "--workspace", str(workspace)]) == 1
    assert "Version 1 is damaged." in capsys.readouterr().out


def test_result_is_cached():
    asked = []
    cache = DamageCache(lambda: asked.append(1) or [], seconds=60)
    assert cache.damage() is cache.damage()
    assert asked == [1]


def test_s8_requests_do_not_wait_for_a_running_verification():
    """S8: while a large workspace was hashed, requests of many panels occupied all threads of the server."""
    go, begun, found = threading.Event(), [], [Damage("label", Path("x"), "It is damaged.")]

    def make() -> list[Damage]:
        begun.append(threading.get_ident())
        assert go.wait(60)
        return found

    cache = DamageCache(make, seconds=0, timeout=0.05)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: cache.damage(), range(8))) == [[]] * 8
    assert len(begun) == 1
    assert begun[0] != threading.get_ident()
    go.set()
    wait_for(lambda: cache.damage() == found, "the answer", seconds=60, interval=0.01)
    go.clear()
    wait_for(lambda: cache.renew() is not None, "the answer", seconds=60, interval=0.01)
    assert cache.damage() == found, "the previous result during the next verification"
    go.set()


def test_s8_failed_verification_is_logged_and_retried(caplog):
    failures = [OSError("gone"), None]

    def make() -> list[Damage]:
        if failure := failures.pop(0):
            raise failure
        return [Damage("label", Path("x"), "It is damaged.")]

    cache = DamageCache(make, seconds=0)
    assert cache.damage() == []
    wait_for(lambda: "Could not compare" in caplog.text, "the log", seconds=60, interval=0.01)
    wait_for(lambda: len(cache.damage()) == 1, "the answer", seconds=60, interval=0.01)


def test_damaged_answers_of_a_preference_study_are_named(tmp_path, capsys):
    """With the file that decides which outline is A."""
    answers = Answers(tmp_path, "nodules")
    answers.add(Answer("nodules", "anna", "1.2", "P1", 1, "v2", "v1", "first", "first", (1, 2), 500.0, 5.0, 1.0))
    assert answers.secret
    assert main(["doctor", "--verify", "--workspace", str(tmp_path)]) == 0
    for path in (tmp_path / "preferences").iterdir():
        path.write_bytes(path.read_bytes()[:-5])
    assert main(["doctor", "--verify", "--workspace", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "2 damaged." in said
    assert all(str(path) in said for path in (tmp_path / "preferences").iterdir())


def test_damaged_classifier_of_findings_is_named(workspace, tmp_path):
    settings = Settings(str(tmp_path), workspace, tmp_path, 3600, {})
    path = tmp_path / CLASSIFIER_FILE
    CandidateJudge(new_classifier()).save(path)
    assert find_damage(settings) == []
    path.write_bytes(path.read_bytes()[:-100])
    (found,) = find_damage(settings)
    assert found.path == path and "Restore it" in found.problem
