"""Access control of the real server, started like a user starts it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lib.settings import APP_DIR
from tools.support.processes import ServerProcess, free_port, serving

pytestmark = pytest.mark.server
PLANTED = "from pathlib import Path; Path('planted-was-run').touch()\n"


@pytest.fixture(scope="module")
def launcher(tmp_path_factory) -> Path:
    """Return the command as installed by `make install`, in a virtual environment whose path has a space."""
    environment = Path(sys.prefix)
    copy = tmp_path_factory.mktemp("virtual env")
    (copy / "bin").mkdir()
    (copy / "bin" / "python").symlink_to(environment / "bin" / "python")
    (copy / "lib").symlink_to(environment / "lib")
    shutil.copy(environment / "pyvenv.cfg", copy)
    shutil.copy(APP_DIR / "lib" / "cli" / "monailabel.sh", copy / "bin" / "monailabel")
    return copy / "bin" / "monailabel"


@pytest.fixture(scope="module")
def start(launcher, phantom_studies, tmp_path_factory) -> list[str]:
    """Return a start command without --host, for which MONAI Label listens on every address."""
    workspace = tmp_path_factory.mktemp("workspace")
    studies = phantom_studies.of_patient("LUNG-003").directory
    command = ["sh", str(launcher), "start_server", "--app", str(APP_DIR), "--studies", str(studies)]
    return [*command, "--conf", "workspace", str(workspace), "--conf", "model_dir", str(workspace / "model")]


@pytest.fixture(scope="module")
def server(start, tmp_path_factory) -> Iterator[ServerProcess]:
    """Yield a network server started in a folder with a planted module."""
    directory, port = tmp_path_factory.mktemp("server"), free_port()
    (directory / "xml.py").write_text(PLANTED)
    command = [
        *start,
        "--port",
        str(port),
        "--conf",
        "allow_network",
        "true",
        "--conf",
        "allowed_hosts",
        "lung.example",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MONAI_", "PYTHON"))}
    url = f"http://127.0.0.1:{port}"
    with serving(command, url=url, ready="/info/", directory=directory, environment=environment) as running:
        yield running


def test_network_start_without_login_is_refused(start, tmp_path):
    """S5: plain `monailabel start_server` listens on every address."""
    command = [*start, "--port", str(free_port())]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2
    assert "LungLabel cannot start" in ended.stderr
    assert "The server would listen on 0.0.0.0" in ended.stderr
    assert "--host 127.0.0.1" in ended.stderr
    assert "--conf allow_network true" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_network_server_warns(server):
    """S5: in the log and on the status page."""
    port = server.url.rpartition(":")[2]
    warning = f"Everybody who can reach http://{socket.gethostname()}:{port} can read and change all images"
    assert f"WARNING: {warning}" in server.log_text()
    assert requests.get(f"{server.url}/status/data").json()["network"].startswith(warning)
    assert 'id="network"' in requests.get(f"{server.url}/status").text


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["/info/", "/train/", "/datastore/label", "/nowhere", "/ohif/"])
def test_foreign_host_names_are_rejected(server, method, path):
    """S4: DNS rebinding."""
    answer = requests.request(method, server.url + path, headers={"Host": "rebind.test"})
    assert answer.status_code == 400
    if method != "HEAD":
        assert "does not accept the host name 'rebind.test'" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "lung.example:443", socket.gethostname()])
def test_own_and_allowed_host_names_are_accepted(server, host):
    """S4"""
    assert requests.get(f"{server.url}/info/", headers={"Host": host}).status_code == 200


def test_no_page_loads_from_other_hosts(server):
    """S19: `/docs` is gone, `/` redirects to the status page, `/logs/` is text."""
    assert requests.get(f"{server.url}/docs").status_code == 404
    assert requests.get(f"{server.url}/").url == f"{server.url}/status"
    log = requests.get(f"{server.url}/logs/", params={"html": "true"})
    assert log.headers["Content-Type"].startswith("text/plain")
    for path in ("/status", "/ohif/", "/ohif/app.bundle.css"):
        answer = requests.get(server.url + path)
        assert answer.status_code == 200
        assert "//fonts." not in answer.text
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"] or path == "/status"
    for path in ("sw.js", "google.js", "silent-refresh.html"):
        assert requests.get(f"{server.url}/ohif/{path}").status_code == 404


def test_clients_cannot_inject_log_lines(server):
    """Low: %0a in a path."""
    requests.delete(f"{server.url}/session/x%0aFORGED-LINE")
    requests.get(f"{server.url}/viewer/case", params={"image": "x\nFORGED-LINE"})
    requests.get(f"{server.url}/nowhere%0aFORGED-LINE", headers={"Origin": "http://evil.example"})
    log = server.log_text()
    assert "FORGED-LINE" in log
    assert not [line for line in log.splitlines() if line.startswith("FORGED-LINE")]


def test_modules_in_the_current_folder_are_not_imported(server, tmp_path):
    """Low: neither by the server nor by a training it starts."""
    assert not list(server.log.parent.glob("planted*"))
    (tmp_path / "xml.py").write_text(PLANTED)
    code = (
        f"import sys; sys.path[0] = {str(APP_DIR)!r}\n"
        "import subprocess; from pathlib import Path; from lib.server.working_directory import use_safe_directories\n"
        f"use_safe_directories(Path({str(APP_DIR)!r}), Path({str(tmp_path / 'new')!r}))\n"
        "subprocess.run([sys.executable, '-m', 'timeit', '-n', '1', 'import xml'], check=True)\n"
        "import tempfile; print(tempfile.mkdtemp())\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{os.pathsep}{APP_DIR}"}  # as MONAI Label leaves it
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert Path(ended.stdout.split()[-1]).parent == tmp_path / "new"
    with contextlib.suppress(FileNotFoundError):
        (APP_DIR / "planted-was-run").unlink()
        pytest.fail("the planted module was run")
    assert not (tmp_path / "planted-was-run").exists()
