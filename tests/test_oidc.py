"""OpenID Connect: tokens, claims and keys, and the code flow with a real provider."""

import asyncio
import base64
import hmac
import json
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from lib.errors import UserError
from lib.identity.accounts import Accounts
from lib.identity.audit_log import AuditLog
from lib.identity.authentication import Authentication, Identity
from lib.identity.login_sessions import LoginSessions
from lib.identity.oidc.claims import ClaimRules, claim_at
from lib.identity.oidc.openid_login import OpenIdClient, OpenIdLogin, Person
from lib.identity.oidc.provider import Provider, Snapshot
from lib.identity.oidc.provider_sessions import ProviderSessions, Tokens
from lib.identity.oidc.tokens import InvalidToken, UnknownKey, verify_access_token, verify_id_token
from lib.identity.roles import Role
from lib.server.access.login_rules import Login
from lib.settings import Settings
from tools.support.oidc_provider import SECRET, OidcProvider

ISSUER = "https://sso.example.org/realms/hospital"
CALLBACK = "http://127.0.0.1:9/login/oidc/callback"
ROLES = {
    value: Role.of(role) for value, role in Settings.from_conf("studies").info["config"]["oidc"]["oidc_roles"].items()
}
KEY, OTHER_KEY = (RSAKey.generate_key(2048, {"use": "sig", "kid": name}) for name in ("one", "other"))
ACCESS = {"issuer": ISSUER, "client_id": "lunglabel", "audience": "lunglabel"}
NEVER = object()


def claims(**changes: object) -> dict:
    """Return the claims of an access token as Keycloak issues it."""
    now = int(time.time())
    found = {
        "iss": ISSUER,
        "sub": "8f3c",
        "aud": "account",
        "azp": "lunglabel",
        "typ": "Bearer",
        "exp": now + 300,
        "iat": now,
        "preferred_username": "ada",
        "realm_access": {"roles": ["offline_access", "monailabel-annotator"]},
        **changes,
    }
    return {name: value for name, value in found.items() if value is not NEVER}


def signed(content: dict, key: RSAKey = KEY, **header: object) -> str:
    header = {"alg": "RS256", "kid": key.kid, **header}
    return jwt.encode({k: v for k, v in header.items() if v is not NEVER}, content, key, algorithms=[header["alg"]])


def with_hmac(content: dict, secret: bytes) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": KEY.kid}, content)]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = base64.urlsafe_b64encode(hmac.digest(secret, text, "sha256")).rstrip(b"=")
    return (text + b"." + mac).decode()


def keys(*found: RSAKey) -> KeySet:
    return KeySet.import_key_set({"keys": [key.as_dict(private=False) for key in found or (KEY,)]})


def test_access_tokens_of_keycloak_and_of_rfc_9068_are_accepted():
    assert verify_access_token(signed(claims()), keys(), **ACCESS)["preferred_username"] == "ada"
    for audience in ("lunglabel", ["x", "lunglabel"]):
        content = claims(aud=audience, azp=NEVER, typ=NEVER, client_id="a-script")
        assert verify_access_token(signed(content, typ="at+jwt"), keys(), **ACCESS)
    assert verify_access_token(signed(claims(), kid=NEVER), keys(), **ACCESS), "the only key"


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://sso.example.org/realms/other"},
        {"iss": NEVER},
        {"sub": NEVER},
        {"sub": 7},
        {"azp": "another-client"},
        {"azp": NEVER, "aud": ["another-api"]},
        {"azp": NEVER, "aud": NEVER},
        {"exp": int(time.time()) - 60},
        {"exp": NEVER},
        {"exp": "tomorrow"},
        {"nbf": int(time.time()) + 3600},
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"nonce": "of an ID token", "typ": NEVER},
        {"at_hash": "x", "typ": NEVER},
    ],
)
def test_access_tokens_of_others_and_expired_ones_are_refused(changes):
    with pytest.raises(InvalidToken):
        verify_access_token(signed(claims(**changes)), keys(), **ACCESS)


def test_forged_signatures_are_refused():
    """Another key under the same id, no signature, and the public key as the secret of an HMAC."""
    header, payload, signature = signed(claims()).split(".")
    changed = signed(claims(preferred_username="eve"), OTHER_KEY).split(".")[1]
    forged = [
        signed(claims(), OTHER_KEY, kid=KEY.kid),
        with_hmac(claims(), KEY.as_pem(private=False)),
        f"{header}.{changed}.{signature}",
        "eyJhbGciOiJub25lIn0." + payload + ".",  # {"alg": "none"}
        f"{header}.{payload}.",
        signed(claims(), typ="logout+jwt"),
        "a.b.c",
        "..",
        "W10.e30.x",  # a header that is no object
    ]
    for token in forged:
        with pytest.raises(InvalidToken):
            verify_access_token(token, keys(), **ACCESS)
    with pytest.raises(UnknownKey):
        verify_access_token(signed(claims(), OTHER_KEY), keys(), **ACCESS)
    with pytest.raises(InvalidToken, match="by which key"):
        verify_access_token(signed(claims(), kid=NEVER), keys(KEY, OTHER_KEY), **ACCESS)


