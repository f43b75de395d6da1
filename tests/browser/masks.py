"""Checks of the mask in the viewer against the lesions of a phantom."""

import numpy as np
import SimpleITK as sitk

from lib.phantoms import DemoSeries, PhantomLesion
from tests.browser.ohif import Labelmap


def check_mask_on_lesions(labelmap: Labelmap, series: DemoSeries) -> None:
    """Assert that the mask is on the grid of the series and covers its lesions, but not if mirrored."""
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(series.truth)))
    np.testing.assert_allclose(labelmap.affine, series.acquisition.affine, atol=1e-3)
    assert labelmap.values.shape == truth.shape
    straight = dice(labelmap.values, truth)
    assert straight > 0.5, f"Dice {straight:.2f}"
    for axis in range(3):
        assert dice(np.flip(labelmap.values, axis), truth) < straight / 4, f"mirrored along axis {axis}"
    for lesion in series.lesions:
        if lesion.diameter > 10:  # the test model is trained for seconds and may miss smaller lesions
            assert found_share(labelmap, lesion) > 0.5, lesion


def found_share(labelmap: Labelmap, lesion: PhantomLesion) -> float:
    """Return the share of a spherical lesion that the mask covers."""
    distance = np.linalg.norm(labelmap.points() - lesion.center, axis=1)
    inside = np.count_nonzero(distance <= lesion.diameter / 2) * abs(np.linalg.det(labelmap.affine[:3, :3]))
    return inside / (np.pi / 6 * lesion.diameter**3)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice coefficient of two masks, 0 to 1."""
    return 2 * np.count_nonzero((mask > 0) & (truth > 0)) / (np.count_nonzero(mask) + np.count_nonzero(truth))


def is_coloured(rgb: tuple[int, int, int]) -> bool:
    """Return whether something is drawn over the grey CT."""
    return max(rgb) - min(rgb) > 20  # the fill is translucent, and the lesion under it bright
