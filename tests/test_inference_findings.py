"""Findings: matching with the components of a mask, and their form in JSON."""

import json

import numpy as np
import pytest

from lib.geometry.connected_components import connected_components
from lib.inference.findings import Finding, finding_at_each_component, findings_from_json, findings_to_json


@pytest.fixture
def components() -> np.ndarray:
    """Return two components (column, row, slice) of a grid whose sides all differ."""
    mask = np.zeros((9, 7, 5), bool)
    mask[1:3, 1:3, 1:3] = True
    mask[6:8, 4:6, 3] = True
    return connected_components(mask)[0]


def test_each_component_has_its_most_confident_finding(components):
    weak, strong, other = Finding((1, 1, 1), 0.2), Finding((2, 2, 2), 0.9), Finding((7, 5, 3), 0.4)
    for findings in ([weak, strong, other], [other, strong, weak]):
        assert finding_at_each_component(components, findings) == {1: strong, 2: other}


def test_judged_finding_precedes_one_that_was_not(components):
    judged, crop = Finding((1, 1, 1), 0.0), Finding((2, 2, 2), None)
    assert finding_at_each_component(components, [crop, judged]) == {1: judged}
    assert finding_at_each_component(components, [crop]) == {1: crop}


@pytest.mark.parametrize("voxel", [(0, 0, 0), (9, 1, 1), (1, 7, 1), (1, 1, 5), (-8, -6, -4)])
def test_finding_outside_all_components_is_ignored(components, voxel):
    assert finding_at_each_component(components, [Finding(voxel, 0.9)]) == {}


def test_json_has_the_most_confident_first_and_comes_back():
    voxel = tuple(np.array([3, 2, 1]))  # NumPy's integers are no JSON
    findings = [Finding((1, 2, 3), None), Finding(voxel, np.float32(0.25)), Finding((4, 5, 6), 0.93)]
    written = json.loads(json.dumps(findings_to_json(findings)))
    assert written == [
        {"voxel": [4, 5, 6], "confidence": 0.93},
        {"voxel": [3, 2, 1], "confidence": 0.25},
        {"voxel": [1, 2, 3], "confidence": None},
    ]
    assert findings_from_json(written) == [findings[2], Finding((3, 2, 1), 0.25), findings[0]]


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "x",
        [None],
        [1],
        [{"voxel": [1, 2, 3]}],
        [{"voxel": [1, 2], "confidence": 0.5}],
        [{"voxel": [1, 2, 3.5], "confidence": 0.5}],
        [{"voxel": "123", "confidence": 0.5}],
        [{"voxel": 1, "confidence": 0.5}],
        [{"voxel": [1, 2, 3], "confidence": 1.5}],
        [{"voxel": [1, 2, 3], "confidence": "0.5"}],
        [{"voxel": [1, 2, 3], "confidence": True}],
        [{"voxel": [1, 2, 3], "confidence": float("nan")}],
    ],
)
def test_values_in_another_format_are_left_out(value):
    assert findings_from_json(value) == []
    if isinstance(value, list):
        assert len(findings_from_json([*value, {"voxel": [1, 2, 3], "confidence": 1}])) == 1
