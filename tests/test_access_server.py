"""Access control of the real server, started like a user starts it."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from lib.identity.accounts import Accounts
from lib.identity.audit_log import AuditLog
from lib.identity.roles import Role
from lib.phantoms.demo import DemoSeries
from lib.settings import APP_DIR
from tools.support.processes import ServerProcess, free_port, serving
from tools.support.users import PASSWORD, add_users, logged_in

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
def workspace(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def studies(phantom_studies) -> DemoSeries:
    return phantom_studies.of_patient("LUNG-003")


@pytest.fixture(scope="module")
def start(launcher, studies, workspace) -> list[str]:
    """Return a start command without --host, for which MONAI Label listens on every address."""
    command = ["sh", str(launcher), "start_server", "--app", str(APP_DIR), "--studies", str(studies.directory)]
    return [*command, "--conf", "workspace", str(workspace), "--conf", "model_dir", str(workspace / "model")]


@pytest.fixture(scope="module")
def server(start, workspace, tmp_path_factory) -> Iterator[ServerProcess]:
    """Yield a network server with users, started in a folder with a planted module."""
    directory, port = tmp_path_factory.mktemp("server"), free_port()
    add_users(workspace, **{role.title: role for role in Role})
    (directory / "xml.py").write_text(PLANTED)
    command = [
        *start,
        "--port",
        str(port),
        "--conf",
        "allowed_hosts",
        "lung.example",
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MONAI_", "PYTHON"))}
    url = f"http://127.0.0.1:{port}"
    with serving(command, url=url, ready="/auth/", directory=directory, environment=environment) as running:
        yield running


def as_role(role: Role, server: ServerProcess) -> requests.Session:
    return logged_in(server.url, role.title)


def test_network_start_without_login_is_refused(start, tmp_path):
    """S5: plain `monailabel start_server` listens on every address."""
    command = [*start, "--port", str(free_port())]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 2
    assert "LungLabel cannot start" in ended.stderr
    assert "The server would listen on 0.0.0.0" in ended.stderr
    assert "--host 127.0.0.1" in ended.stderr
    assert "add NAME --role admin" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_network_server_warns(server):
    """S5: in the log and on the status page."""
    warning = f"Passwords and images travel to http://{socket.gethostname()}:{server.url.rpartition(':')[2]} without"
    assert f"WARNING: {warning}" in server.log_text()
    assert as_role(Role.USER, server).get(f"{server.url}/status/data").json()["network"].startswith(warning)


def test_pages_lead_to_the_login_page_and_back(server):
    """A browser logs in by the form; the cookie is not readable by scripts nor sent from other sites."""
    browser = requests.Session()
    asked = browser.get(f"{server.url}/status", headers={"Accept": "text/html"})
    assert asked.url == f"{server.url}/login?next=%2Fstatus"
    assert asked.headers["Cache-Control"] == "no-store"
    form = {"name": "annotator", "password": "wrong", "next": "/status"}
    refused = browser.post(f"{server.url}/login", data=form)
    assert (refused.status_code, "Name or password is wrong." in refused.text) == (401, True)
    entered = browser.post(f"{server.url}/login", data={**form, "password": PASSWORD}, allow_redirects=False)
    assert (entered.status_code, entered.headers["Location"]) == (303, "/status")
    attributes = entered.headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= {*attributes}
    assert "document.getElementById" in browser.get(f"{server.url}/status", headers={"Accept": "text/html"}).text
    user = {"name": "annotator", "role": "annotator"}
    assert browser.get(f"{server.url}/viewer/status").json()["user"] == user
    out = browser.post(f"{server.url}/logout", allow_redirects=False)
    assert out.headers["Location"] == "/login"
    token = entered.cookies["lunglabel_session"]
    old = {"Cookie": f"lunglabel_session={token}"}
    assert requests.get(f"{server.url}/viewer/status", headers=old).status_code == 401, "the session has ended"


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_login_leads_to_no_other_site(server, target):
    form = {"name": "user", "password": PASSWORD, "next": target}
    entered = requests.post(f"{server.url}/login", data=form, allow_redirects=False)
    assert (entered.status_code, entered.headers["Location"]) == (303, "/status")


def test_login_by_another_site_and_fixed_sessions_are_refused(server):
    """Log-in CSRF and session fixation."""
    form = {"name": "user", "password": PASSWORD}
    foreign = {"Origin": "http://evil.example"}
    assert requests.post(f"{server.url}/login", data=form, headers=foreign).status_code == 403
    fixed = {"Cookie": "lunglabel_session=chosen-by-somebody-else"}
    entered = requests.post(f"{server.url}/login", data=form, headers=fixed, allow_redirects=False)
    assert entered.cookies["lunglabel_session"] != "chosen-by-somebody-else"
    assert requests.get(f"{server.url}/info/", headers=fixed).status_code == 401


def test_links_from_other_sites_find_the_session(server):
    """A browser follows such a link without the SameSite=Strict cookie: the page asks once more for itself."""
    navigation = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = requests.get(
        f"{server.url}/ohif/x?a=1&b=%22", headers={**navigation, "Sec-Fetch-Dest": "document"}, allow_redirects=False
    )
    assert answer.status_code == 200
    assert 'content="0; url=/ohif/x?a=1&amp;b=%22"' in answer.text


def test_author_is_who_is_logged_in(server, studies, workspace):
    """Whatever name is typed; the audit log says who did it."""
    annotator = as_role(Role.ANNOTATOR, server)
    mask = {"label": ("mask.nii.gz", studies.truth.read_bytes())}
    query, typed = {"image": studies.series_uid}, {"params": json.dumps({"annotator": "Dr Who"})}
    assert as_role(Role.USER, server).put(f"{server.url}/datastore/label", params=query, files=mask).status_code == 403
    saved = annotator.put(f"{server.url}/datastore/label", params=query, data=typed, files=mask)
    assert saved.status_code == 200, saved.text
    info = {"info": json.dumps({"annotator": "Dr Who", "note": "checked"})}
    noted = {"label": studies.series_uid, "tag": "final"}
    assert as_role(Role.REVIEWER, server).put(f"{server.url}/datastore/label/info", params=noted, data=info).ok
    label = annotator.get(f"{server.url}/viewer/case", params=query).json()["label"]
    assert (label["annotator"], label["note"]) == ("annotator", "checked")
    entries = [*AuditLog(workspace / "audit.jsonl").entries()]
    assert ("annotator", "labelled", studies.series_uid) in {(e["user"], e["action"], e.get("image")) for e in entries}
    assert studies.patient_id not in (workspace / "audit.jsonl").read_text()


def test_stock_slicer_logs_in(server, studies, slicer_client, tmp_path):
    """MONAI Label's own client: it asks whether to log in, sends name and password, then the token."""
    client = slicer_client.MONAILabelClient(server.url, str(tmp_path), client_id="slicer")
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    with pytest.raises(slicer_client.MONAILabelClientException, match="401"):
        client.auth_token("annotator", "wrong")
    client.update_auth(client.auth_token("annotator", PASSWORD))
    assert client.auth_valid_token()
    assert "lung_tumor" in client.info()["models"]
    client.save_label(studies.series_uid, str(studies.truth), params={"annotator": "Dr Who"})
    case = requests.get(f"{server.url}/viewer/case", {"image": studies.series_uid}, headers=client._headers).json()
    assert case["label"]["annotator"] == "annotator"
    mask, query = {"label": ("mask.nii.gz", studies.truth.read_bytes())}, {"image": studies.series_uid}
    reviewer = as_role(Role.REVIEWER, server)
    assert reviewer.put(f"{server.url}/datastore/label", params=query, files=mask).status_code == 409, "not loaded yet"
    assert reviewer.put(f"{server.url}/datastore/label", params=query, files=mask).ok
    for refused in (True, False):  # told once that somebody else has submitted another label
        with pytest.raises(slicer_client.MONAILabelClientException) if refused else contextlib.nullcontext() as told:
            client.save_label(studies.series_uid, str(studies.truth))
        assert not refused or f"Label {case['label']['number'] + 1} by reviewer was submitted since" in told.value.msg
    with pytest.raises(slicer_client.MONAILabelClientException, match="403"):
        client.train_start("lung_tumor", {})


