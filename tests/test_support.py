"""Programs that other tests depend on start, respond and stop."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
import requests

from lib.settings import APP_DIR
from tools.support.processes import free_port, serving


def test_program_that_dies_at_start_shows_its_log(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such folder')"]
    with (
        pytest.raises(RuntimeError, match="no such folder"),
        serving(command, url="http://127.0.0.1:1", ready="/", directory=tmp_path),
    ):
        pass


def test_program_is_stopped_with_its_child_processes(tmp_path):
    port = free_port()
    script = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"import http.server; http.server.HTTPServer(('127.0.0.1', {port}),"
        " http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    url = f"http://127.0.0.1:{port}"
    with serving([sys.executable, "-c", script], url=url, ready="/", directory=tmp_path) as server:
        [child] = psutil.Process(server.process.pid).children(recursive=True)
    assert server.process.poll() is not None
    assert not child.is_running()


def test_signal_that_ends_a_command_of_the_maintainers_ends_what_it_started(tmp_path):
    """SIGTERM left the server running."""
    script = f"""
import sys, time, types
from pathlib import Path
from lib import cli
from lib.cli.commands import Command
from tools.support.processes import free_port, serving

def run(args):
    port = free_port()
    url = f"http://127.0.0.1:{{port}}"
    command = [sys.executable, "-m", "http.server", "-b", "127.0.0.1", str(port)]
    with serving(command, url=url, ready="/", directory=Path({str(tmp_path)!r})) as server:
        print(server.process.pid, flush=True)
        time.sleep(600)

sys.modules["slow"] = types.SimpleNamespace(add_arguments=lambda parser: None, run=run)
cli._of_maintainers = lambda: {{"slow": Command("slow", "waits")}}
sys.exit(cli.main(["slow"]))
"""
    environment = {**os.environ, "PYTHONPATH": str(APP_DIR)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE) as command:
        server = psutil.Process(int(command.stdout.readline()))
        command.terminate()
        assert command.wait(timeout=60) == 128 + signal.SIGTERM
    assert not server.is_running()


@pytest.mark.pacs
def test_orthanc_answers_dicomweb(orthanc, phantom_studies):
    series = phantom_studies.of_patient("LUNG-004")
    pacs = orthanc(series.directory, user="reader", password="secret")
    url = f"{pacs.url}/studies?PatientID=LUNG-004"
    assert requests.get(url, timeout=30).status_code == 401
    [study] = requests.get(url, auth=pacs.auth, timeout=30).json()
    assert study["0020000D"]["Value"] == [series.study_uid]
    instances = f"{pacs.url}/studies/{series.study_uid}/series/{series.series_uid}/instances"
    assert len(requests.get(instances, auth=pacs.auth, timeout=60).json()) == series.acquisition.shape[0]


@pytest.mark.browser
def test_chromium_draws_webgl(page, page_problems, screenshot):
    page.set_content("<canvas id=c></canvas><script>console.error('seen')</script>")
    renderer = page.evaluate("document.getElementById('c').getContext('webgl2').getParameter(7937)")
    assert renderer
    assert page_problems.console_errors == ["seen"]
    assert screenshot(page, "webgl").stat().st_size > 0