@pytest.mark.parametrize(
    ("changes", "nonce"),
    [
        ({"nonce": "another"}, "n"),
        ({}, "n"),
        ({"aud": "another-client"}, None),
        ({"aud": ["lunglabel", "x"]}, None),
        ({"azp": "another-client"}, None),
    ],
)
def test_id_tokens_of_another_log_in_are_refused(changes, nonce):
    content = {**claims(typ=NEVER, azp=NEVER, aud="lunglabel"), **changes}
    with pytest.raises(InvalidToken):
        verify_id_token(signed(content), keys(), issuer=ISSUER, client_id="lunglabel", nonce=nonce)
    good = {**content, "aud": "lunglabel", "azp": "lunglabel", "nonce": nonce}
    assert verify_id_token(signed(good), keys(), issuer=ISSUER, client_id="lunglabel", nonce=nonce)


@pytest.mark.parametrize(
    ("path", "content", "found"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["monailabel-reviewer", "x"]}}, Role.REVIEWER),
        ("groups", {"groups": ["user", "monailabel-admin"]}, Role.ADMIN),
        ("groups", {"groups": "annotator"}, Role.ANNOTATOR),
        (r"resource_access.lung\.label.roles", {"resource_access": {"lung.label": {"roles": ["user"]}}}, Role.USER),
        ("https://example.org/roles", {"https://example.org/roles": ["reviewer"]}, Role.REVIEWER),
        ("groups", {"groups": ["Annotator", "/annotator", 4, None]}, None),
        ("realm_access.roles", {"realm_access": ["user"]}, None),
        ("groups", {}, None),
    ],
)
def test_roles_come_from_the_claim_at_a_path(path, content, found):
    rules = ClaimRules("sub", path, ROLES)
    if found is None:
        with pytest.raises(UserError, match="ada has no role here") as refused:
            rules.role({"sub": "ada", **content})
        assert refused.value.status == 403
    else:
        assert rules.role({"sub": "ada", **content}) == found
    assert claim_at({"a": {"b": 1}}, "a.b") == 1


@pytest.mark.parametrize("name", ["", "  ", 7, None, "x" * 65, "a\nb", "a\u202eb", "../a", "A\\b"])
def test_unusable_names_are_refused(name):
    with pytest.raises(UserError, match="no usable name"):
        ClaimRules("email", "groups", ROLES).name({"email": name})
    with pytest.raises(UserError, match="has not verified"):
        ClaimRules("email", "groups", ROLES).name({"email": "a@b", "email_verified": False})


class StubProvider(Provider):
    """Provider without network: its key, and whether it is away, are set by the test."""

    def __init__(self) -> None:
        self.now, self.fetches, self.is_away, self.key = 0.0, 0, False, KEY
        super().__init__(ISSUER, clock=lambda: self.now)

    def _fetch(self) -> Snapshot:
        self.fetches += 1
        if self.is_away:
            raise requests.ConnectTimeout("no route")
        return Snapshot({}, keys(self.key), self.now)


@pytest.fixture
def stub() -> StubProvider:
    return StubProvider()


@pytest.fixture
def openid_login(stub) -> OpenIdLogin:
    return login_at(stub)


def login_at(provider: Provider, client: str = "lunglabel", roles: str = "realm_access.roles", **more: str):
    named = OpenIdClient(client, SECRET, more.get("audience", client), "openid profile", "Test")
    return OpenIdLogin(provider, named, ClaimRules("preferred_username", roles, ROLES))


def test_keys_are_fetched_when_needed_and_not_too_often(stub, openid_login):
    token = signed(claims())
    assert openid_login.by_access_token("no-jwt") is None
    with pytest.raises(UnknownKey):
        openid_login.by_access_token(token)
    stub.refresh()
    assert openid_login.by_access_token(token) == Person("ada", Role.ANNOTATOR, "8f3c")
    stub.key = OTHER_KEY
    rotated = signed(claims(), OTHER_KEY)
    for seconds, fetches in ((10.0, 1), (40.0, 2), (50.0, 2)):
        stub.now = seconds
        stub.refresh()
        assert stub.fetches == fetches
    assert openid_login.by_access_token(rotated)
    with pytest.raises(UnknownKey):
        openid_login.by_access_token(token)
    stub.now += 3600
    assert stub.current() is None, "keys that the provider has withdrawn are not used for long"


