"""Accounts, limits of attempts, log-in sessions and the audit log."""

import asyncio
import json
import threading

import pytest

from lib.cli import main
from lib.errors import UserError
from lib.identity.accounts import Accounts
from lib.identity.attempts import Attempts
from lib.identity.audit_log import AuditLog
from lib.identity.authentication import Authentication, Identity
from lib.identity.login_sessions import LoginSessions, session_id
from lib.identity.roles import Role
from lib.server.access.request_audit import audit_request
from lib.server.access.route_table import find_route

PASSWORD = "correct horse battery"


@pytest.fixture
def accounts(tmp_path) -> Accounts:
    accounts = Accounts(tmp_path / "users.json")
    accounts.add("ada", Role.ANNOTATOR, PASSWORD)
    return accounts


@pytest.fixture
def login(accounts, tmp_path) -> Authentication:
    sessions = LoginSessions(tmp_path / "logins.json")
    return Authentication(accounts, sessions, AuditLog(tmp_path / "audit.jsonl"), session_hours=1)


def test_passwords_are_stored_as_argon2_hashes(accounts, tmp_path):
    stored = (tmp_path / "users.json").read_text()
    assert PASSWORD not in stored
    assert "$argon2id$" in stored
    assert (tmp_path / "users.json").stat().st_mode & 0o777 == 0o600
    assert accounts.check("ada", PASSWORD) == accounts.all()["ada"]
    assert accounts.check("ada", PASSWORD + "!") is None
    assert accounts.check("grace", PASSWORD) is None


@pytest.mark.parametrize(
    ("name", "password", "message"),
    [
        ("ada", PASSWORD, "already"),
        ("a b", PASSWORD, "not valid"),
        ("../x", PASSWORD, "not valid"),
        ("", PASSWORD, "not valid"),
        ("bob", "short", "12 to 1024 characters"),
        ("bob", "x" * 1025, "12 to 1024 characters"),
    ],
)
def test_invalid_accounts_are_refused(accounts, name, password, message):
    with pytest.raises(UserError, match=message):
        accounts.add(name, Role.USER, password)
    assert [*accounts.all()] == ["ada"]


def test_damaged_accounts_let_nobody_in_and_are_kept(accounts, tmp_path):
    (tmp_path / "users.json").write_text('{"ada": {"name": "eve"}}')
    assert accounts.all() == {}
    assert accounts.check("ada", PASSWORD) is None
    accounts.add("bob", Role.ADMIN, PASSWORD)
    assert [*accounts.all()] == ["bob"]
    assert "eve" in (tmp_path / "users.json.damaged-1").read_text()


def test_parallel_changes_lose_no_account(tmp_path):
    """The server and several commands share the file."""

    def add(number: int) -> None:
        Accounts(tmp_path / "users.json").add(f"user{number}", Role.USER, PASSWORD)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(Accounts(tmp_path / "users.json").all()) == 4


def test_session_follows_changes_of_the_account(login, accounts):
    """A changed role counts at once; a changed password or a removed user ends the session."""
    token = login.log_in("ada", PASSWORD, "10.0.0.1")
    assert login.identify(token) == Identity("ada", Role.ANNOTATOR)
    accounts.change("ada", role=Role.USER)
    assert login.identify(token) == Identity("ada", Role.USER)
    session = login.identify(token).session
    assert not login.has_ended(session)
    accounts.change("ada", password=PASSWORD + "2")
    assert login.identify(token) is None and login.has_ended(session)
    token = login.log_in("ada", PASSWORD + "2", "10.0.0.1")
    accounts.remove("ada")
    assert login.identify(token) is None
    accounts.add("ada", Role.ADMIN, PASSWORD)
    assert login.identify(token) is None, "another person with the same name"


