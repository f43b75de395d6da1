"""Every patch of another package fails here when the patched code changes.

Then review the upstream change, check that the patch is still needed and correct, and update the version in
``lib/server/upstream_patches.py`` and the checksum here.
"""

import ast
import hashlib
import importlib
import importlib.util
import inspect
from importlib import metadata
from pathlib import Path

import pytest

from lib.server import upstream_patches
from lib.server.patch_list import PATCHES, Patch

CHECKSUMS = {  # first digits of SHA-256
    "fastapi.applications:FastAPI.build_middleware_stack": "11dddac6c1b62498",
    "fastapi.routing:iter_route_contexts": "087db59981fa5cd9",
    "monailabel.app": "071c3a13b8cec60e",
    "monailabel.config": "ed0fc590ecebdabc",
    "monailabel.interfaces.app:MONAILabelApp._load_sessions": "f4e8b625f07c612a",
    "monailabel.interfaces.utils.app:app_instance": "510924c023200d71",
    "monailabel.utils.async_tasks.utils": "179fef9a822a7338",
    "monailabel.utils.async_tasks.utils:_task_func": "1713b553874783d2",
    "monailabel.utils.others.generic:init_log_config": "388a67a5153c2c74",
    "monailabel.utils.sessions:Sessions": "16b41c725f0bf8de",
    "starlette.applications:Starlette.__call__": "5bf3135c4e85b7f5",
    "starlette.applications:Starlette.build_middleware_stack": "aca3f8e780a2be62",
    "uvicorn.protocols.http.h11_impl:H11Protocol": "c2573d455fed4ec2",
    "uvicorn.protocols.http.h11_impl:H11Protocol.shutdown": "aaa6d607648bad7d",
    "uvicorn.server:Server._serve": "4575b7a50adfede8",
    "uvicorn.server:Server.capture_signals": "e1bbcd4770d1c887",
    "uvicorn.server:Server.handle_exit": "553276efa26e09ea",
    "uvicorn.server:Server.serve": "112ef41af52167e3",
    "uvicorn.server:Server.shutdown": "9b33c50562992b1e",
    "uvicorn.server:Server.startup": "2aa1d70a244bfcf2",
}
HELPERS = {"log_file_handlers"}


def source(target: str) -> str:
    """Return the source of ``module:name``, or of a whole module without importing it."""
    module, _, name = target.partition(":")
    if not name:
        return Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return inspect.getsource(found)


def checksum(target: str) -> str:
    return hashlib.sha256(source(target).encode()).hexdigest()[:16]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_patch_is_for_the_installed_version(patch: Patch):
    assert metadata.version(patch.package) == patch.version


@pytest.mark.parametrize("target", sorted({target for patch in PATCHES for target in patch.targets}))
def test_patched_code_is_unchanged(target: str):
    assert checksum(target) == CHECKSUMS[target]


def test_every_patch_is_listed_with_its_reason():
    tree = ast.parse(Path(upstream_patches.__file__).read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name[0] != "_"}
    assert {patch.name for patch in PATCHES} == functions - HELPERS
    assert all(patch.reason and patch.targets for patch in PATCHES)


def test_every_checksum_is_used():
    assert set(CHECKSUMS) == {target for patch in PATCHES for target in patch.targets}
