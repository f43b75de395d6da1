"""S14, S15: any file written by the model store may be damaged; listing, serving and adding versions still work.

"Unreadable" is a symbolic link to itself, which even root cannot open, unlike a file without permissions.
"""

import errno
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch

from lib.errors import UserError
from lib.networks import AttentionResidualUNet
from lib.publishing import ModelStore
from lib.publishing.folds import Folds
from lib.storage.integrity import DamagedFileError
from lib.storage.state_file import StateFile
from lib.trainers.training_progress import stats_file
from lib.trainers.unfinished_run import Run, UnfinishedRun


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "precious").write_text("kept")


def make_unreadable(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncate,
    "garbage": lambda path: path.write_bytes(b"\xff\x00\x9c{"),
    "wrong type": lambda path: path.write_text('["odd"]'),
    "wrong values": lambda path: path.write_text(
        json.dumps({name: {"odd": [1]} for name in json.loads(path.read_text())})
    ),
    "null": lambda path: path.write_text("null"),
    "not a number": lambda path: path.write_text(path.read_text().replace('"time": ', '"time": NaN, "x": ')),
    "deep": lambda path: path.write_text("[" * 100_000),
    "missing": Path.unlink,
    "a folder": replace_by_folder,
    "unreadable": make_unreadable,
}
FILES = ("serving.json", "history.jsonl", "versions/{}/manifest.json", "versions/{}/model.pt")
CASES = [
    (file, damage)
    for file in FILES
    for damage in DAMAGES
    if (damage not in ("wrong values", "not a number") or file.endswith("manifest.json"))
]


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "candidate.pt"
    path.write_bytes(b"weights of a candidate")
    return path


@pytest.fixture
def kept(tmp_path, weights):
    """Return a store with three versions, each trained from the previous one; the last one is in use."""
    (tmp_path / "shipped.pt").write_bytes(b"shipped")
    store = ModelStore(tmp_path / "models", tmp_path / "shipped.pt")
    for number in range(3):
        weights.write_bytes(f"weights {number}".encode())
        store.serve(store.keep(weights, {"labels": {}, "verdict": None}), by="somebody", why="a test")
    return store


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def names(folder):
    return [path.name for path in folder.iterdir()]


def versions(store):
    return [manifest["version"] for manifest in store.manifests()]


def fresh(store):
    """Return the store as another process sees it."""
    return ModelStore(store.folder, store.weights("pretrained"))


@pytest.mark.parametrize(("file", "damage"), CASES)
@pytest.mark.parametrize("restarted", [True, False], ids=["after a restart", "while it runs"])
def test_store_survives_damage(kept, weights, file, damage, restarted, caplog):
    first, second, third = versions(kept)
    path = kept.folder / file.format(third)
    DAMAGES[damage](path)
    store = fresh(kept) if restarted else kept
    state = file.endswith((".json", ".jsonl")) and "versions" not in file
    expected = third if state else second
    serving = store.serving()
    assert serving.version == expected
    told = [(one.kind, one.path) for one in store.damage()]
    if state:
        unnoticed = damage == "missing" or (damage == "empty" and file == "history.jsonl")
        assert told == ([] if unnoticed else [("state", path)])
    else:
        assert told == [("model version", kept.weights(third))]
        assert third in serving.problem
        assert f"Version {second} is in use" in serving.problem
        assert serving.problem in caplog.text
        assert json.loads((kept.folder / "serving.json").read_text())["version"] == third, "it stays chosen"
        with pytest.raises(DamagedFileError):
            store.serve(third)
    assert versions(store) == [first, second, third][: 2 if "manifest" in file else 3]

    store.recover()
    assert store.serving().version == expected
    if file == "serving.json" and damage != "missing":
        assert "serving.json.damaged-1" in names(kept.folder)
    fourth = store.keep(weights, {})
    assert fourth not in (first, second, third)
    assert versions(store)[-1] == fourth
    store.serve(fourth, by="somebody", why="a test")
    assert fresh(store).serving().version == fourth
    assert fresh(store).serving().problem is None
    assert store.previous_version() == third
    store.serve(first)
    assert store.serving_version() == first
    assert damage != "a folder" or list(kept.folder.rglob("precious")), "nothing is deleted"


