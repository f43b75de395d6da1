"""C15: one finding is a 26-connected component in tables, metrics and the viewer alike."""

import json
import subprocess
from pathlib import Path

import numpy as np
import playwright
import pytest
import SimpleITK as sitk

from lib.evaluation.attention_picture import _places
from lib.evaluation.metrics import match_lesions
from lib.exports.lesion_table import lesion_table
from lib.geometry.connected_components import connected_components, cropped_components
from tests.support.requirement import find_program

FIXTURE = json.loads((Path(__file__).parent / "fixtures" / "connected_components.json").read_text())
PANEL = Path(__file__).parents[1] / "lib" / "viewer" / "panel" / "findings.js"


def diagonal() -> np.ndarray:
    """Return a finding connected along edges and a corner, and a separate one; (slice, row, column)."""
    mask = np.zeros((7, 9, 11), np.uint8)
    mask[1, 1, 1] = mask[2, 2, 2] = mask[3, 2, 3] = mask[3, 3, 3] = 1
    mask[5, 6:8, 8:10] = 1
    return mask


def noise() -> np.ndarray:
    """Return random voxels up to every border of the volume, to detect wrap-around."""
    return (np.random.default_rng(4).random((7, 9, 11)) < 0.12).astype(np.uint8)


def findings_of_viewer(mask: np.ndarray, folder: Path) -> list[list[int]]:
    """Return the voxel indices of each finding as listed by the panel."""
    bundled = str(Path(playwright.__file__).parent / "driver" / "node")
    node = find_program("node", bundled, message="there is no Node.js to run the panel's functions: install nodejs")
    (folder / "findings.mjs").write_text(PANEL.read_text(encoding="utf-8"), encoding="utf-8")
    script = (
        "import { listFindings, separateFinding } from './findings.mjs';\n"
        f"const voxels = Uint8Array.from({mask.ravel().tolist()});\n"
        f"const size = {list(mask.shape[::-1])};\n"
        "const found = listFindings(voxels, size);\n"
        "for (const finding of found) {\n"
        "  const kept = separateFinding(voxels, size, finding[0], true);\n"
        "  const left = separateFinding(voxels, size, finding[0], false);\n"
        "  const [inside, outside] = [kept, left].map(v => v.reduce((sum, one) => sum + one, 0));\n"
        "  if (inside !== finding.length || inside + outside !== voxels.reduce((sum, one) => sum + one, 0)) throw 1;\n"
        "}\n"
        "console.log(JSON.stringify(found));\n"
    )
    (folder / "list.mjs").write_text(script, encoding="utf-8")
    done = subprocess.run([node, folder / "list.mjs"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def findings_of_server(mask: np.ndarray) -> list[list[int]]:
    """Return the voxel indices of each component in the order of the panel: by size, then by first voxel."""
    components, count = connected_components(mask)
    found = [np.flatnonzero(components.ravel() == number).tolist() for number in range(1, count + 1)]
    return sorted(found, key=lambda voxels: (-len(voxels), voxels[0]))


@pytest.mark.parametrize("expected", FIXTURE["cases"].values(), ids=FIXTURE["cases"].keys())
def test_server_and_viewer_find_the_components_of_the_fixture(expected, tmp_path):
    mask = np.zeros(FIXTURE["size"][::-1], np.uint8)
    mask.ravel()[[index for component in expected for index in component]] = 1
    assert findings_of_server(mask) == expected
    assert [sorted(finding) for finding in findings_of_viewer(mask, tmp_path)] == expected


@pytest.mark.parametrize("mask", [diagonal(), noise()], ids=["diagonal", "noise"])
def test_viewer_and_server_find_the_same_components(mask, tmp_path):
    """C15: the viewer used 6-connectivity, the table 26-connectivity."""
    assert [sorted(finding) for finding in findings_of_viewer(mask, tmp_path)] == findings_of_server(mask)


def test_connectivity_is_the_same_throughout_the_server():
    """C15: the attention picture used 6-connectivity, too."""
    mask = diagonal()
    volume = sitk.GetImageFromArray(np.where(mask, 40, -800).astype(np.int16))
    assert [lesion.voxels for lesion in lesion_table(mask, volume, {"lung_tumor": 1})] == [4, 4]
    turned = mask.transpose()
    assert cropped_components(turned > 0)[2] == connected_components(mask)[1] == 2
    lesions, false_positives = match_lesions(turned > 0, turned > 0, 1.0)
    assert (len(lesions), false_positives) == (2, 0)
    assert sorted(voxels for _, voxels in _places(turned, np.zeros(turned.shape))) == [4, 4]
