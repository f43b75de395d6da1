"""The route table against the routes of the application."""

import asyncio
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import Mount, Route

from lib.identity.accounts import Accounts
from lib.identity.roles import Role
from lib.server.access import route_table
from lib.server.access.listening import Listening
from lib.server.access.route_table import ROUTES, Body, filter_routes, find_route
from lib.server.access.rules import AccessRules
from lib.server.folder_routes import folder_router
from lib.settings import Settings

PASSWORD = "correct horse battery"
PUBLIC = {
    *("GET /favicon.ico", "GET /login", "POST /login", "GET /login/oidc", "GET /login/oidc/callback"),
    *("POST /logout", "GET /auth/", "POST /auth/token"),
}
# What each role may do besides what the roles below it may; a user may do everything else.
RIGHTS = {
    Role.ANNOTATOR: {
        *("PUT /viewer/draft", "DELETE /viewer/draft", "POST /viewer/preference"),
        *("POST /viewer/skip", "POST /activelearning/{}", "PUT /datastore/label", "GET /datastore/dataset"),
        *("PUT /datastore/", "PUT /datastore/image", "PUT /datastore/image/info", "PUT /datastore/label/info"),
        *("PUT /datastore/updatelabelinfo", "POST /proxy/dicom/{}/studies", "POST /proxy/dicom/{}/studies/{}"),
    },
    Role.REVIEWER: {
        *("POST /train/{}", "POST /train/", "DELETE /train/", "POST /scoring/{}", "POST /scoring/", "DELETE /scoring/"),
        *("POST /viewer/review/approve", "POST /viewer/review/send-back"),
        *("POST /batch/infer/{}", "DELETE /batch/infer", "POST /model/{}/serve", "GET /model/{}"),
    },
    Role.ADMIN: {"GET /logs/", "GET /logs/gpu", "PUT /model/{}", "DELETE /model/{}"},
}


@pytest.fixture(scope="module")
def application(tmp_path_factory) -> FastAPI:
    """Yield MONAI Label's application with this app installed, as the server has it."""
    from monailabel.app import app as server

    from lib.server.install import install

    settings = Settings.from_conf("studies", {"workspace": str(tmp_path_factory.mktemp("w")), "login": "true"})
    for role in Role:
        Accounts(settings.users_file).add(role.title, role, PASSWORD)
    rules = AccessRules.of(Listening(("127.0.0.1",), 8000), settings)
    before = [*server.router.routes], server.middleware_stack
    install(server, SimpleNamespace(), folder_router(SimpleNamespace(), Path("uploads")), rules)
    yield server
    server.router.routes[:], server.middleware_stack = before
    del sys.modules["monailabel.app"]  # its presence marks a process as a server


def pairs(routes) -> list[tuple[str, str]]:
    found = []
    for context in iter_route_contexts(list(routes)):
        assert isinstance(context.original_route, Route), f"{context.original_route} is not a plain route"
        found += [(method, re.sub(r"{\w+", "{", context.path)) for method in context.methods]
    return found


def test_application_has_exactly_the_routes_of_the_table(application):
    """S19, S20: no unlisted route of MONAI Label is served, and none of ours is missing."""
    table = [(spec.method, re.sub(r"{\w+", "{", spec.path)) for spec in ROUTES]
    assert len(set(table)) == len(table)
    found = pairs(application.router.routes)
    assert len(set(found)) == len(found), "duplicate route"
    assert set(found) <= set(table)
    assert {pair for pair in set(table) - set(found) if not pair[1].endswith("/dicom/{}/{:path}")} == set()
    assert not [
        pair for pair in found if "wsi" in pair[1] or pair[1] in ("/docs", "/reload", "/static", "/proxy/{:path}")
    ]


def respond_with_status(stack, method: str, path: str, **headers: str) -> int:
    """Return the status of a request to the middleware of the application."""
    sent = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "client": ("127.0.0.1", 1)}
    scope["headers"] = [(b"host", b"localhost"), *((n.encode(), v.encode()) for n, v in headers.items())]
    asyncio.run(stack(scope, receive, send))
    return sent[0]["status"]