def test_s14_bit_flips_with_unchanged_file_times_are_found_when_loading(kept):
    """S14: the hash is compared with the bytes that are loaded."""
    _, second, third = versions(kept)
    path = kept.weights(third)
    assert kept.serving().version == third
    stat = path.stat()
    flip_bit(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    serving, content = kept.read_serving()
    assert (serving.version, content) == (second, b"weights 1")
    assert kept.serving().version == second


def test_s14_transient_error_excludes_the_chosen_version_only_temporarily(kept, monkeypatch):
    """S14: a network drive was unavailable while the weights were loaded."""
    _, second, third = versions(kept)
    now, read = [time.monotonic()], Path.read_bytes
    monkeypatch.setattr("lib.publishing.version_files.time.monotonic", lambda: now[0])
    assert kept.serving().version == third

    def fail_once(path: Path) -> bytes:
        if path == kept.weights(third) and not failed:
            failed.append(path)
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    failed: list[Path] = []
    monkeypatch.setattr(Path, "read_bytes", fail_once)
    assert kept.read_serving()[0].version == second
    assert failed
    now[0] += 31
    assert kept.read_serving()[0].version == third


def test_s14_falls_back_along_all_ancestors_to_the_shipped_weights(kept):
    """S14: the parent, its parent, the shipped weights, then an error."""
    first, second, third = versions(kept)
    for version, expected in ((third, second), (second, first), (first, "pretrained")):
        flip_bit(kept.weights(version))
        assert kept.serving().version == expected
    (kept.weights("pretrained").parent / "shipped.pt.sha256").write_text(f"{'0' * 64}  shipped.pt\n")
    assert kept.serving().version is None
    with pytest.raises(UserError, match="No model is in use"):
        kept.read_serving()
    assert len(kept.damage()) == 4
    (kept.weights("pretrained").parent / "shipped.pt.sha256").unlink()
    assert kept.serving().version == "pretrained"


def test_restored_version_is_used_again(kept, tmp_path):
    third = versions(kept)[-1]
    shutil.copy(kept.weights(third), tmp_path / "backup")
    kept.weights(third).unlink()
    assert kept.serving().problem
    shutil.copy(tmp_path / "backup", kept.weights(third))
    assert (kept.serving().version, kept.serving().problem) == (third, None)


def test_s14_weights_without_a_hash_that_cannot_be_loaded_are_not_used(info, tmp_path):
    """S14: truncated weights of an earlier release."""
    network = AttentionResidualUNet(**info["network"])
    torch.save({"model": network.state_dict()}, tmp_path / "good.pt")
    store = ModelStore(tmp_path / "models", tmp_path / "good.pt")
    store.serve(store.keep(tmp_path / "good.pt", {}))
    version = store.serving_version()
    path = store.weights(version).with_name("manifest.json")
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    path.write_text(json.dumps(manifest))
    truncate(store.weights(version))
    assert store.load_serving(network)[0].version == "pretrained"
    assert version in store.serving().problem


@pytest.mark.parametrize("name", ["models", "models/versions", "models/runs"])
def test_file_in_place_of_a_folder_is_moved_aside(kept, weights, name):
    path = kept.folder.parent / name
    if path.is_dir():
        shutil.rmtree(path)
    path.write_text("odd")
    assert fresh(kept).serving().version is not None or fresh(kept).manifests() == []
    store = fresh(kept)
    store.recover()
    assert path.is_dir()
    assert path.with_name(f"{path.name}.damaged-1").read_text() == "odd"
    store.serve(version := store.keep(weights, {}))
    assert store.serving_version() == version


STATES = [damage for damage in DAMAGES if damage not in ("not a number", "missing")]


@pytest.mark.parametrize("damage", STATES)
def test_s15_damaged_note_does_not_prevent_other_trainings(tmp_path, damage):
    """S15: a damaged training.json made every training fail."""
    path = tmp_path / "training.json"
    unfinished = UnfinishedRun(path)
    unfinished._write(Run("run", str(tmp_path / "run"), {"max_epochs": 2}))
    DAMAGES[damage](path)
    assert UnfinishedRun(path).interrupted() is None
    assert "training.json.damaged-1" in names(tmp_path)
    unfinished._write(Run("run", str(tmp_path / "run"), {}))
    DAMAGES[damage](path)
    with unfinished.recorded(Run("next", str(tmp_path / "next"), {})):
        assert json.loads(path.read_text())["name"] == "next"


def test_s15_note_cannot_remove_another_folder(tmp_path):
    """S15: the folder named in the note is checked."""
    (tmp_path / "precious").mkdir()
    path = tmp_path / "training.json"
    path.write_text(json.dumps({"name": "run", "folder": str(tmp_path / "precious"), "request": {}}))
    with UnfinishedRun(path).recorded(Run("next", str(tmp_path / "next"), {})):
        pass
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize("damage", [*STATES, "missing"])
def test_s15_folds_survive_damage_of_their_file(tmp_path, damage):
    """S15: they are rebuilt from those that the versions record."""
    path = tmp_path / "folds.json"
    patients = [f"P{number}" for number in range(25)]
    before = Folds(path).assign(patients[:20], 5)
    version = {"trained_on": patients[:20], "folds": before}
    DAMAGES[damage](path)
    rebuilt = Folds(path).assign(patients, 5, [version])
    assert before.items() <= rebuilt.items()
    assert json.loads(path.read_text())["folds"] == rebuilt


@pytest.mark.parametrize("damage", STATES)
def test_s15_damaged_training_statistics_are_ignored(tmp_path, damage):
    """S15: each /info request reads train_stats.json."""
    file = stats_file(tmp_path / "train_stats.json")
    file.write({"epoch": 1, "total_epochs": 2, "verdict": {"reason": "because"}})
    DAMAGES[damage](file.path)
    assert stats_file(file.path).read() is None
    assert stats_file(file.path).damage().kind == "state"
    file.write({"epoch": 2})
    assert file.read() == {"epoch": 2}
    assert "train_stats.json.damaged-1" in names(tmp_path)


def test_every_damaged_file_is_kept(tmp_path):
    file = StateFile(tmp_path / "x.json", dict, "Nothing.")
    for number in (1, 2):
        file.path.write_text(f"odd {number}")
        file.write({})
    assert [(tmp_path / f"x.json.damaged-{number}").read_text() for number in (1, 2)] == ["odd 1", "odd 2"]
