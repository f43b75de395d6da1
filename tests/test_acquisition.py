"""Joined slices and a changed kernel, on which the maintainers' command measures the model."""

import nibabel
import numpy as np
import pytest

from lib.evaluation.composed_scans import Volume
from lib.evaluation.metrics import MatchedLesion
from tools.acquisition.kernel_change import KernelChange
from tools.acquisition.measuring import Measured, measure, summary, variants
from tools.acquisition.thick_slices import on_thin_slices, thicken

AFFINE = np.diag([-0.7, -0.7, 2.5, 1.0])


def volume(hu: np.ndarray, mask: np.ndarray | None = None) -> Volume:
    mask = np.zeros(hu.shape, bool) if mask is None else mask
    return Volume("scan", hu.astype(np.float32), mask, AFFINE, (0.7, 0.7, 2.5))


def test_joined_slices_are_means_at_the_middle_of_the_former_ones():
    hu = np.arange(7.0)[None, None] * np.ones((2, 3, 1))
    thick = thicken(volume(hu), 3)
    assert thick.hu[0, 0].tolist() == [1, 4]
    assert thick.spacing == (0.7, 0.7, 7.5)
    np.testing.assert_allclose(thick.affine @ [0, 0, 1, 1], AFFINE @ [0, 0, 4, 1])
    back = on_thin_slices(thick.hu > 2, 3, 7)
    assert back[0, 0].tolist() == [False] * 3 + [True] * 3 + [False]


def test_change_of_kernel_is_learned_and_applied():
    rng = np.random.default_rng(0)
    soft, other = (volume(rng.normal(-400, 100, (48, 48, 6))) for _ in range(2))

    def sharpened(scan: Volume) -> np.ndarray:
        spectrum = np.fft.fft2(scan.hu + 1024, axes=(0, 1))
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(48, 0.7), np.fft.fftfreq(48, 0.7), indexing="ij"))
        return np.fft.ifft2(spectrum * (1 + frequency)[..., None], axes=(0, 1)).real - 1024

    change = KernelChange.between(soft, volume(sharpened(soft)))
    made, wanted = change.apply(other, rng), sharpened(other)
    assert np.corrcoef(made.ravel(), wanted.ravel())[0, 1] > 0.99
    assert made.std() == pytest.approx(wanted.std(), rel=0.05)
    with pytest.raises(ValueError, match="not on the same grid"):
        KernelChange.between(soft, thicken(soft, 2))


def test_every_variant_is_compared_with_the_lesions_of_the_scan(tmp_path):
    mask = np.zeros((20, 20, 8), bool)
    mask[5:9, 5:9, 2:4] = True
    scan = volume(np.where(mask, 40, -800), mask)

    class Threshold:
        def predict(self, image) -> np.ndarray:
            return (nibabel.load(image).get_fdata() > -400).astype(np.uint8)

    found = {name: measure(scan, variant, Threshold(), tmp_path) for name, variant in variants([2, 4], None)}
    assert [one.spacing_mm for one in found.values()] == [2.5, 5, 10]
    assert [one.lesions[0].dice for one in found.values()] == [1, 1, pytest.approx(2 / 3)]
    row = summary([found["as it is"], Measured(2.5, [MatchedLesion(8.0, 0.0, 0.0)], 2, 0.0)])
    assert row["found"]["under 6 mm"] == [1, 1] and row["found"]["6 to 10 mm"] == [0, 1]
    assert row["false_findings_per_scan"] == 1
