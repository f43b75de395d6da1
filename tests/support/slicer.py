"""MONAI Label's client module of 3D Slicer, as installed by its wheel."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_CLIENT = Path(sys.prefix) / "monailabel" / "plugins" / "slicer" / "MONAILabel" / "MONAILabelLib" / "client.py"


@pytest.fixture(scope="module")
def slicer_client() -> ModuleType:
    """Load the client module as Slicer does."""
    spec = importlib.util.spec_from_file_location("slicer_client", _CLIENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
