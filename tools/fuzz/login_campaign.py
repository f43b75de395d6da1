"""Fuzzing of log-in: numbered cases against the real server with local accounts and an identity provider."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import numpy as np

from lib.identity.accounts import Accounts
from lib.identity.roles import Role
from lib.server.access.route_table import ROUTES
from tools.fuzz.campaign import ANSWER_SECONDS, Campaign
from tools.fuzz.exchange import Exchange, problem_of
from tools.fuzz.forged_tokens import COOKIE, forged_access_token, forged_cookie, session_in
from tools.fuzz.odd_values import TEXTS, one_of
from tools.fuzz.token_issuer import CLIENT, TokenIssuer, token_issuer
from tools.support.processes import ServerProcess

_PASSWORD = "correct horse battery"
_ROLES = {role: f"monailabel-{role.title}" for role in Role}
_TARGETS = (
    *("https://elsewhere.example/", "//elsewhere.example", "///e.example", "/\\elsewhere.example", "\\\\e.example"),
    *("/%0d%0aX: y", "javascript:alert(1)", "data:text/html,x", "/\t/e.example", " //e.example"),
    *("/a//b", "/ohif/?a=1&b=2"),
)
_NONSENSE = (
    *(b"", b"[]", b"null", b"{", b"{}", b"\xff", b'{"id_token": 1}', b'{"id_token": null}', b'{"access_token": "x"}'),
    *(b'{"access_token": [], "id_token": "a.b.c"}', json.dumps({"error": "x" * 5000}).encode()),
)
_FOREIGN = (
    {"Origin": "https://elsewhere.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


class LoginCampaign(Campaign):
    """Cases of attacks on log-in."""

    kinds = ("cookie", "token", "form", "csrf", "fixation", "next", "roles", "callback", "provider", "control")
    batch = 20  # few enough that the session of the batch is not the oldest of twenty of its user, which ends

    def __init__(self, folder: Path, cases: Iterable[int], report: Callable[[str], None]) -> None:
        super().__init__(folder, cases, report)
        self._accounts = Accounts(self._sandbox.workspace / "users.json")
        self._accounts.add("ada", Role.USER, _PASSWORD)
        self._issuer: TokenIssuer
        self._valid = ""

    def run(self) -> dict[str, Any]:
        """Run all cases; return the summary."""
        with token_issuer() as self._issuer:
            return super().run()

    def _started(self) -> contextlib.AbstractContextManager[ServerProcess]:
        conf = {"login": True, "oidc_issuer": self._issuer.issuer, "oidc_client_id": CLIENT, "scored_images": 0}
        return self._sandbox.server(self._starts, **conf)

    def _try(self, cases: Sequence[int]) -> None:
        self._valid = self._log_in("ada")
        for case in cases:
            for problem in self._problems(case):
                self._fail(case, problem)
            if not self._is_running():
                self._fail(case, "the server ended")
                return

    def _problems(self, case: int) -> list[str]:
        rng = np.random.default_rng(case)
        try:
            return [problem for problem in getattr(self, f"_{self.kind_of(case)}")(rng) if problem]
        except TimeoutError:
            return [f"no answer in {ANSWER_SECONDS} s"]

    # --- each kind yields what is wrong, or None

    def _cookie(self, rng: np.random.Generator) -> Iterable[str | None]:
        token = self._issuer.signed(self._issuer.claims("grace", _ROLES[Role.ADMIN]))
        yield self._refused(self._route(rng, {"Cookie": forged_cookie(rng, self._valid, token)}))

    def _token(self, rng: np.random.Generator) -> Iterable[str | None]:
        scheme = one_of(rng, ["Bearer", "bearer", "BEARER"])
        yield self._refused(self._route(rng, {"Authorization": f"{scheme} {forged_access_token(rng, self._issuer)}"}))

    def _form(self, rng: np.random.Generator) -> Iterable[str | None]:
        path = one_of(rng, ["/login", "/auth/token"])
        field = "name" if path == "/login" else "username"
        odd = {field: one_of(rng, TEXTS), "password": one_of(rng, TEXTS), one_of(rng, TEXTS): one_of(rng, TEXTS)}
        body = urlencode(odd, errors="surrogatepass").encode() if rng.random() < 0.8 else rng.bytes(200)
        kind = one_of(rng, ["application/x-www-form-urlencoded", "application/json", "multipart/form-data", "x"])
        yield self._refused(Exchange("POST", path, {"Content-Type": kind, **_address(rng)}, body), (400, 401, 422, 429))

    def _csrf(self, rng: np.random.Generator) -> Iterable[str | None]:
        foreign = one_of(rng, _FOREIGN)
        exchange = self._form_of("ada", "/status", {**foreign, **_address(rng)})
        yield self._refused(exchange, (403,))
        yield self._refused(Exchange("POST", "/logout", {**foreign, "Cookie": f"{COOKIE}={self._valid}"}), (403,))
        yield None if self._status_of(self._valid) == 200 else "a page of another site has logged somebody out"
        form = urlencode({"username": "ada", "password": _PASSWORD, "grant_type": "password"})
        kind = one_of(rng, ["application/x-www-form-urlencoded", "text/plain"])
        sent = {"Content-Type": kind, **foreign, **_address(rng)}
        yield self._refused(Exchange("POST", "/auth/token", sent, form.encode()), (403,))
        by_link = Exchange("GET", f"/login?name=ada&password={quote(_PASSWORD)}&next=/status", {**foreign})
        yield self._refused(by_link, (200, 403))
        yield self._refused(Exchange("GET", "/logout", {"Cookie": f"{COOKIE}={self._valid}"}), (403, 404, 405))

    def _fixation(self, rng: np.random.Generator) -> Iterable[str | None]:
        chosen = one_of(rng, ["A" * 43, self._log_in("ada"), *TEXTS[:4]])
        answer = self._ask(self._form_of("ada", "/status", {"Cookie": f"{COOKIE}={chosen}", **_address(rng)}))
        given = session_in(answer)
        if answer.status != 303 or not given or given == chosen:
            yield f"log-in with the cookie {chosen!r}: {answer.status}, session {given!r}"
        if self._status_of(chosen) != 401:
            yield "the session from before the log-in goes on"
        chosen = one_of(rng, ["A" * 43, self._log_in("ada")])
        back = self._code(self._issuer.claims("grace", _ROLES[Role.USER]), "/", former=chosen)
        given = session_in(self._ask(back))
        if not given or given == chosen or self._status_of(chosen) != 401:
            yield "the session from before the log-in at the provider goes on"

    def _next(self, rng: np.random.Generator) -> Iterable[str | None]:
        target = one_of(rng, [*_TARGETS, *TEXTS])
        answer = self._ask(self._form_of("ada", target, _address(rng)))
        yield _leads_elsewhere(target, answer.headers.get("location", "/"))
        shown = self._ask(Exchange("GET", f"/login?next={quote(target, safe='', errors='replace')}"))
        yield problem_of(Exchange("GET", f"/login?next={target!r}"), shown)
        code = self._code(self._issuer.claims("grace", _ROLES[Role.USER]), target)
        found = re.search(rb'content="0; url=([^"]*)"', self._ask(code).body)
        yield _leads_elsewhere(target, found[1].decode()) if found else "the log-in at the provider failed"

    def _roles(self, rng: np.random.Generator) -> Iterable[str | None]:
        """Change the role while requests are running; afterwards, the new role counts."""
        reviewers = Exchange("DELETE", "/scoring/", {"Cookie": f"{COOKIE}={self._valid}"})
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            running = [pool.submit(self._ask, reviewers) for _ in range(8)]
            role = one_of(rng, [*Role])
            self._accounts.change("ada", role=role)
            after = self._ask(reviewers)
            for answer in (one.result() for one in running):
                yield problem_of(reviewers, answer)
        if (after.status == 403) is not (role < Role.REVIEWER) or after.status == 401:
            yield f"{after.status} for the role {role.title}"
        yield self._ended_while_running()

    def _ended_while_running(self) -> str | None:
        """End a session in one of the requests of it that are running; afterwards, none is served."""
        session = self._log_in("ada")
        headers = {"Cookie": f"{COOKIE}={session}"}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            running = [pool.submit(self._ask, Exchange("GET", "/viewer/status", headers)) for _ in range(4)]
            self._ask(Exchange("POST", "/logout", headers))
            statuses = {one.result().status for one in running}
        served = self._status_of(session)
        return None if served == 401 and statuses <= {200, 401} else f"{served} after log-out, {statuses} meanwhile"

    def _callback(self, rng: np.random.Generator) -> Iterable[str | None]:
        """Return to the server with the state or code of another browser, or with odd values."""
        begun = self._code(self._issuer.claims("eve", _ROLES[Role.ADMIN]), "/")
        other = self._code(self._issuer.claims("grace", _ROLES[Role.ADMIN]), "/")
        state = parse_qs(urlsplit(begun.target).query)["state"][0]
        odd = urlencode({"state": one_of(rng, [*TEXTS, state]), "error": one_of(rng, TEXTS)}, errors="surrogatepass")
        cookie = one_of(rng, [f"lunglabel_oidc_{state[:16]}={one_of(rng, ['', 'x', state])}", *other.headers.values()])
        attack = one_of(
            rng,
            [
                Exchange("GET", begun.target),
                Exchange("GET", begun.target, {"Cookie": cookie}),
                Exchange("GET", f"/login/oidc/callback?{odd}", {"Cookie": cookie}),
                Exchange("GET", f"/login/oidc/callback?{odd}"),
            ],
        )
        yield self._refused(attack, (400, 403, 422))

    def _provider(self, rng: np.random.Generator) -> Iterable[str | None]:
        """Let the provider answer with a token of another log-in, or nonsense."""
        good = self._issuer.claims("grace", _ROLES[Role.ADMIN])
        odd = one_of(
            rng,
            [
                {"nonce": one_of(rng, ["another", None, 1, []])},
                {"preferred_username": one_of(rng, ["ada", "ADA", "", 1, None, "x" * 65, "a\nb"])},
                {"realm_access": one_of(rng, [None, [], {}, {"roles": "x"}, {"roles": {"admin": 1}}, {"roles": [[]]}])},
                {"exp": 1},
                {"aud": "another"},
            ],
        )
        answer = None if rng.random() < 0.5 else (int(rng.choice([200, 302, 400, 401, 500])), one_of(rng, _NONSENSE))
        yield self._refused(self._code({**good, **odd}, "/", answer=answer), (400, 403, 503))

    def _control(self, rng: np.random.Generator) -> Iterable[str | None]:
        """Check that valid ones are served, so that a server that refuses everything is noticed."""
        token = self._issuer.signed(self._issuer.claims("grace", _ROLES[Role.USER]))
        for headers in ({"Authorization": f"Bearer {token}"}, {"Cookie": f"{COOKIE}={self._valid}"}):
            answer = self._ask(Exchange("GET", "/viewer/status", headers))
            if answer.status != 200:
                yield f"a valid {next(iter(headers))} is refused: {answer.status} {answer.body[:200]!r}"
        done = self._ask(self._code(self._issuer.claims("grace", _ROLES[Role.USER]), "/"))
        if self._status_of(session_in(done)) != 200:
            yield f"a log-in at the provider failed: {done.status} {done.body[:300]!r}"

    # --- requests

    def _route(self, rng: np.random.Generator, headers: dict[str, str]) -> Exchange:
        spec = one_of(rng, [spec for spec in ROUTES if spec.role is not None])
        return Exchange(spec.method, re.sub(r"{[^}]*}", self._sandbox.images[0], spec.path), headers)

    def _refused(self, exchange: Exchange, statuses: tuple[int, ...] = (401, 400)) -> str | None:
        """Send a request that must be refused; return what is wrong with the answer."""
        answer = self._ask(exchange)
        if problem := problem_of(exchange, answer):
            return problem
        leaked = self._sandbox.images[0].encode() in answer.body
        if answer.status in statuses and not session_in(answer) and not leaked:
            return None
        return f"{exchange} with {dict(exchange.headers)}: {answer.status}, expected {statuses}; leaked: {leaked}"

    def _form_of(self, name: str, target: str, headers: dict[str, str]) -> Exchange:
        form = urlencode({"name": name, "password": _PASSWORD, "next": target}, errors="replace").encode()
        return Exchange("POST", "/login", {"Content-Type": "application/x-www-form-urlencoded", **headers}, form)

    def _code(
        self, claims: dict[str, Any], target: str, *, answer: tuple[int, bytes] | None = None, former: str = ""
    ) -> Exchange:
        """Begin a log-in at the provider, with a former session; return the request of the browser that comes back."""
        headers = {"Cookie": f"{COOKIE}={former}"} if former else {}
        begun = self._ask(Exchange("GET", f"/login/oidc?next={quote(target, safe='', errors='replace')}", headers))
        asked = {name: values[0] for name, values in parse_qs(urlsplit(begun.headers["location"]).query).items()}
        code = f"code-{len(self._issuer.answers)}"
        tokens = {
            "id_token": self._issuer.signed({"nonce": asked["nonce"], **claims}),
            "access_token": "x",
        }
        self._issuer.answers[code] = answer or (200, json.dumps({**tokens, "token_type": "Bearer"}).encode())
        cookie = begun.headers["set-cookie"].partition(";")[0]
        query = urlencode({"state": asked["state"], "code": code})
        return Exchange("GET", f"/login/oidc/callback?{query}", {"Cookie": cookie})

    def _log_in(self, name: str) -> str:
        return session_in(self._ask(self._form_of(name, "/status", {"X-Forwarded-For": "192.0.2.1"})))

    def _status_of(self, session: str) -> int:
        return self._ask(Exchange("GET", "/viewer/status", {"Cookie": f"{COOKIE}={session}"})).status


def _address(rng: np.random.Generator) -> dict[str, str]:
    """Return the header of a proxy with another client each time, so that the limit of attempts is not reached."""
    return {"X-Forwarded-For": ".".join(map(str, rng.integers(1, 255, 4)))}


def _leads_elsewhere(target: str, location: str) -> str | None:
    """Return a problem if a browser would leave the server."""
    is_local = location.startswith("/") and not re.match(r"/[/\\\t\r\n]", location)
    return None if is_local else f"next={target!r} leads to {location!r}"