def test_sessions_survive_a_restart_and_end(tmp_path):
    now = [1000.0]
    sessions = LoginSessions(tmp_path / "logins.json", clock=lambda: now[0])
    token, other = sessions.begin("ada", seconds=60), sessions.begin("bob", seconds=600)
    assert token not in (tmp_path / "logins.json").read_text()
    again = LoginSessions(tmp_path / "logins.json", clock=lambda: now[0])
    assert again.find(session_id(token)).name == "ada"
    now[0] += 61
    assert again.find(session_id(token)) is None
    assert again.end(session_id(other)).name == "bob"
    assert again.find(session_id(other)) is None
    for forged in ("", "x", token[:-1], token + "x", "\udcff", "0" * 64):
        assert again.find(session_id(forged)) is None
    (tmp_path / "logins.json").write_text('{"key": {"name": 5}}')
    assert LoginSessions(tmp_path / "logins.json").find(session_id(token)) is None


def test_failures_lead_to_longer_and_longer_pauses():
    now = [0.0]
    attempts = Attempts(clock=lambda: now[0])
    pauses = []
    for _ in range(12):
        attempts.failed("ada", "a")
        pauses.append(attempts.pause("ada", "a"))
    assert pauses[:6] == [0, 0, 0, 0, 30, 60]
    assert pauses[-1] == 900
    assert attempts.pause("bob", "a") == 0
    assert attempts.pause("ada", "b") == 0, "nobody is locked out from elsewhere"
    now[0] = 901
    assert attempts.pause("ada", "a") == 0
    now[0] = 3600 * 2
    attempts.failed("ada", "a")
    assert attempts.pause("ada", "a") == 0, "failures are forgotten after an hour"


def test_nobody_is_locked_out_by_others_and_nobody_tries_without_limit():
    """From many addresses a name gets short pauses only; an account of one's own resets nothing of the address."""
    attempts = Attempts(clock=lambda: 0.0)
    for number in range(1000):
        attempts.failed("ada", f"address {number}")
    assert attempts.pause("ada", "another") <= 5
    for number in range(40):
        attempts.failed(f"victim {number}", "here")
        attempts.failed("mine", "here")
        attempts.succeeded("mine", "here")
    assert attempts.pause("victim 99", "here") > 60
    for number in range(40_000):
        attempts.failed("\udcff" * 1000, str(number))
    assert len(attempts._failures) == 30_000
    assert max(map(len, attempts._failures)) < 50


def test_locked_out_even_with_the_password(login):
    for _ in range(5):
        with pytest.raises(UserError, match=r"Name or password is wrong\.") as refused:
            login.log_in("ada", "wrong", "10.0.0.1")
        assert refused.value.status == 401
    with pytest.raises(UserError, match="Try again in 30 seconds") as refused:
        login.log_in("ada", PASSWORD, "10.0.0.1")
    assert refused.value.status == 429
    assert login.identify(login.log_in("ada", PASSWORD, "10.0.0.2")).name == "ada", "from elsewhere she can"


def test_invalid_text_is_a_wrong_password(login):
    with pytest.raises(UserError, match="wrong"):
        login.log_in("\ud800", "\ud800\udfff", "10.0.0.1")


def test_full_disk_lets_nobody_in_and_everybody_out(login, monkeypatch):
    token = login.log_in("ada", PASSWORD, "10.0.0.1")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AuditLog, "append", full)
    with pytest.raises(UserError, match="cannot write its audit log") as refused:
        login.log_in("ada", PASSWORD, "10.0.0.1")
    assert refused.value.status == 503
    with pytest.raises(UserError, match="wrong"):
        login.log_in("ada", "wrong", "10.0.0.1")
    login.log_out(token)
    assert login.identify(token) is None


def test_many_sessions_of_one_user_end_only_their_own(tmp_path):
    sessions = LoginSessions(tmp_path / "logins.json")
    other = sessions.begin("bob", seconds=60)
    tokens = [sessions.begin("ada", seconds=60) for _ in range(30)]
    assert sessions.find(session_id(other))
    assert [sessions.find(session_id(token)) is not None for token in tokens] == [False] * 10 + [True] * 20


