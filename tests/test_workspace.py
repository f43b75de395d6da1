"""S12, S15, S16: one server per workspace, private files, and a start from any state left behind."""

import contextlib
import gc
import json
import logging
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests
import SimpleITK as sitk

from lib.datastore.opening import open_datastore
from lib.datastore.predictions import Prediction, PredictionStore
from lib.dicomweb.folder_index import FolderIndex
from lib.errors import UserError
from lib.phantoms import Acquisition, write_dicom_series
from lib.server.log_file import log_path, move_log
from lib.server.sessions import TolerantSessions
from lib.settings import APP_DIR, Settings
from lib.workspace import _lock_workspace, exit_on_startup_error, open_workspace
from tests.support.client import detail, put_label
from tools.support.app_server import monailabel_server
from tools.support.damage import DAMAGES, damage

GRID = Acquisition(shape=(4, 16, 16), spacing=(2.5, 1, 1))


@pytest.fixture
def settings(tmp_path):
    return Settings.from_conf(str(tmp_path / "dicom"), {"workspace": str(tmp_path / "workspace")})


@pytest.mark.slow
def test_s12_second_lock_names_the_process_of_the_first(tmp_path):
    first = _lock_workspace(tmp_path)
    with pytest.raises(UserError, match=f"process {os.getpid()}"):
        _lock_workspace(tmp_path)
    (tmp_path / "server.pid").write_bytes(b"\xff")
    with pytest.raises(UserError, match="unknown process id"):
        _lock_workspace(tmp_path)
    first.release()
    _lock_workspace(tmp_path).release()


def test_s12_commands_do_not_lock(settings):
    held = _lock_workspace(settings.workspace)
    assert open_workspace(settings) is None
    held.release()


LEFT = ["uploads/a.nrrd", "uploads/stow-1/body", "temporary/tmp1/0.dcm", "temporary/x.zip", "results/tmp.nrrd"]
LEFT += ["tmpabc/0.dcm", "tmpabc.zip"]  # of earlier releases
KEPT = ["index.sqlite", "volumes/f/1.2.nrrd", "sessions/1/meta.info", "predictions/x"]


def test_low_patient_files_left_by_killed_requests_are_removed(settings, monkeypatch):
    """Low: only by a server, since a command may run beside one."""
    paths = {name: settings.cache_dir / name for name in (*LEFT, *KEPT)}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    elsewhere = settings.workspace.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    (settings.cache_dir / "temporary" / "link").symlink_to(elsewhere)
    open_workspace(settings)
    assert [name for name, path in paths.items() if not path.exists()] == []
    monkeypatch.setattr("lib.workspace.is_server", lambda: True)
    open_workspace(settings).release()
    assert [name for name, path in paths.items() if path.exists()] == KEPT
    assert sorted(path.name for path in settings.cache_dir.iterdir() if path.name.startswith("tmp")) == []
    for name in ("uploads", "temporary", "results"):
        assert list((settings.cache_dir / name).glob("*")) == []
    assert (elsewhere / "precious").exists()


IN_THE_WAY = ["image_info", "drafts", "models", "cache", "cache/uploads", "cache/temporary", "cache/results"]
IN_THE_WAY += ["cache/sessions", "cache/predictions", "cache/volumes"]


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_s16_file_in_place_of_a_folder_is_moved_aside(settings, name):
    path = settings.workspace / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("junk")
    open_workspace(settings)
    assert not path.is_file()
    assert path.with_name(f"{path.name}.damaged-1").read_text() == "junk"


@pytest.mark.parametrize("name", ["server.lock", "training.lock", "labels/.lock", "models/.lock"])
def test_s16_folder_in_place_of_a_lock_is_removed(settings, name):
    (settings.workspace / name).mkdir(parents=True)
    open_workspace(settings)
    assert not (settings.workspace / name).exists()


@pytest.mark.parametrize("name", ["labels", "segs", ""])
def test_s16_file_in_place_of_a_folder_with_labels_is_refused(settings, name):
    path = settings.workspace / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("junk")
    with pytest.raises(UserError, match=r"a file is in the place .*Move it away"):
        open_workspace(settings)
    assert path.read_text() == "junk"