def test_provider_that_is_away_is_a_sentence_and_not_asked_by_everybody(stub, openid_login):
    stub.is_away = True
    for _ in range(3):
        with pytest.raises(UserError, match="does not answer") as error:
            openid_login.begin(CALLBACK, "/", "")
        assert error.value.status == 503
    assert stub.fetches == 1
    with pytest.raises(UserError) as error:
        openid_login.by_password("ada", "x")
    assert error.value.status == 503
    stub.is_away, stub.now = False, 6.0
    assert stub.snapshot().keys


@pytest.mark.parametrize("issuer", ["http://sso.example.org", "sso.example.org", "file:///etc", "https://", "http://["])
def test_unsafe_issuers_are_refused(issuer):
    with pytest.raises(UserError, match="oidc_issuer"):
        Provider(issuer)


@pytest.fixture
def authentication(openid_login, tmp_path) -> Authentication:
    accounts = Accounts(tmp_path / "users.json")
    sessions = LoginSessions(tmp_path / "logins.json")
    return Authentication(accounts, sessions, AuditLog(tmp_path / "audit.jsonl"), 1, openid_login)


def test_nobody_becomes_a_local_account_by_name(authentication, tmp_path):
    """Neither at the log-in, nor when the account is created during the session."""
    token = authentication.admit(Person("ada", Role.ANNOTATOR, "8f3c"), "::1")
    assert authentication.identify(token) == Identity("ada", Role.ANNOTATOR)
    authentication.accounts.add("Ada", Role.ADMIN, "correct horse battery")
    assert authentication.identify(token) is None
    for name in ("Ada", "ada", "ＡＤＡ"):
        with pytest.raises(UserError, match="name of a local account"):
            authentication.admit(Person(name, Role.USER, "8f3c"), "::1")
    authentication.accounts.remove("Ada")
    assert authentication.identify(token) is not None
    authentication.openid = None
    assert authentication.identify(token) is None, "the provider was removed from the configuration"


# --- with the real provider


@pytest.fixture(scope="module")
def provider(start_oidc_provider: Callable[..., OidcProvider]) -> OidcProvider:
    return start_oidc_provider(CALLBACK)


@pytest.mark.parametrize("client", ["lunglabel", "groups"])
def test_log_in_by_code(provider, client):
    """Keycloak's layout in the access token, and groups in UserInfo."""
    login = login_at(Provider(provider.issuer), client, "realm_access.roles" if client == "lunglabel" else "groups")
    url, attempt = login.begin(CALLBACK, "/ohif/", "former")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert (asked["code_challenge_method"], asked["nonce"]) == ("S256", attempt.nonce)
    back = urlsplit(provider.sign_in(url, "ada-annotator"))
    parameters = {name: values[0] for name, values in parse_qs(back.query).items()}
    with pytest.raises(UserError, match="not completed"):
        login.complete(parameters, "another browser")
    with pytest.raises(UserError, match="not completed"):
        login.complete({**parameters, "state": "x"}, attempt.browser)
    person, completed = login.complete(parameters, attempt.browser)
    assert person == Person("ada-annotator", Role.ANNOTATOR, "ada-annotator")
    assert completed == attempt
    with pytest.raises(UserError, match="not completed"):
        login.complete(parameters, attempt.browser)


@pytest.mark.parametrize("client", ["lunglabel", "groups"])
def test_role_is_asked_for_again_every_few_minutes(provider, client, tmp_path):
    name, now = f"{client}x-reviewer", [0.0]
    login = login_at(Provider(provider.issuer), client, "realm_access.roles" if client == "lunglabel" else "groups")
    audit = AuditLog(tmp_path / "audit.jsonl")
    sessions = LoginSessions(tmp_path / "logins.json")
    at_provider = ProviderSessions(300, clock=lambda: now[0])
    authentication = Authentication(Accounts(tmp_path / "users.json"), sessions, audit, 1, login, at_provider)
    url, attempt = login.begin(CALLBACK, "/", "")
    back = parse_qs(urlsplit(provider.sign_in(url, name)).query)
    person, _ = login.complete({name: values[0] for name, values in back.items()}, attempt.browser)
    token = authentication.admit(person, "::1")
    assert person.tokens.refresh_token and person.tokens.refresh_token not in (tmp_path / "logins.json").read_text()

    def role() -> Role | None:
        now[0] += 300
        known = authentication.identify(token)
        assert authentication.needs_renewal(known)
        renewed = authentication.renewed(known)
        assert authentication.identify(token) == renewed
        return renewed and renewed.role

    assert not authentication.needs_renewal(authentication.identify(token))
    assert role() == Role.REVIEWER
    provider.change_role(name, "monailabel-user")
    assert role() == Role.USER
    login.provider._snapshot, login.provider._failed = None, login.provider._clock()
    assert role() == Role.USER, "the provider is away"
    login.provider._failed = None
    provider.disable(name)
    assert role() is None
    expected = ["logged in", "role changed", "session ended by the identity provider"]
    assert [one["action"] for one in audit.entries()] == expected