def test_role_changes_count_at_once(server, workspace):
    """Also in a session that goes on."""
    accounts = Accounts(workspace / "users.json")
    accounts.add("grace", Role.USER, PASSWORD)
    session = logged_in(server.url, "grace")
    assert session.delete(f"{server.url}/scoring/").status_code == 403
    accounts.change("grace", role=Role.REVIEWER)
    assert session.delete(f"{server.url}/scoring/").status_code != 403
    accounts.remove("grace")
    assert session.get(f"{server.url}/info/").status_code == 401


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
    assert requests.get(f"{server.url}/auth/", headers={"Host": host}).status_code == 200


def test_no_page_loads_from_other_hosts(server):
    """S19: `/docs` is gone, `/` redirects to the status page, `/logs/` is text."""
    admin = as_role(Role.ADMIN, server)
    assert admin.get(f"{server.url}/docs").status_code == 404
    assert admin.get(f"{server.url}/").url == f"{server.url}/status"
    log = admin.get(f"{server.url}/logs/", params={"html": "true"})
    assert log.headers["Content-Type"].startswith("text/plain")
    for path in ("/status", "/ohif/", "/ohif/app.bundle.css"):
        answer = admin.get(server.url + path)
        assert answer.status_code == 200
        assert "//fonts." not in answer.text
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"] or path == "/status"
    for path in ("sw.js", "google.js", "silent-refresh.html"):
        assert admin.get(f"{server.url}/ohif/{path}").status_code == 404


def test_clients_cannot_inject_log_lines(server):
    """Low: %0a in a path."""
    admin = as_role(Role.ADMIN, server)
    admin.delete(f"{server.url}/session/x%0aFORGED-LINE")
    admin.get(f"{server.url}/viewer/case", params={"image": "x\nFORGED-LINE"})
    admin.get(f"{server.url}/nowhere%0aFORGED-LINE", headers={"Origin": "http://evil.example"})
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