MOUNTS = {
    "full disk": ("mount -t tmpfs -o size=32k none W && mkdir W/labels && head -c 1M /dev/zero > W/fill", "is full"),
    "full cache": ("mkdir W/cache && mount -t tmpfs -o size=4k none W/cache", r"disk is full .*W/cache"),
    "read-only workspace": ("mount -t tmpfs none W && mount -o remount,ro W", "not writable .Read-only"),
    "read-only models": ("mkdir W/models && mount -t tmpfs -o ro none W/models", r"Read-only file system: .*W/models"),
    "read-only labels": ("mkdir W/labels && mount -t tmpfs -o ro none W/labels", r"Read-only file system: .*W/labels"),
}


@pytest.mark.server
@pytest.mark.parametrize("kind", MOUNTS)
def test_s16_unwritable_disk_is_reported_in_one_sentence(tmp_path, kind):
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("SKIPPED: only root may mount file systems")
    mounting, expected = MOUNTS[kind]
    workspace = tmp_path / "W"
    workspace.mkdir()
    program = (
        "import sys; sys.modules['monailabel.app'] = sys\n"
        "from lib.settings import Settings\n"
        "from lib.workspace import open_workspace, exit_on_startup_error\n"
        f"settings = Settings.from_conf('/nowhere', {{'workspace': {str(workspace)!r}}})\n"
        "with exit_on_startup_error(): open_workspace(settings)\n"
        "print('started')"
    )
    script = f'cd {tmp_path} && {mounting}; cd {APP_DIR} && exec {sys.executable} -c "$PROGRAM"'
    environment = {**os.environ, "PROGRAM": program}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "started" not in done.stdout
    told = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("head:")]
    assert len(told) == 1, done.stderr
    assert told[0].startswith(f"LungLabel cannot start: The workspace {workspace} cannot be used")
    assert re.search(expected, told[0])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "/x"), sqlite3.OperationalError("x")])
def test_s16_later_startup_errors_are_sentences(error):
    with pytest.raises(UserError), exit_on_startup_error():
        raise error


def test_low_workspace_is_private(settings):
    settings.workspace.mkdir(mode=0o755)
    open_workspace(settings)
    assert settings.workspace.stat().st_mode & 0o777 == 0o700
    settings.workspace.chmod(0o2775)  # group access granted by the user
    open_workspace(settings)
    assert settings.workspace.stat().st_mode & 0o7777 == 0o2770


@pytest.mark.parametrize("state", ["", "file", "folder"])
def test_log_moves_into_the_workspace(tmp_path, state):
    if state == "file":
        (tmp_path / "workspace").mkdir()
        (tmp_path / "workspace" / "logs").write_text("junk")
    if state == "folder":
        (tmp_path / "workspace" / "logs" / "app.log").mkdir(parents=True)
    root, former = logging.getLogger(), tmp_path / "app" / "logs" / "app.log"
    former.parent.mkdir(parents=True)
    handler = logging.FileHandler(former)
    root.addHandler(handler)
    try:
        root.warning("before")
        move_log(tmp_path / "workspace")
        root.warning("after")
        assert log_path() == tmp_path / "workspace" / "logs" / "app.log"
        assert "before" in former.read_text()
        assert "after" not in former.read_text()
        assert "after" in log_path().read_text()
        assert log_path().stat().st_mode & 0o777 == 0o600
    finally:
        root.removeHandler(handler)
        handler.close()


@pytest.mark.parametrize("kind", [*DAMAGES, "other types", "list", "no folder"])
def test_s15_damaged_session_is_removed(tmp_path, kind):
    """S15: MONAI Label's own code stopped the start with a traceback."""
    sessions = TolerantSessions(str(tmp_path / "sessions"), 3600)
    for name in ("a.nrrd", "b.nrrd"):
        (tmp_path / name).write_bytes(b"image")
    whole, _ = sessions.add_session(str(tmp_path / "a.nrrd"))
    broken, _ = sessions.add_session(str(tmp_path / "b.nrrd"))
    meta = tmp_path / "sessions" / broken / "meta.info"
    if kind == "other types":
        meta.write_text(json.dumps({"image": 5, "expiry": "x", "last_access_ts": {}}))
    elif kind == "list":
        meta.write_text("[1]")
    elif kind == "no folder":
        (tmp_path / "sessions" / "junk").write_text("x")
    else:
        damage(meta, kind)
    again = TolerantSessions(str(tmp_path / "sessions"), 3600)
    again.remove_expired()
    assert again.get_session(whole) is not None
    again.get_session(broken)
    again.remove_expired()
    assert again.get_session(whole) is not None


