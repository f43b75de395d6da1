"""Host names and addresses at which the server may be reached."""

import asyncio
import socket

import pytest
import uvicorn

from lib.errors import UserError
from lib.identity.accounts import Accounts
from lib.identity.authentication import Identity
from lib.identity.roles import Role
from lib.server.access.credentials import token_of
from lib.server.access.hosts import AllowedHosts, parse_hosts
from lib.server.access.listening import Listening, check_start, listening_of, plain_text_warning
from lib.server.access.login_rules import login_of
from lib.server.access.rules import rules_at_start
from lib.server.upstream_patches import running_server
from lib.settings import Settings

LOCAL = Listening(("127.0.0.1",), 8000)
OPEN = Listening(("0.0.0.0",), 8000)


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
def test_listening_on_the_network_requires_login(hosts, local, tmp_path):
    """S5: the error explains how to stay local or to add a user; passwords without TLS are warned of."""
    listening = Listening(hosts, 8000)
    assert listening.is_local is local
    settings = Settings.from_conf("studies", {"workspace": str(tmp_path)})
    if local:
        assert login_of(listening, settings) is None
        assert plain_text_warning(listening) is None
        return
    with pytest.raises(UserError, match=r"log-in is required.*main\.py users .* add NAME.*--host 127\.0\.0\.1"):
        login_of(listening, settings)
    Accounts(settings.users_file).add("ada", Role.ADMIN, "correct horse battery")
    assert login_of(listening, settings).identify({}) is None
    assert "without encryption" in plain_text_warning(listening)
    assert plain_text_warning(Listening(hosts, 8000, https=True)) is None


@pytest.mark.parametrize(
    ("conf", "required"),
    [
        ({}, False),
        ({"login": "true"}, True),
        ({"allowed_hosts": "localhost"}, False),
        ({"allowed_hosts": "lung.example.org"}, True),
    ],
)
def test_local_server_requires_login_if_asked_or_behind_a_proxy(conf, required, tmp_path):
    """A name in allowed_hosts means that a reverse proxy makes the server reachable."""
    settings = Settings.from_conf("studies", {"workspace": str(tmp_path), **conf})
    Accounts(settings.users_file).add("ada", Role.ADMIN, "correct horse battery")
    assert (login_of(LOCAL, settings) is not None) is required


def test_proxy_header_needs_a_secret(tmp_path):
    secret = tmp_path / "secret"
    conf = {"workspace": str(tmp_path / "w"), "proxy_user_header": "X-Remote-User", "proxy_role": "annotator"}
    with pytest.raises(UserError, match="proxy_secret_file must name a file"):
        login_of(LOCAL, Settings.from_conf("studies", conf))
    with pytest.raises(UserError, match="cannot be read"):
        login_of(LOCAL, Settings.from_conf("studies", {**conf, "proxy_secret_file": str(secret)}))
    secret.write_text("0123456789abcdef\n")
    login = login_of(LOCAL, Settings.from_conf("studies", {**conf, "proxy_secret_file": str(secret)}))
    sent = {"x-remote-user": "grace"}
    assert login.identify(sent) is None
    assert login.identify({**sent, "x-proxy-secret": "0123456789abcdeg"}) is None
    assert login.identify({**sent, "x-proxy-secret": "0123456789abcdef"}) == Identity("grace", Role.ANNOTATOR)
    login.authentication.accounts.add("grace", Role.REVIEWER, "correct horse battery")
    assert login.identify({**sent, "x-proxy-secret": "0123456789abcdef"}) == Identity("grace", Role.REVIEWER)


def test_reported_url_matches_the_listening_address():
    """S5: https, IPv6, and the URL for other machines."""
    assert LOCAL.url == "http://127.0.0.1:8000"
    assert Listening(("::1",), 8443, https=True).url == "https://[::1]:8443"
    assert Listening(("::",), 8443, https=True).url == "https://[::1]:8443"
    assert Listening(("192.0.2.9",), 80).url == Listening(("192.0.2.9",), 80).network_url == "http://192.0.2.9:80"
    assert OPEN.network_url == f"http://{socket.gethostname()}:8000"


def test_keycloak_and_odd_path_prefixes_are_rejected():
    """S6, R14: neither is supported, so the server does not start."""
    with pytest.raises(UserError, match="MONAI_LABEL_AUTH_ENABLE"):
        check_start(LOCAL, login_by_keycloak=True)
    check_start(Listening(("127.0.0.1",), 8000, root_path="/lung/a.i"), login_by_keycloak=False)
    for prefix in ("lung", "/lung/", "//lung", "/", "/a'b", "/../x", "/l\u00fcng"):
        with pytest.raises(UserError, match="is not a path prefix such as /lung"):
            check_start(Listening(("127.0.0.1",), 8000, root_path=prefix), login_by_keycloak=False)


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
    assert rules_at_start(Settings.from_conf("studies")) is None

    async def start() -> None:
        rules_at_start(Settings.from_conf("studies"))

    with pytest.raises(UserError, match="monailabel start_server"):
        asyncio.run(start())


@pytest.mark.parametrize("before", ['other={"a": "b"}; ', "a b=1; ", "x; ", ""])
def test_session_is_found_among_cookies_of_other_programs(before):
    """Cookies are shared by all ports of a host."""
    assert token_of({"cookie": f"{before}lunglabel_session=TOKEN"}) == "TOKEN"