def test_audit_log_notices_changes(login, tmp_path):
    """The log of a log-in names no unknown name, which may be a password in the wrong field."""
    token = login.log_in("ada", PASSWORD, "10.0.0.1")
    with pytest.raises(UserError):
        login.log_in(PASSWORD, "", "10.0.0.1")
    login.log_out(token)
    log = AuditLog(tmp_path / "audit.jsonl")
    assert [(one["user"], one["action"]) for one in log.entries()] == [
        ("ada", "logged in"),
        ("", "log-in failed"),
        ("ada", "logged out"),
    ]
    assert PASSWORD not in log.path.read_text()
    assert log.path.stat().st_mode & 0o777 == 0o600
    assert log.problems() == []
    lines = log.path.read_text().splitlines()
    log.path.write_text("\n".join([lines[0].replace("ada", "eve"), *lines[1:]]) + "\n")
    assert "Line 2 does not follow" in log.problems()[0]
    log.path.write_text("\n".join([lines[0], lines[2]]) + "\n")
    assert "Line 2 does not follow" in log.problems()[0]
    assert log.last_hash() == AuditLog(log.path).last_hash() != "0" * 64


def test_audit_log_goes_on_after_a_crash(tmp_path):
    """A line that was cut off is kept, and the next entry starts on its own line."""
    log = AuditLog(tmp_path / "audit.jsonl")
    log.append("ada", "labelled", image="1.2")
    with log.path.open("ab") as file:
        file.write(b'{"time": 12')
    log.append("ada", "exported", image="1.2")
    assert [one.get("action", "damaged") for one in log.entries()] == ["labelled", "damaged", "exported"]
    assert log.problems() == ["Line 2 is no entry; it was cut off by a crash, or changed."]


def test_users_command(tmp_path, monkeypatch, capsys):
    def users(*arguments: str) -> int:
        return main(["users", "--workspace", str(tmp_path), *arguments])

    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"readline": lambda self: PASSWORD + "\n"})())
    assert users() == 0
    assert "has no user yet" in capsys.readouterr().out
    assert users("add", "ada") == 1
    assert "Give the role" in capsys.readouterr().err
    assert users("add", "ada", "--role", "annotator", "--password-stdin") == 0
    assert users("add", "ada", "--role", "annotator", "--password-stdin") == 1
    assert users("role", "ada", "--role", "reviewer") == 0
    assert "reviewer" in capsys.readouterr().out
    assert users("remove", "bob") == 1
    assert "There is no user 'bob'; there is ada." in capsys.readouterr().err
    assert users("remove", "ada") == 0
    entries = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [one["action"] for one in entries] == ["user add", "user role", "user remove"]


def test_audit_command(tmp_path, capsys):
    assert main(["audit", "--workspace", str(tmp_path)]) == 1
    assert "There is no audit log" in capsys.readouterr().err
    AuditLog(tmp_path / "audit.jsonl").append("ada", "labelled", image="1.2", status="200")
    target = tmp_path / "audit.csv"
    assert main(["audit", "--workspace", str(tmp_path), "--output", str(target)]) == 0
    assert "ada,,labelled,200" in target.read_text()
    assert main(["audit", "--workspace", str(tmp_path), "--output", str(target)]) == 1, "never overwritten"
    (tmp_path / "audit.jsonl").write_text('{"user": "eve"}\n')
    assert main(["audit", "--workspace", str(tmp_path)]) == 1


def test_opened_images_are_logged_once_an_hour_but_again_after_a_failure(tmp_path, monkeypatch):
    log = AuditLog(tmp_path / "audit.jsonl")
    route = find_route("GET", "/datastore/image")
    scope = {"path": "/datastore/image", "query_string": b"image=1.2.3", "client": ("::1", 1), "state": {}}

    def ask() -> None:
        asyncio.run(audit_request(log, Identity("ada", Role.USER), route, scope, 200))

    with monkeypatch.context() as full:
        full.setattr(AuditLog, "append", lambda *_, **__: (_ for _ in ()).throw(OSError("No space left on device")))
        ask()
    for _ in range(3):
        ask()
    assert [(one["user"], one["action"], one["image"]) for one in log.entries()] == [("ada", "opened", "1.2.3")]