@pytest.fixture
def dicom(tmp_path):
    write_dicom_series(tmp_path / "dicom", np.zeros(GRID.shape, np.int16), GRID.affine, patient_id="P")
    return tmp_path / "dicom"


def _locked(path: Path) -> None:
    _locked.holder = sqlite3.connect(path, isolation_level=None)
    _locked.holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    _locked.holder.execute("BEGIN EXCLUSIVE")


def _other_tables(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE files DROP COLUMN place")


def _other_database(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE files (x)")


def _wal(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink(missing_ok=True)
    path.with_name(f"{path.name}-wal").mkdir()


STATES = {**DAMAGES, "locked": _locked, "other tables": _other_tables, "other database": _other_database, "wal": _wal}


@pytest.mark.parametrize("kind", STATES)
def test_s15_damaged_index_is_rebuilt(dicom, tmp_path, kind, monkeypatch):
    """S15: the server did not start."""
    monkeypatch.setattr("lib.dicomweb.index_database._STARTUP_LOCK_TIMEOUT_SECONDS", 0.2)
    path = tmp_path / "cache" / "index.sqlite"
    FolderIndex(path, [dicom]).scan()
    gc.collect()  # closes the index
    STATES[kind](path)
    index = FolderIndex(path, [dicom])
    index.scan()
    ((_, count),) = index.series()
    assert count == GRID.shape[0]
    assert path.stat().st_mode & 0o777 == 0o600
    if kind == "locked":
        _locked.holder.close()


def test_s15_damage_while_the_server_runs_is_reported_and_repaired(dicom, tmp_path):
    index = FolderIndex(tmp_path / "cache" / "index.sqlite", [dicom])
    index.scan()
    index._connection.execute("UPDATE series SET header = '{'")
    with pytest.raises(UserError, match="being rebuilt") as told:
        index.series()
    assert told.value.status == 503
    index.scan()
    assert len(index.series()) == 1
    index._connection.execute("DROP TABLE images")
    with pytest.raises(UserError, match="being rebuilt"):
        index.images()
    assert index.scan().added == GRID.shape[0]
    assert index.images() == []


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    for patient in ("A", "B"):
        write_dicom_series(folder / "dicom" / patient, np.zeros(GRID.shape, np.int16), GRID.affine, patient_id=patient)
    return folder


def submit(server, image, voxel, folder):
    mask = np.zeros(GRID.shape, np.uint8)
    mask[voxel, 2, 3] = 1
    mask.tofile(folder / "label.bin")
    answer = put_label(server, image, folder / "label.bin")
    assert answer.status_code == 200, answer.text


def files(workspace):
    return [path for path in sorted(workspace.rglob("*")) if path.is_file() and "lock" not in path.name]


@pytest.mark.server
def test_s12_s15_second_server_is_refused_and_a_server_starts_from_any_damage(place, tmp_path):
    workspace = place / "workspace"
    with monailabel_server(place / "dicom", tmp_path / "first", workspace=workspace) as first:
        data = requests.get(f"{first.url}/status/data").json()
        images = {case["patient"]: case["series"] for case in data["cases"]}
        submit(first, images["A"], 1, tmp_path)
        submit(first, images["B"], 2, tmp_path)
        assert requests.put(
            f"{first.url}/datastore/image/info", params={"image": images["A"]}, data={"info": '{"seen": "yes"}'}
        ).ok
        second = monailabel_server(place / "dicom", tmp_path / "second", workspace=workspace)
        with pytest.raises(RuntimeError, match="Another LungLabel server") as refused, second:
            pass
        assert f"(process {first.process.pid})" in str(refused.value)
        assert "Traceback" not in str(refused.value)
        others = [path for path in (workspace, *workspace.rglob("*")) if path.stat().st_mode & 0o077]
        assert others == [], "Low: files readable by others"
        assert (workspace / "logs" / "app.log").stat().st_size > 0
        first.process.send_signal(signal.SIGKILL)
    mask = sitk.GetImageFromArray(np.ones(GRID.shape, np.uint8))
    PredictionStore(workspace / "cache" / "predictions").keep(Prediction(images["A"], "g", "v", "c", {}), mask)
    for name in ("scores/uncertainty/w/f/1.2.json", "uploads/left.nrrd", "sessions/1/meta.info"):
        path = workspace / "cache" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    spared = {workspace / "labels" / images["B"] / name for name in ("1.nii.gz", "1.json")}
    kinds = [kind for kind in DAMAGES if kind != "missing"]
    doomed = [path for path in files(workspace) if path not in spared]
    assert len(doomed) > 10
    for number, path in enumerate(doomed):
        damage(path, kinds[number % len(kinds)] if path.stat().st_size > 1 else "garbage")

    with monailabel_server(place / "dicom", tmp_path / "third", workspace=workspace) as third:
        data = requests.get(f"{third.url}/status/data").json()
        cases = {case["patient"]: case for case in data["cases"]}
        assert cases["B"]["label"]["number"] == 1, "the undamaged label is available"
        assert cases["A"]["label"] is None
        told = " ".join(one["problem"] for one in data["damaged"])
        assert images["A"] in told
        assert requests.get(f"{third.url}/viewer/status").json()["damaged"] == len(data["damaged"]) > 0
        query = {"label": images["A"], "tag": "final"}
        answer = requests.get(f"{third.url}/datastore/label", params=query)
        assert answer.status_code == 409
        assert "damaged" in detail(answer)
        assert requests.head(f"{third.url}/datastore/label", params=query).status_code == 409
        assert requests.get(f"{third.url}/viewer/case", params={"image": images["A"]}).json()["damaged"]
        assert requests.get(f"{third.url}/datastore/label", params={**query, "label": images["B"]}).status_code == 200
        strategy = requests.post(f"{third.url}/activelearning/random", json={}).json()
        assert strategy["id"] == images["A"], "the case is offered to be labelled again"
        submit(third, images["A"], 3, tmp_path)
        assert requests.get(f"{third.url}/datastore/label", params=query).status_code == 200
        assert requests.get(f"{third.url}/logs/", params={"lines": 50}).status_code == 200
        assert "Traceback" not in third.log_text()


@pytest.mark.server
def test_s16_app_folder_is_never_written_to(place, tmp_path):
    """S16: MONAI Label creates bin/ and logs/app.log there; the repository has bin/ and a link to /dev/null as log."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("SKIPPED: only root may mount file systems")
    app = tmp_path / "app"
    command = ["monailabel.main", "start_server", "--app", str(app), "--studies", str(place / "dicom")]
    command += ["--conf", "workspace", str(tmp_path / "workspace"), "--host", "127.0.0.1", "--dryrun"]
    mounting = f"mkdir {app} && mount --bind {APP_DIR} {app} && mount -o remount,bind,ro {app}"
    program = f"{mounting} && cd {tmp_path} && exec {sys.executable} -m {' '.join(command)}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    # With MONAI Label's logging configuration, uvicorn then opens this file for appending.
    assert (APP_DIR / "logs" / "app.log").resolve() == Path("/dev/null")


def test_s15_damaged_index_does_not_delay_the_first_list(dicom, tmp_path):
    """The scan that finds the damage is repeated at once: a server must not start with an empty list."""
    conf = {"workspace": str(tmp_path / "workspace"), "rescan_seconds": "3600"}
    datastore = open_datastore(Settings.from_conf(str(dicom), conf))
    datastore.client.scan()
    datastore.client.index._connection.execute("UPDATE series SET header = '{'")
    assert datastore.watch().first_round.wait(timeout=60)
    assert len(datastore.list_images()) == 1
