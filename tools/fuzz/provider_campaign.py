"""Fuzzing of roles that change at a real identity provider while sessions go on and requests are running."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lib.errors import UserError
from lib.identity.roles import Role
from tools.fuzz.campaign import ANSWER_SECONDS, Campaign
from tools.fuzz.exchange import Answer, Exchange, problem_of
from tools.fuzz.forged_tokens import COOKIE, session_in
from tools.fuzz.odd_values import one_of
from tools.support.oidc_provider import INSTALL, SECRET, OidcProvider, oidc_provider, oidc_provider_is_installed
from tools.support.processes import ServerProcess, free_port

_RENEW_SECONDS = 1.0
_LATEST_SECONDS = 60.0  # until a change at the provider counts here, on a busy machine
_CLIENTS = 4
_PAUSE_SECONDS = 0.1


class ProviderCampaign(Campaign):
    """Cases of people with a session whose role is changed or taken away, whose account is disabled, or who log out."""

    kinds = ("changed", "taken", "disabled", "ended")
    batch = 8

    def __init__(self, folder: Path, cases: Iterable[int], report: Callable[[str], None]) -> None:
        if not oidc_provider_is_installed():
            raise UserError(INSTALL)
        super().__init__(folder, cases, report)
        self._port = free_port()
        self._secret = folder / "secret"
        self._secret.write_text(SECRET)
        self._provider: OidcProvider

    def run(self) -> dict[str, Any]:
        """Run all cases; return the summary."""
        callback = f"http://127.0.0.1:{self._port}/login/oidc/callback"
        with oidc_provider(self._sandbox.folder / "provider", callback) as self._provider:
            return super().run()

    def _started(self) -> contextlib.AbstractContextManager[ServerProcess]:
        client = {"oidc_client_id": "lunglabel", "oidc_client_secret_file": self._secret}
        conf = {"oidc_issuer": self._provider.issuer, "oidc_renew_seconds": _RENEW_SECONDS, "scored_images": 0}
        return self._sandbox.server(self._starts, port=self._port, **client, **conf)

    def _try(self, cases: Sequence[int]) -> None:
        for case in cases:
            try:
                problems = [*getattr(self, f"_{self.kind_of(case)}")(case, np.random.default_rng(case))]
            except TimeoutError:
                problems = [f"no answer in {ANSWER_SECONDS} s"]
            for problem in filter(None, problems):
                self._fail(case, problem)
            if not self._is_running():
                self._fail(case, "the server ended")
                return

    # --- each kind yields what is wrong, or None

    def _changed(self, case: int, rng: np.random.Generator) -> Iterable[str | None]:
        """Change the role a few times; each time, the new one counts soon, and the former one never again."""
        name = f"person{case}-reviewer"
        reviews = Exchange("DELETE", "/scoring/", _with(self._log_in(name)))
        with self._running(reviews) as answers:
            role = Role.REVIEWER
            for _ in range(3):
                time.sleep(rng.uniform(0, 2 * _RENEW_SECONDS))
                role = one_of(rng, [one for one in Role if one != role])
                self._provider.change_role(name, f"monailabel-{role.title}")
                is_refused = role < Role.REVIEWER
                if not self._soon(lambda refused=is_refused: (self._ask(reviews).status == 403) is refused):
                    yield f"the role {role.title} does not count after {_LATEST_SECONDS:.0f} s"
                elif any((self._ask(reviews).status == 403) is not is_refused for _ in range(5)):
                    yield f"the former role counts again after {role.title}"
        yield from _wrong(reviews, answers, {200, 403})

    def _taken(self, case: int, rng: np.random.Generator) -> Iterable[str | None]:
        """Take the role away: the session ends, and no other begins."""
        name = f"person{case}-{one_of(rng, [*Role]).title}"
        yield from self._shut_out(name, rng, lambda: self._provider.change_role(name, ""))
        if self._log_in(name):
            yield "somebody without a role has logged in"

    def _disabled(self, case: int, rng: np.random.Generator) -> Iterable[str | None]:
        """Disable the account: the session ends."""
        name = f"person{case}-{one_of(rng, [*Role]).title}"
        yield from self._shut_out(name, rng, lambda: self._provider.disable(name))

    def _shut_out(self, name: str, rng: np.random.Generator, change: Callable[[], None]) -> Iterable[str | None]:
        looks = Exchange("GET", "/viewer/status", _with(self._log_in(name)))
        with self._running(looks) as answers:
            time.sleep(rng.uniform(0, 2 * _RENEW_SECONDS))
            change()
            if not self._soon(lambda: self._ask(looks).status == 401):
                yield f"the session goes on after {_LATEST_SECONDS:.0f} s"
        yield from _wrong(looks, answers, {200, 401})
        if any(self._ask(looks).status != 401 for _ in range(5)):
            yield "the session that has ended goes on"

    def _ended(self, case: int, rng: np.random.Generator) -> Iterable[str | None]:
        """Log out while the provider is asked again: the session never comes back."""
        looks = Exchange("GET", "/viewer/status", _with(self._log_in(f"person{case}-annotator")))
        with self._running(looks) as answers:
            time.sleep(_RENEW_SECONDS * rng.uniform(0.9, 1.2))
            self._ask(Exchange("POST", "/logout", looks.headers))
            time.sleep(2 * _RENEW_SECONDS)
        yield from _wrong(looks, answers, {200, 401})
        if self._ask(looks).status != 401:
            yield "the session goes on after log-out"

    # --- requests

    def _log_in(self, name: str) -> str:
        """Return the session of a person who logs in at the provider; empty if that is refused."""
        begun = self._ask(Exchange("GET", "/login/oidc?next=/status"))
        back = urlsplit(self._provider.sign_in(begun.headers["location"], name))
        cookie = {"Cookie": begun.headers["set-cookie"].partition(";")[0]}
        return session_in(self._ask(Exchange("GET", f"{back.path}?{back.query}", cookie)))

    @contextlib.contextmanager
    def _running(self, exchange: Exchange) -> Iterator[list[Answer]]:
        """Send a request again and again from several clients within the context; yield the answers."""
        answers: list[Answer] = []
        end = threading.Event()

        def send() -> None:
            while not end.wait(_PAUSE_SECONDS):
                answers.append(self._ask(exchange))

        with concurrent.futures.ThreadPoolExecutor(_CLIENTS) as pool:
            sending = [pool.submit(send) for _ in range(_CLIENTS)]
            try:
                yield answers
            finally:
                end.set()
            for one in sending:
                one.result()

    def _soon(self, is_so: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + _LATEST_SECONDS
        while not (reached := is_so()) and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
        return reached


def _with(session: str) -> dict[str, str]:
    return {"Cookie": f"{COOKIE}={session}"}


def _wrong(exchange: Exchange, answers: Sequence[Answer], statuses: set[int]) -> Iterator[str | None]:
    yield from (problem_of(exchange, answer) for answer in answers)
    if not answers or not {answer.status for answer in answers} <= statuses:
        yield f"{sorted({answer.status for answer in answers})} meanwhile, expected only {sorted(statuses)}"
