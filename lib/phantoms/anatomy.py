"""Chest anatomy of one phantom patient, as signed distance functions of its organs in mm (LPS)."""

from dataclasses import dataclass

import numpy as np

from .shapes import Points, column, ellipsoid


@dataclass(frozen=True)
class Anatomy:
    """A chest with individual variations.

    The two sides are asymmetric enough to reveal any flip: heart and aortic arch on the left, the liver dome on the
    right and higher, the gastric bubble on the left, the ribs of the two sides out of phase.

    Attributes:
        size: whole-body scale.
        heart: centre of the heart.
        liver_dome: top of the right diaphragm, mm.
        left_dome: top of the left diaphragm, mm.
        rib_phase: offset of the ribs along z, mm.
        fat: thickness of the fat under the skin, mm.
    """

    size: float
    heart: tuple[float, float, float]
    liver_dome: float
    left_dome: float
    rib_phase: float
    fat: float

    @classmethod
    def from_seed(cls, seed: int) -> "Anatomy":
        """Return the patient of a seed, deterministically."""
        rng = np.random.default_rng([seed, 1])
        return cls(
            size=rng.uniform(0.96, 1.04),
            heart=(30 + rng.uniform(-3, 3), -32 + rng.uniform(-3, 3), -30 + rng.uniform(-4, 4)),
            liver_dome=-32 + rng.uniform(-4, 4),
            left_dome=-47 + rng.uniform(-4, 4),
            rib_phase=rng.uniform(0, 22),
            fat=rng.uniform(11, 18),
        )

    def body(self, points: Points) -> np.ndarray:
        """Return the signed distance to the skin, mm."""
        return column(points, (0, 5), (166 * self.size, 116 * self.size), power=2.15)

    def rib_cage(self, points: Points) -> np.ndarray:
        """Return the signed distance to the inner chest wall, a column that closes to a dome at the apex, mm."""
        x, y, z = points
        above = np.maximum(z + 25, 0)
        semi = np.array([128, 88, 108]) * self.size
        # Wider behind than in front.
        breadth = semi[0] * (1 + np.clip((y - 5) / 900, -0.09, 0.09))
        radius = np.abs(x / breadth) ** 2.3 + np.abs((y - 5) / semi[1]) ** 2.3 + np.abs(above / semi[2]) ** 2.3
        return (radius ** np.float32(1 / 2.3) - 1) * np.float32(np.sqrt(semi[0] * semi[1]))

    def mediastinum(self, points: Points) -> np.ndarray:
        """Return the signed distance to the mediastinum, a waist between sternum and spine, and to the spine, mm."""
        x, _, _ = points
        middle = column(points, (4, 2), (27, 62))
        spine = column(points, (1, 66), (25, 27))
        septum = np.abs(x - 5) - 5
        return np.minimum(np.minimum(middle, spine), septum)

    def heart_surface(self, points: Points) -> np.ndarray:
        """Return the signed distance to the heart with its pericardium; the apex points down and to the left, mm."""
        x, y, z = points
        hx, hy, hz = self.heart
        # The long axis runs from upper right and behind to lower left and in front.
        along = (x - hx) * 0.75 - (y - hy) * 0.45 - (z - hz) * 0.48
        squared = np.square(x - hx) + np.square(y - hy) + np.square(z - hz)
        across = np.sqrt(np.maximum(squared - np.square(along), 0))
        return (np.sqrt(np.square(along / 58) + np.square(across / 43)) - 1) * np.float32(47)

    def liver(self, points: Points) -> np.ndarray:
        """Return the signed distance to the right dome and the liver, mm."""
        return ellipsoid(points, (-58, 2, self.liver_dome - 62), (84, 84, 62))

    def left_abdomen(self, points: Points) -> np.ndarray:
        """Return the signed distance to the left dome with stomach and spleen, mm."""
        return ellipsoid(points, (64, 8, self.left_dome - 60), (74, 82, 60))

    def right_lung(self, points: Points) -> np.ndarray:
        """Return the signed distance to the right lung, mm."""
        return self._lung(points, points[0] - 2, self.liver(points))

    def left_lung(self, points: Points) -> np.ndarray:
        """Return the signed distance to the left lung, which is smaller because of the heart, mm."""
        return self._lung(points, 2 - points[0], self.left_abdomen(points))

    def _lung(self, points: Points, beyond_midline: np.ndarray, diaphragm: np.ndarray) -> np.ndarray:
        outside = np.maximum(self.rib_cage(points), beyond_midline)
        for organ in (self.mediastinum(points), self.heart_surface(points), diaphragm):
            outside = np.maximum(outside, -organ)
        return outside

    def ribs(self, points: Points, cage: np.ndarray) -> np.ndarray:
        """Return the signed distance to the ribs: rings around the chest wall that descend to the front, mm.

        The two sides are out of phase by 5 mm.
        """
        x, y, z = points
        height = z - 0.42 * y + np.where(x < 0, 5.0, 0.0) + self.rib_phase
        from_axis = np.mod(height, 22) - 11
        tube = np.sqrt(np.square((cage - 6) / 3.8) + np.square(from_axis / 5.5))
        # The cartilage that joins them to the sternum is barely visible in CT.
        front = np.where((y < -55) & (np.abs(x) < 45), 6.0, 0.0)
        return (tube - 1) * np.float32(4) + front
