"""Change from a soft to a sharp reconstruction kernel, learned from two series of the same acquisition."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lib.evaluation.composed_scans import Volume

_AIR_HU = -1024.0
_BINS = 128


@dataclass(frozen=True)
class KernelChange:
    """Filter in the plane of the slices, and the noise that it does not explain, by spatial frequency.

    Attributes:
        frequencies: Middle of each bin, cycles per mm.
        gain: Amplitude of the sharp image for one of the soft image, from their cross-spectrum.
        noise: Power spectral density of the rest, HU² mm².
    """

    frequencies: np.ndarray
    gain: np.ndarray
    noise: np.ndarray

    @classmethod
    def between(cls, soft: Volume, sharp: Volume) -> KernelChange:
        """Return the change between two reconstructions of the same slices.

        Raises:
            ValueError: They differ in size or spacing.
        """
        if soft.hu.shape != sharp.hu.shape or not np.allclose(soft.spacing, sharp.spacing):
            raise ValueError("The two series are not on the same grid.")
        before, after = _spectrum(soft.hu), _spectrum(sharp.hu)
        frequency = _frequencies(soft)
        edges = np.linspace(0, frequency.max(), _BINS + 1)
        place = np.clip(np.digitize(frequency, edges) - 1, 0, _BINS - 1)

        def by_frequency(values: np.ndarray) -> np.ndarray:
            return np.bincount(place.ravel(), values.ravel(), _BINS)

        terms, own = by_frequency(np.ones(frequency.shape)), by_frequency((np.abs(before) ** 2).sum(axis=2))
        known = terms > 0  # a small image has no term in some bins
        gain = by_frequency((after * before.conj()).real.sum(axis=2)) / np.where(known, own, 1)
        rest = by_frequency((np.abs(after - gain[place][..., None] * before) ** 2).mean(axis=2))
        density = rest[known] / terms[known] * soft.spacing[0] * soft.spacing[1] / frequency.size
        return cls(((edges[:-1] + edges[1:]) / 2)[known], gain[known], density)

    def apply(self, volume: Volume, rng: np.random.Generator) -> np.ndarray:
        """Return the HU of a scan as with the sharp kernel, (X, Y, Z)."""
        frequency = _frequencies(volume)
        gain = np.interp(frequency, self.frequencies, self.gain, right=0.0)
        density = np.interp(frequency, self.frequencies, self.noise, right=0.0)
        amplitude = np.sqrt(density / (volume.spacing[0] * volume.spacing[1]))
        noise = np.fft.fft2(rng.standard_normal(volume.hu.shape), axes=(0, 1)) * amplitude[..., None]
        changed = np.fft.ifft2(_spectrum(volume.hu) * gain[..., None] + noise, axes=(0, 1)).real + _AIR_HU
        return np.clip(changed, _AIR_HU, None).astype(np.float32)


def _spectrum(hu: np.ndarray) -> np.ndarray:
    return np.fft.fft2(np.maximum(hu, _AIR_HU) - _AIR_HU, axes=(0, 1))


def _frequencies(volume: Volume) -> np.ndarray:
    """Return the spatial frequency of each term of the spectrum of a slice, cycles per mm, (X, Y)."""
    x, y = (np.fft.fftfreq(volume.hu.shape[axis], volume.spacing[axis]) for axis in range(2))
    return np.hypot(x[:, None], y[None, :])
