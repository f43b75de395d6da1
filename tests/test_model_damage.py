"""S14, S15: whatever the model store writes may be damaged in any way; listing, serving and keeping go on.

Unreadable is a symbolic link to itself: it cannot be opened, and unlike a file without permissions not by root either.
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
from lib.publishing.hold_out import HoldOut
from lib.storage.integrity import DamagedFileError
from lib.storage.state_file import StateFile
from lib.trainers.training_progress import stats_file
from lib.trainers.unfinished_run import Run, UnfinishedRun


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "precious").write_text("kept")


def unreadable(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncated,
    "garbage": lambda path: path.write_bytes(b"\xff\x00\x9c{"),
    "wrong type": lambda path: path.write_text('["odd"]'),
    "wrong values": lambda path: path.write_text(
        json.dumps({name: {"odd": [1]} for name in json.loads(path.read_text())})
    ),
    "null": lambda path: path.write_text("null"),
    "not a number": lambda path: path.write_text(path.read_text().replace('"time": ', '"time": NaN, "x": ')),
    "deep": lambda path: path.write_text("[" * 100_000),
    "missing": Path.unlink,
    "a folder": a_folder,
    "unreadable": unreadable,
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
    """A store with three versions, of which each was trained from the one before and the last one serves."""
    (tmp_path / "shipped.pt").write_bytes(b"shipped")
    store = ModelStore(tmp_path / "models", tmp_path / "shipped.pt")
    for number in range(3):
        weights.write_bytes(f"weights {number}".encode())
        store.serve(store.keep(weights, {"labels": {}, "verdict": None}), by="somebody", why="a test")
    return store


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def names(folder):
    return [path.name for path in folder.iterdir()]


def versions(store):
    return [manifest["version"] for manifest in store.manifests()]


def fresh(store):
    """The store as another process sees it."""
    return ModelStore(store.folder, store.weights("pretrained"))


@pytest.mark.parametrize(("file", "damage"), CASES)
@pytest.mark.parametrize("restarted", [True, False], ids=["after a restart", "while it runs"])
def test_the_store_goes_on(kept, weights, file, damage, restarted, caplog):
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
        assert json.loads((kept.folder / "serving.json").read_text())["version"] == third, "never silently replaced"
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


def test_bits_that_flip_while_the_file_looks_unchanged_are_found_when_it_is_loaded(kept):
    """S14: the hash is compared with the very bytes that are loaded."""
    _, second, third = versions(kept)
    path = kept.weights(third)
    assert kept.serving().version == third
    stat = path.stat()
    flipped(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    serving, content = kept.read_serving()
    assert (serving.version, content) == (second, b"weights 1")
    assert kept.serving().version == second


def test_s14_an_error_that_passes_keeps_the_chosen_version_out_for_a_while_only(kept, monkeypatch):
    """S14: a network drive was away for the moment in which the weights were loaded."""
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


def test_every_ancestor_damaged_leaves_the_shipped_weights_and_then_a_sentence(kept):
    """S14: parent, its parent, shipped."""
    first, second, third = versions(kept)
    for version, expected in ((third, second), (second, first), (first, "pretrained")):
        flipped(kept.weights(version))
        assert kept.serving().version == expected
    (kept.weights("pretrained").parent / "shipped.pt.sha256").write_text(f"{'0' * 64}  shipped.pt\n")
    assert kept.serving().version is None
    with pytest.raises(UserError, match="No model is in use"):
        kept.read_serving()
    assert len(kept.damage()) == 4
    (kept.weights("pretrained").parent / "shipped.pt.sha256").unlink()
    assert kept.serving().version == "pretrained"


def test_a_version_that_is_put_back_serves_again(kept, tmp_path):
    third = versions(kept)[-1]
    shutil.copy(kept.weights(third), tmp_path / "backup")
    kept.weights(third).unlink()
    assert kept.serving().problem
    shutil.copy(tmp_path / "backup", kept.weights(third))
    assert (kept.serving().version, kept.serving().problem) == (third, None)


def test_weights_without_a_hash_that_cannot_be_loaded_are_not_used(info, tmp_path):
    """S14: of an earlier release, truncated."""
    network = AttentionResidualUNet(**info["network"])
    torch.save({"model": network.state_dict()}, tmp_path / "good.pt")
    store = ModelStore(tmp_path / "models", tmp_path / "good.pt")
    store.serve(store.keep(tmp_path / "good.pt", {}))
    version = store.serving_version()
    path = store.weights(version).with_name("manifest.json")
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    path.write_text(json.dumps(manifest))
    truncated(store.weights(version))
    assert store.load_serving(network).version == "pretrained"
    assert version in store.serving().problem


@pytest.mark.parametrize("name", ["models", "models/versions", "models/runs"])
def test_a_file_where_a_folder_should_be_is_moved_aside(kept, weights, name):
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
def test_a_damaged_note_of_a_training_keeps_no_other_from_starting(tmp_path, damage):
    """S15: training.json made every training fail."""
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


def test_a_note_never_has_another_folder_removed(tmp_path):
    """S15: what is in the note is not obeyed blindly."""
    (tmp_path / "precious").mkdir()
    path = tmp_path / "training.json"
    path.write_text(json.dumps({"name": "run", "folder": str(tmp_path / "precious"), "request": {}}))
    with UnfinishedRun(path).recorded(Run("next", str(tmp_path / "next"), {})):
        pass
    assert (tmp_path / "precious").exists()


@pytest.mark.parametrize("damage", [*STATES, "missing"])
def test_who_was_held_out_stays_so_when_the_list_is_damaged(tmp_path, damage):
    """S15: rebuilt from whom the versions were compared on."""
    path = tmp_path / "hold_out.json"
    everyone = [f"P{number}" for number in range(30)]
    held = HoldOut(path, 0.2, 2).patients(everyone[:20]) | {"P7"}  # one that no hash would choose
    DAMAGES[damage](path)
    rebuilt = HoldOut(path, 0.2, 2).patients(everyone, trained_on=set(everyone) - held, held_before=held)
    assert held <= rebuilt
    assert set(json.loads(path.read_text())["patients"]) == rebuilt


@pytest.mark.parametrize("damage", STATES)
def test_damaged_statistics_of_a_training_are_none(tmp_path, damage):
    """S15: train_stats.json is read by each /info."""
    file = stats_file(tmp_path / "train_stats.json")
    file.write({"epoch": 1, "total_epochs": 2, "verdict": {"reason": "because"}})
    DAMAGES[damage](file.path)
    assert stats_file(file.path).read() is None
    assert stats_file(file.path).damage().kind == "state"
    file.write({"epoch": 2})
    assert file.read() == {"epoch": 2}
    assert "train_stats.json.damaged-1" in names(tmp_path)


def test_each_damaged_file_is_kept(tmp_path):
    file = StateFile(tmp_path / "x.json", dict, "Nothing.")
    for number in (1, 2):
        file.path.write_text(f"odd {number}")
        file.write({})
    assert [(tmp_path / f"x.json.damaged-{number}").read_text() for number in (1, 2)] == ["odd 1", "odd 2"]
