"""Host names and addresses at which the server may be reached."""

import asyncio
import socket

import pytest
import uvicorn

from lib.errors import UserError
from lib.server.access.hosts import AllowedHosts, parse_hosts
from lib.server.access.listening import Listening, check_start, listening_of, open_network_warning
from lib.server.access.rules import rules_at_start
from lib.server.upstream_patches import running_server
from lib.settings import Settings, load_info

LOCAL = Listening(("127.0.0.1",), 8000)
OPEN = Listening(("0.0.0.0",), 8000)
RULES = load_info()["config"]["server"]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("LOCALHOST.:9000", True),
        ("lung.localhost:8000", True),
        ("[::1]:8000", True),
        ("127.1.2.3", True),
        ("rebind.test", False),
        ("rebind.test:8000", False),
        ("localhost.rebind.test", False),
        ("127.0.0.1.rebind.test", False),
        ("notlocalhost", False),
        ("10.11.12.13:8000", False),
        ("0.0.0.0:8000", False),
        ("[fe80::1]", False),
        ("localhost@rebind.test", False),
        ("rebind.test#localhost", False),
        ("localhost, rebind.test", False),
        ("localhost:8000/x", False),
        ("", False),
        (None, False),
    ],
)
def test_local_server_accepts_only_loopback_names(host, allowed):
    """S4: protection against DNS rebinding."""
    assert AllowedHosts(LOCAL).allow(host) is allowed


def test_network_server_accepts_its_own_and_configured_names():
    """S4: names and addresses of the machine, and those of allowed_hosts."""
    own = socket.gethostname()
    assert not AllowedHosts(LOCAL).allow(f"{own}.example:8000")
    hosts = AllowedHosts(OPEN, parse_hosts("Lung.example.org, 10.11.12.13  [fd00::7]"))
    for host in (own, "lung.example.org:443", "10.11.12.13", "[fd00:0::7]:8000"):
        assert hosts.allow(host), host
    assert hosts.allow("192.0.2.9:8000", "192.0.2.9"), "the local address of the connection"
    assert hosts.allow("192.0.2.9", "::ffff:192.0.2.9")
    assert not hosts.allow("192.0.2.10", "192.0.2.9")
    assert not hosts.allow("other.example.org")


@pytest.mark.parametrize("text", ["http://lung.example.org", "*", "lung.example.org:8000", "a/b"])
def test_allowed_hosts_rejects_urls_ports_and_wildcards(text):
    """S4"""
    with pytest.raises(UserError, match="must be a name such as"):
        parse_hosts(text)


@pytest.mark.parametrize(
    ("hosts", "local"),
    [
        (("127.0.0.1",), True),
        (("localhost",), True),
        (("::1",), True),
        (("127.9.9.9", "::1"), True),
        (("0.0.0.0",), False),
        (("::",), False),
        (("",), False),
        (("192.0.2.9",), False),
        (("127.0.0.1", "192.0.2.9"), False),
        (("no-such-host.invalid",), False),
    ],
)
def test_listening_on_the_network_requires_allow_network(hosts, local):
    """S5: the error explains how to stay local or allow it; the open server logs a warning."""
    listening = Listening(hosts, 8000)
    assert listening.is_local is local
    if local:
        check_start(listening, RULES, login_by_keycloak=False)
        assert open_network_warning(listening) is None
        return
    with pytest.raises(UserError, match=r"without a login.*--host 127\.0\.0\.1.*--conf allow_network true"):
        check_start(listening, RULES, login_by_keycloak=False)
    check_start(listening, {**RULES, "allow_network": True}, login_by_keycloak=False)
    assert "can read and change all images" in open_network_warning(listening)


def test_reported_url_matches_the_listening_address():
    """S5: https, IPv6, and the URL for other machines."""
    assert LOCAL.url == "http://127.0.0.1:8000"
    assert Listening(("::1",), 8443, https=True).url == "https://[::1]:8443"
    assert Listening(("::",), 8443, https=True).url == "https://[::1]:8443"
    assert Listening(("192.0.2.9",), 80).url == Listening(("192.0.2.9",), 80).network_url == "http://192.0.2.9:80"
    assert OPEN.network_url == f"http://{socket.gethostname()}:8000"


def test_keycloak_and_root_path_are_rejected():
    """S6, R14: neither is supported, so the server does not start."""
    with pytest.raises(UserError, match="MONAI_LABEL_AUTH_ENABLE"):
        check_start(LOCAL, RULES, login_by_keycloak=True)
    with pytest.raises(UserError, match=r"--root_path /lung/ai is not supported.*allowed_hosts"):
        check_start(Listening(("127.0.0.1",), 8000, root_path="/lung/ai"), RULES, login_by_keycloak=False)


@pytest.mark.parametrize("name", ["max_upload_mb", "max_stow_mb", "head_seconds", "body_seconds", "max_connections"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), 1e9])
def test_rejects_limits_out_of_range(name, value):
    """S9, S10"""
    with pytest.raises(UserError, match=f"--conf {name} must be"):
        Settings.from_conf("studies", {name: str(value)})


def test_listening_address_of_the_running_server():
    """S5: from within the application's startup, from the configuration or the inherited sockets."""

    def found_in(config: uvicorn.Config, sockets: list[socket.socket] | None = None) -> Listening:
        found = []

        async def app(scope, receive, send):
            server = running_server()
            found.append(listening_of(*server))
            config.backlog = 1
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "seen"})

        config.app = app
        with pytest.raises(SystemExit):
            uvicorn.Server(config).run(sockets)
        return found[0]

    config = uvicorn.Config("x:y", host="0.0.0.0", port=8123, lifespan="on", log_config=None, root_path="/x")
    assert found_in(config) == Listening(("0.0.0.0",), 8123, root_path="/x")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        config = uvicorn.Config("x:y", host="0.0.0.0", lifespan="on", log_config=None)
        assert found_in(config, [one]) == Listening(("127.0.0.1",), one.getsockname()[1])


def test_rules_need_a_known_server():
    """S5: trainings and commands have no server; an unknown server is rejected because its address is unknown."""
    assert rules_at_start(RULES) is None

    async def start() -> None:
        rules_at_start(RULES)

    with pytest.raises(UserError, match="monailabel start_server"):
        asyncio.run(start())
