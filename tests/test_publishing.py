"""Versions are stored completely and permanently, and only a version that is not worse is put into use."""

import json
import os
import time
from pathlib import Path

import pytest

from lib.cli import main
from lib.publishing import ModelStore
from lib.publishing.adoption import missing_versions
from lib.settings import APP_DIR


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "candidate.pt"
    path.write_bytes(b"weights")
    return path


def test_kept_version_is_used_only_on_request_and_an_earlier_one_can_be_used_again(tmp_path, weights):
    store = ModelStore(tmp_path / "model")
    assert store.serving_version() is None
    first = store.keep(weights, {"note": 1})
    assert store.serving_version() is None
    store.serve(first)
    weights.write_bytes(b"others")
    second = store.keep(weights, {"note": 2})
    assert store.serving_version() == first
    store.serve(second)
    assert store.serving_weights().read_bytes() == b"others"
    store.serve(first)
    assert store.serving_weights().read_bytes() == b"weights"
    assert [manifest["note"] for manifest in store.manifests()] == [1, 2]
    assert store.manifests()[1]["parent"] == first


def test_versions_of_the_same_time_are_distinct(tmp_path, weights):
    store = ModelStore(tmp_path / "model")
    versions = {store.keep(weights, {"number": number}) for number in range(30)}
    assert len(versions) == len(store.manifests()) == 30


def test_shipped_weights_are_used_first(tmp_path):
    (tmp_path / "pretrained_lung_tumor.pt").write_bytes(b"shipped")
    store = ModelStore(tmp_path)
    assert store.serving_version() == "pretrained"
    assert store.serving_weights().read_bytes() == b"shipped"


@pytest.mark.parametrize("version", ["nonsense", "../../etc", "", ".", "pretrained"])
def test_unknown_version_cannot_be_served(tmp_path, version):
    store = ModelStore(tmp_path)
    with pytest.raises(LookupError, match="no model version"):
        store.serve(version)
    assert not (tmp_path / "serving.json").exists()


def keep_three(store, weights):
    """Add versions, each trained from the previous one; the last one is in use."""
    for number in range(3):
        weights.write_bytes(f"weights {number}".encode())
        store.serve(store.keep(weights, {"note": number}), by="somebody", why="a test")
    return [manifest["version"] for manifest in store.manifests()]


def test_low_versions_are_ordered_even_if_the_clock_goes_backwards(tmp_path, weights, monkeypatch):
    """Low: versions were ordered by the wall clock."""
    store = ModelStore(tmp_path / "model")
    clock = iter([3e9, 2e9, 1e9])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    kept = [store.keep(weights, {}) for _ in range(3)]
    assert [manifest["version"] for manifest in store.manifests()] == kept == sorted(kept)


def test_c9_rollback_uses_the_previously_served_version_and_is_recorded(tmp_path, weights):
    """C9: the history records which version was used when and why."""
    (tmp_path / "shipped.pt").write_bytes(b"shipped")
    store = ModelStore(tmp_path / "models", tmp_path / "shipped.pt")
    assert store.previous_version() is None
    first, second, third = keep_three(store, weights)
    assert store.previous_version() == second
    store.serve(second, by="ada", why="worse")
    store.serve(second)
    assert store.previous_version() == third
    assert [(entry["from"], entry["to"]) for entry in store.history()] == [
        ("pretrained", first),
        (first, second),
        (second, third),
        (third, second),
    ]
    assert (store.history()[-1]["by"], store.history()[-1]["why"]) == ("ada", "worse")


