"""The nginx fixture: the documented configuration before a server, with a self-signed certificate."""

import contextlib
import datetime
import ipaddress
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lib.settings import APP_DIR
from tests.support.requirement import find_program
from tools.support.processes import ServerProcess, serving

EXAMPLE = APP_DIR / "docs" / "nginx.conf"
HOST = "lung.localhost"  # browsers resolve it to this machine


@pytest.fixture(scope="module")
def start_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, int, str], ServerProcess]]:
    """Return ``start_nginx(url, port, prefix)``, which puts nginx with TLS and a path prefix before a server."""
    program = find_program("nginx", message="nginx is not installed: apt-get install nginx-light")
    with contextlib.ExitStack() as servers:

        def start(url: str, port: int, prefix: str) -> ServerProcess:
            directory = tmp_path_factory.mktemp("nginx")
            certificate, key = _write_certificate(directory)
            changes = {
                "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
                "server_name lung.example.org": f"server_name {HOST}",
                "/etc/ssl/certs/lung.example.org.pem": str(certificate),
                "/etc/ssl/private/lung.example.org.key": str(key),
                "location / {": f"location {prefix}/ {{",
                "http://127.0.0.1:8000": f"{url}/",
            }
            text = EXAMPLE.read_text()
            for old, new in changes.items():
                assert text.count(old) == 1, f"{EXAMPLE} has no {old!r} to replace"
                text = text.replace(old, new)
            ready = f"{prefix}/auth/"
            return servers.enter_context(_nginx(program, directory, text, port, certificate, ready))

        yield start


@contextlib.contextmanager
def _nginx(
    program: str, directory: Path, text: str, port: int, certificate: Path, ready: str
) -> Iterator[ServerProcess]:
    temporary = "".join(
        f"{name}_temp_path {directory}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = directory / "nginx.conf"
    user = "user root; " if os.geteuid() == 0 else ""  # the temporary folders belong to whoever runs the tests
    configuration.write_text(
        f"{user}daemon off; pid {directory}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{text}}}\n"
    )
    command = [program, "-e", "stderr", "-p", str(directory), "-c", str(configuration)]
    url = f"https://127.0.0.1:{port}"
    with serving(command, url=url, ready=ready, directory=directory, verify=certificate, timeout=60) as server:
        yield server


def _write_certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName(HOST), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = directory / "certificate.pem", directory / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