def test_provider_that_does_not_answer_keeps_no_other_request_waiting(monkeypatch):
    monkeypatch.setattr("lib.server.access.login_rules._LONGEST_WAIT", 0.01)
    answered, asked = threading.Event(), []

    def renewed(identity: Identity) -> None:
        asked.append(identity.session)
        answered.wait(30)

    people = [Identity("ada", Role.ANNOTATOR, f"session {number % 20}") for number in range(40)]

    async def requests_of_many() -> None:
        login = Login(SimpleNamespace(renewed=renewed))
        assert await asyncio.gather(*map(login.renewed, people)) == people, "with the known role"
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "served"), 20) == "served"
        answered.set()
        await asyncio.to_thread(login._threads.shutdown)
        assert sorted(asked) == sorted({one.session for one in people}), "each session once"
        assert await Login(SimpleNamespace(renewed=lambda identity: None)).renewed(people[0]) is None

    asyncio.run(requests_of_many())


def test_log_out_at_the_provider(openid_login, stub, authentication):
    token = authentication.admit(Person("ada", Role.USER, "8f3c", Tokens("an ID token")), "::1")
    stub._snapshot = Snapshot({"end_session_endpoint": "https://sso.example.org/out?realm=a"}, keys(KEY), 0.0)
    url = urlsplit(authentication.log_out(token, "https://lung.example.org/login"))
    assert (url.netloc, url.path) == ("sso.example.org", "/out")
    assert parse_qs(url.query) == {
        "realm": ["a"],
        "client_id": ["lunglabel"],
        "post_logout_redirect_uri": ["https://lung.example.org/login"],
        "id_token_hint": ["an ID token"],
    }
    assert authentication.identify(token) is None
    assert authentication.log_out(token, "https://lung.example.org/login") is None, "it has ended"
    assert "hint" not in openid_login.log_out_url("x" * 5000, "https://lung.example.org/login")
    stub._snapshot, stub.is_away = None, True
    assert openid_login.log_out_url("", "https://lung.example.org/login") is None


def test_code_of_another_log_in_is_refused(provider):
    """Code injection: the verifier of PKCE and the nonce belong to one log-in."""
    login = login_at(Provider(provider.issuer))
    stolen = parse_qs(urlsplit(provider.sign_in(login.begin(CALLBACK, "/", "")[0], "ada-admin")).query)["code"][0]
    _, attempt = login.begin(CALLBACK, "/", "")
    with pytest.raises(UserError, match="not completed"):
        login.complete({"state": attempt.state, "code": stolen}, attempt.browser)


def test_cancelled_log_in_and_people_without_a_role_are_refused(provider):
    login = login_at(Provider(provider.issuer))
    for name, button, message in (("ada-user", "cancel", "has refused"), ("ada", "login", "ada has no role here")):
        url, attempt = login.begin(CALLBACK, "/", "")
        back = parse_qs(urlsplit(provider.sign_in(url, name, button=button)).query)
        with pytest.raises(UserError, match=message) as error:
            login.complete({name: values[0] for name, values in back.items()}, attempt.browser)
        assert error.value.status == 403


@pytest.mark.parametrize("client", ["lunglabel", "groups"])
def test_log_in_by_password(provider, client):
    """RFC 6749, section 4.3, as 3D Slicer logs in."""
    login = login_at(Provider(provider.issuer), client, "realm_access.roles" if client == "lunglabel" else "groups")
    assert login.by_password("ada-reviewer", "password of ada-reviewer") == Person(
        "ada-reviewer", Role.REVIEWER, "ada-reviewer"
    )
    assert login.by_password("ada-reviewer", "wrong & ü=+%") is None
    with pytest.raises(UserError, match="ada has no role"):
        login.by_password("ada", "password of ada")


def test_wrong_client_secret_is_no_fault_of_the_user(provider):
    login = OpenIdLogin(
        Provider(provider.issuer),
        OpenIdClient("lunglabel", "wrong", "lunglabel", "openid", "Test"),
        ClaimRules("preferred_username", "groups", ROLES),
    )
    with pytest.raises(UserError, match="an administrator") as error:
        login.by_password("ada", "password of ada")
    assert error.value.status == 503


def test_access_tokens_of_the_provider(provider):
    login = login_at(Provider(provider.issuer))
    login.provider.refresh()
    token = provider.access_token("ada-reviewer")
    assert login.by_access_token(token) == Person("ada-reviewer", Role.REVIEWER, "ada-reviewer")
    assert login.by_access_token(provider.access_token("ada-reviewer", "groups")) is None, "opaque"
    other = login_at(Provider(provider.issuer), "another-client")
    other.provider.refresh()
    assert other.by_access_token(token) is None
