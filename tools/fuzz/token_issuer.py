"""An identity provider whose tokens and answers the fuzzer chooses; it has the keys of a real one."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "lunglabel"


class TokenIssuer:
    """The provider.

    Attributes:
        issuer: Its URL.
        key: Its key.
        foreign_key: Another key with the same id.
        answers: Status and body of the token endpoint by authorization code; 400 for other codes.
    """

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.key, self.foreign_key = (RSAKey.generate_key(2048, {"kid": "fuzz", "use": "sig"}) for _ in range(2))
        self.answers: dict[str, tuple[int, bytes]] = {}

    def claims(self, name: str, role: str, **changes: Any) -> dict[str, Any]:
        """Return the claims of a valid access token with Keycloak's layout, with changes."""
        now = int(time.time())
        person = {"sub": f"id of {name}", "preferred_username": name, "realm_access": {"roles": [role]}}
        return {"iss": self.issuer, "aud": CLIENT, "exp": now + 600, "iat": now, **person, **changes}

    def signed(self, claims: dict[str, Any], *, foreign: bool = False, **header: Any) -> str:
        """Return a token with these claims.

        Args:
            claims: Its claims.
            foreign: Whether another key signs it.
            header: Changes of its header.
        """
        key = self.foreign_key if foreign else self.key
        return jwt.encode({"alg": "RS256", "kid": "fuzz", **header}, claims, key, algorithms=["RS256"])

    def published(self, path: str) -> dict[str, Any] | None:
        """Return what the provider publishes at a path."""
        endpoints = {name: f"{self.issuer}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
        return {
            "/.well-known/openid-configuration": {"issuer": self.issuer, **endpoints},
            "/jwks_uri": {"keys": [self.key.as_dict(private=False)]},
        }.get(path)


@contextlib.contextmanager
def token_issuer() -> Iterator[TokenIssuer]:
    """Run a provider on a free port within the context."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.provider = TokenIssuer(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.provider  # type: ignore[attr-defined]
        finally:
            server.shutdown()


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.server.provider.published(self.path)  # type: ignore[attr-defined]
        self._answer(200 if found else 404, json.dumps(found).encode())

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())
        refused = 400, b'{"error": "invalid_grant"}'
        self._answer(*self.server.provider.answers.get(form.get("code", [""])[0], refused))  # type: ignore[attr-defined]

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