@pytest.mark.parametrize("role", [None, *Role], ids=lambda role: role.title if role else "nobody")
def test_each_role_may_use_exactly_its_routes(application, role, monkeypatch):
    """Every route of the real application as each role: served, 403, or 401 for nobody."""
    stack = application.middleware_stack

    async def served(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    monkeypatch.setattr(stack, "_app", served)
    login = stack._login.authentication
    headers = {"authorization": f"Bearer {login.log_in(role.title, PASSWORD, 'test')}"} if role else {}
    for method, pattern in pairs(application.router.routes):
        route = f"{method} {re.sub(r'{(:path)?}', '{}', pattern)}"
        least = next((one for one, routes in RIGHTS.items() if route in routes), Role.USER)
        expected = 299 if route in PUBLIC or (role and role >= least) else 403 if role else 401
        path = re.sub(r"{(:path)?}", "1.2", pattern)
        assert respond_with_status(stack, method, path, **headers) == expected, route


@pytest.mark.parametrize("end", ["\n", "\n\n", "\r", "\0", "\x7f"])
def test_control_characters_reach_no_route(application, end, monkeypatch):
    """A router's $ also matches before a final newline: such a path got the rules of no route, and was served."""
    stack = application.middleware_stack

    async def served(scope, receive, send) -> None:
        raise AssertionError(scope["path"])

    monkeypatch.setattr(stack, "_app", served)
    token = stack._login.authentication.log_in("user", PASSWORD, "test")
    for method, pattern in pairs(application.router.routes):
        path = re.sub(r"{(:path)?}", "1.2", pattern) + end
        assert respond_with_status(stack, method, path, authorization=f"Bearer {token}") == 400


def test_table_and_router_agree_on_every_path(application):
    """Whatever is at the end of a path, the router serves it by the entry of the table that was checked."""
    routes = application.router.routes
    for route in routes:
        for end in ("", "/", "//", ".", " ", "?", "%0a"):  # control characters reach no route, see above
            path = re.sub(r"{\w+(:path)?}", "1.2", route.path) + end
            for method in route.methods:
                first = next((one for one in routes if method in one.methods and one.path_regex.match(path)), None)
                if first is not None:
                    found = find_route(method, path)
                    assert (found.method, re.sub(r"{\w+", "{", found.path)) == (
                        method,
                        re.sub(r"{\w+", "{", first.path),
                    )


def test_every_route_has_a_reason():
    """S19"""
    assert all(spec.reason for spec in ROUTES)
    unsafe = [spec for spec in ROUTES if spec.method not in ("GET", "HEAD")]
    assert not [spec for spec in unsafe if spec.page]


def test_unlisted_routes_are_removed():
    """S20: routes, mounts and nested routers that an upgrade may add."""
    server = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    nested, inner = APIRouter(prefix="/nested"), APIRouter()

    @inner.get("/info/")
    @inner.post("/new")
    def answer() -> None: ...

    @server.api_route("/info/", methods=["GET", "POST"])
    def info() -> None: ...

    nested.include_router(inner)
    server.include_router(nested)
    server.mount("/static", FastAPI())
    assert any(isinstance(route, Mount) for route in server.router.routes)
    server.router.routes[:] = filter_routes(server.router.routes)
    assert pairs(server.router.routes) == [("GET", "/info/")]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/datastore/label", Body.UPLOAD),
        ("POST", "/infer/lung_tumor", Body.UPLOAD),
        ("POST", "/proxy/dicom/wado/studies", Body.DICOM),
        ("POST", "/proxy/dicom/wado/studies/1.2.3", Body.DICOM),
        ("POST", "/train/lung_tumor", Body.SMALL),
        ("POST", "/nowhere", Body.SMALL),
        ("GET", "/datastore/label", Body.SMALL),
    ],
)
def test_body_limit_depends_on_the_route(method, path, body):
    """S9: parameters are small; images and DICOM objects are not."""
    assert find_route(method, path).body == body


def test_c8_datastore_listing_is_expensive():
    assert find_route("GET", "/datastore/").expensive


def test_s10_long_paths_are_not_cached():
    remembered = route_table._find_cached
    remembered.cache_clear()
    for number in range(100):
        assert find_route("GET", f"/ohif/{number}{'x' * 60_000}").page
        assert find_route("GET" + "X" * 60_000, "/").reason == "not in the table"
    assert remembered.cache_info().currsize == 0
    assert find_route("GET", "/status").page
    assert remembered.cache_info().currsize == 1
    assert remembered.cache_info().maxsize <= 1024