def test_kill_between_serving_and_recording_loses_neither(tmp_path, weights, monkeypatch):
    store = ModelStore(tmp_path / "models")
    first, second, third = keep_three(store, weights)
    monkeypatch.setattr("lib.publishing.history.History.append", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        store.serve(first)
    monkeypatch.undo()
    other = ModelStore(tmp_path / "models")  # of a server, while a command was killed
    assert (other.serving_version(), other.previous_version()) == (first, third)
    (tmp_path / "models" / "history.jsonl").open("ab").write(b'{"to": "000')  # truncated by another kill
    store = ModelStore(tmp_path / "models")
    store.recover()
    assert (store.serving_version(), store.previous_version()) == (first, third)
    store.serve(second)
    assert (store.serving_version(), store.previous_version()) == (second, first)


def test_s13_u28_workspaces_are_independent_and_the_app_folder_is_only_read(tmp_path, weights):
    """S13, U28: versions belong to the workspace."""
    app = tmp_path / "app"
    app.mkdir()
    (app / "shipped.pt").write_bytes(b"shipped")
    one, other = (ModelStore(tmp_path / name / "models", app / "shipped.pt") for name in ("one", "other"))
    app.chmod(0o555)
    version = one.keep(weights, {})
    one.serve(version)
    other.recover()
    assert other.serving_version() == "pretrained"
    assert other.manifests() == []
    assert other.keep(weights, {}) == other.manifests()[0]["version"]
    assert other.manifests()[0]["parent"] == "pretrained"
    assert [path.name for path in app.iterdir()] == ["shipped.pt"]
    app.chmod(0o755)


def test_low_rename_is_synced_with_every_new_folder(tmp_path, weights, monkeypatch):
    """Low: neither the parent folder of a renamed version nor that of a new folder was synced."""
    calls = []
    rename, fsync = Path.rename, os.fsync
    monkeypatch.setattr(Path, "rename", lambda path, to: calls.append(("rename", Path(to))) or rename(path, to))
    monkeypatch.setattr(
        os, "fsync", lambda handle: calls.append(("sync", Path(f"/proc/self/fd/{handle}").readlink())) or fsync(handle)
    )
    version = ModelStore(tmp_path / "workspace" / "models").keep(weights, {})
    versions = tmp_path / "workspace" / "models" / "versions"
    for folder in (tmp_path, tmp_path / "workspace", tmp_path / "workspace" / "models"):
        assert ("sync", folder) in calls
    assert ("sync", versions) in calls[calls.index(("rename", versions / version)) :]


def test_low_files_of_a_killed_process_are_removed_at_start(tmp_path, weights):
    """Low: .part- files were left behind."""
    store = ModelStore(tmp_path / "models")
    version = store.keep(weights, {})
    (tmp_path / "models" / "versions" / ".part-version").mkdir()
    (tmp_path / "models" / ".part-x.json").write_text("{")
    store.recover()
    assert not list(tmp_path.rglob(".part-*"))
    assert [manifest["version"] for manifest in store.manifests()] == [version]


def earlier_release(folder, weights):
    """Create a model folder as earlier releases did: manifests without hash and sequence number."""
    store = ModelStore(folder)
    versions = keep_three(store, weights)
    for number, version in enumerate(versions):
        old = folder / "versions" / f"2025010{number}-120000-000"
        (folder / "versions" / version).rename(old)
        manifest = json.loads((old / "manifest.json").read_text())
        manifest = {**manifest, "version": old.name, "parent": None}
        del manifest["sha256"], manifest["sequence"]
        (old / "manifest.json").write_text(json.dumps(manifest))
    (folder / "serving.json").write_text(json.dumps({"version": old.name, "since": 1}))
    (folder / "history.jsonl").unlink()
    return [manifest["version"] for manifest in ModelStore(folder).manifests()]


def test_u28_s14_versions_of_an_earlier_release_are_adopted_with_a_hash_and_not_served(tmp_path, weights, capsys):
    """U28, S14: versions without a hash get one when they are adopted."""
    (tmp_path / "app").mkdir()
    old = earlier_release(tmp_path / "app", weights)
    (tmp_path / "app" / "versions" / old[1] / "manifest.json").write_text("{")
    workspace = tmp_path / "workspace"
    store = ModelStore(workspace / "models")
    newer = store.keep(weights, {})
    assert missing_versions(store, tmp_path / "app") == old
    command = ["models", "--workspace", str(workspace), "--model-dir", str(tmp_path / "none")]
    assert main([*command, "--adopt", str(tmp_path / "app")]) == 0
    said = capsys.readouterr().out
    assert "2 version(s) copied" in said
    assert f"{old[1]} is not copied" in said
    assert f"--serve {old[2]}" in said
    assert [manifest["version"] for manifest in store.manifests()] == [old[0], old[2], newer]
    assert all(manifest["sha256"] for manifest in store.manifests())
    assert store.serving_version() is None
    assert main([*command, "--adopt", str(tmp_path / "app" / "versions")]) == 0
    assert "0 version(s) copied" in capsys.readouterr().out
    assert main([*command, "--serve", old[0]]) == 0
    assert f"* {old[0]}" in capsys.readouterr().out
    assert main([*command, "--back"]) == 1
    assert "nothing to go back to" in capsys.readouterr().err
    assert main([*command, "--adopt", str(tmp_path / "none")]) == 1


def test_s14_versions_without_a_hash_are_usable_and_shown_as_not_verified(tmp_path, weights, capsys):
    """S14: versions of an earlier release in a workspace."""
    old = earlier_release(tmp_path / "w" / "models", weights)
    store = ModelStore(tmp_path / "w" / "models")
    assert (store.serving().version, store.serving().sha256, store.serving().problem) == (old[2], None, None)
    assert store.read_serving()[1] == b"weights 2"
    assert main(["models", "--workspace", str(tmp_path / "w")]) == 0
    assert capsys.readouterr().out.count("Not verified") == 3


def test_s14_hash_of_the_shipped_weights_is_up_to_date():
    """S14: `python main.py weights --install` writes it."""
    store = ModelStore(Path("/nowhere"), APP_DIR / "model" / "pretrained_lung_tumor.pt")
    assert store.serving().sha256
    assert store.damage() == []
