"""Chest CT phantoms in Hounsfield units with lesions at given positions."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from .acquisition import Acquisition
from .anatomy import Anatomy
from .shapes import Points, capsule, column, coverage, ellipsoid, grid_points
from .vessels import Tube, grow_tree

AIR, LUNG, FAT, MUSCLE, BLOOD, LIVER, TUMOR, MARROW, CORTEX = -1000, -850, -100, 50, 42, 60, 32, 230, 650
EDGE_MM = 1.6  # width of organ borders: point spread and partial volume together
RIGHT_HILUM, LEFT_HILUM = (-24.0, 16.0, -2.0), (30.0, 20.0, 4.0)


@dataclass(frozen=True)
class PhantomLesion:
    """A solid, slightly lobulated nodule.

    Attributes:
        center: LPS in mm.
        diameter: mean diameter in mm.
    """

    center: tuple[float, float, float]
    diameter: float


def chest_volume(
    seed: int = 0,
    *,
    lesions: Sequence[PhantomLesion] = (),
    acquisition: Acquisition | None = None,
    noise_hu: float = 14.0,
    pose: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generate a chest CT of one patient.

    All acquisitions with one seed show the same patient: the anatomy is defined in mm and then sampled.

    Args:
        seed: which patient.
        lesions: nodules to place; none gives a healthy chest.
        acquisition: grid to sample; by default 60 axial slices of 2.5 mm, 256 × 256 pixels of 1.4 mm.
        noise_hu: standard deviation of the image noise in HU.
        pose: 4 × 4, from LPS mm of the scan to LPS mm of the anatomy, for a patient who lies elsewhere; by default both
            are the same.

    Returns:
        ``hu``, int16 (slices, rows, columns); ``mask``, uint8 of the same shape, 1 inside a lesion;
        ``affine``, 4 × 4, from (column, row, slice, 1) to LPS mm.
    """
    acquisition = acquisition or Acquisition()
    anatomy = Anatomy.from_seed(seed)
    canvas = _Canvas(acquisition.shape, (np.eye(4) if pose is None else pose) @ acquisition.affine)
    rng = np.random.default_rng([seed, 2])

    _paint_trunk(canvas, anatomy, table_in_front=acquisition.plane == "head_first_prone")
    _paint_organs(canvas, anatomy)
    _paint_lungs(canvas, anatomy, rng)
    _paint_airways(canvas)

    mask = np.zeros(acquisition.shape, np.uint8)
    for index, lesion in enumerate(lesions):
        _paint_lesion(canvas, mask, lesion, np.random.default_rng([seed, 3, index]))

    grain = rng.standard_normal(acquisition.shape, dtype=np.float32)
    grain = ndimage.gaussian_filter(grain, (0, 0.7, 0.7), truncate=2)
    hu = canvas.hu + grain * np.float32(noise_hu / grain.std())
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16), mask, acquisition.affine


def draw_lesions(
    seed: int, count: int, *, diameters: tuple[float, float] = (6.0, 32.0), patient: int | None = None
) -> list[PhantomLesion]:
    """Draw lesions at random positions in the lungs that do not touch each other.

    Args:
        seed: seed of the random numbers.
        count: number of lesions.
        diameters: smallest and largest, mm; log-uniform between them.
        patient: seed of the chest; ``seed`` by default.
    """
    anatomy = Anatomy.from_seed(seed if patient is None else patient)
    rng = np.random.default_rng([seed, 4])
    lesions: list[PhantomLesion] = []
    while len(lesions) < count:
        diameter = float(np.exp(rng.uniform(*np.log(diameters))))
        center = rng.uniform((-125, -85, -60), (125, 100, 72))
        x, y, z = (np.array([c], np.float32) for c in center)
        point = (x, y, z)
        depth = -min(anatomy.right_lung(point)[0], anatomy.left_lung(point)[0])
        apart = all(np.linalg.norm(center - other.center) > (diameter + other.diameter) / 2 + 4 for other in lesions)
        if depth > diameter * 0.35 and apart:
            lesions.append(PhantomLesion((float(center[0]), float(center[1]), float(center[2])), diameter))
    return lesions


class _Canvas:
    """A volume that is painted in order, each body over the previous ones."""

    def __init__(self, shape: tuple[int, int, int], affine: np.ndarray) -> None:
        self.hu = np.full(shape, AIR, np.float32)
        self.points = grid_points(shape, affine)
        self._to_index = np.linalg.inv(affine)

    def fill(self, distance: np.ndarray, value: float | np.ndarray, edge: float = EDGE_MM) -> None:
        """Blend ``value`` HU into the whole volume where ``distance`` is negative."""
        share = coverage(distance, edge)
        self.hu += share * (value - self.hu)

    def box(self, low: np.ndarray, high: np.ndarray) -> tuple[tuple[slice, ...], Points]:
        """Return index and points of the part of the volume that contains the LPS box from ``low`` to ``high``."""
        corners = np.array(
            [[x, y, z, 1] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
        )
        indices = (corners @ self._to_index.T)[:, 2::-1]
        first = np.maximum(np.floor(indices.min(axis=0)).astype(int), 0)
        last = np.maximum(np.ceil(indices.max(axis=0)).astype(int) + 1, 0)
        where = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        x, y, z = (
            p[tuple(slice(None) if n == 1 else s for n, s in zip(p.shape, where, strict=True))] for p in self.points
        )
        return where, (x, y, z)

    def fill_tube(self, tube: Tube, value: float) -> None:
        """Blend ``value`` HU into one tube."""
        margin = tube.start_radius + 2
        where, points = self.box(np.minimum(tube.start, tube.end) - margin, np.maximum(tube.start, tube.end) + margin)
        part = self.hu[where]
        if part.size:
            distance = capsule(points, tube.start, tube.end, tube.start_radius, tube.end_radius)
            part += coverage(distance, EDGE_MM) * (value - part)


def _paint_trunk(canvas: _Canvas, anatomy: Anatomy, *, table_in_front: bool) -> None:
    """Paint table, skin, fat, muscle, ribs, spine, sternum and shoulder blades."""
    points = canvas.points
    x, y, _ = points
    toward_table = -(y - 5) if table_in_front else y - 5
    plate = np.abs(toward_table - 124 * anatomy.size + np.square(x / 60)) - 3
    canvas.fill(np.maximum(plate, np.abs(x) - 190), -400)

    body = anatomy.body(points)
    cage = anatomy.rib_cage(points)
    canvas.fill(body, FAT)
    canvas.fill(np.maximum(body + anatomy.fat, -cage), MUSCLE)
    canvas.fill(cage, FAT - 5)

    ribs = anatomy.ribs(points, cage)
    canvas.fill(ribs, np.clip(CORTEX + ribs * 160, MARROW, CORTEX))
    _paint_spine(canvas)
    canvas.fill(ellipsoid(points, (3, -91 * anatomy.size, 10), (17, 5, 70)), 320)
    for side, height in ((-1, 48), (1, 42)):
        blade = np.maximum(
            ellipsoid(points, (side * 88, 82, height), (34, 14, 48)),
            np.abs(y - 82 + side * (x - side * 88) * 0.45) - 3.5,
        )
        canvas.fill(blade, 420)


def _paint_spine(canvas: _Canvas) -> None:
    """Paint the vertebrae with their discs, arches and processes, and the spinal canal."""
    points = canvas.points
    x, _, z = points
    vertebra = column(points, (1, 68), (18, 15))
    canvas.fill(vertebra, np.clip(420 + vertebra * 70, 190, 420))
    disc = np.abs(np.mod(z + 4, 25) - 12.5) - 2.5
    canvas.fill(np.maximum(vertebra, disc), 85)
    arch = np.maximum(column(points, (1, 92), (17, 14)), disc * -1 - 4)
    canvas.fill(arch, 450)
    canvas.fill(column(points, (1, 91), (9, 8)), 35)
    process = np.maximum(np.abs(x - 1) - 3.5, np.abs(points[1] - 108) - 8)
    canvas.fill(np.maximum(process, -disc - 4), 400)


def _paint_organs(canvas: _Canvas, anatomy: Anatomy) -> None:
    """Paint heart, great vessels, liver, spleen, and the stomach with its air bubble."""
    points = canvas.points
    canvas.fill(anatomy.liver(points), LIVER)
    left = anatomy.left_abdomen(points)
    canvas.fill(left, -60)
    canvas.fill(np.maximum(left + 4, ellipsoid(points, (88, 45, -100), (42, 44, 60))), 52)
    stomach = ellipsoid(points, (48, -12, anatomy.left_dome - 38), (36, 42, 34))
    canvas.fill(stomach, 30)
    canvas.fill(np.maximum(stomach + 4, points[1] + 12), AIR)
    canvas.fill(anatomy.heart_surface(points), FAT)
    canvas.fill(anatomy.heart_surface(points) + 3, BLOOD)
    for path in (
        # Aorta: root, arch to the left, descending beside the spine.
        (
            (6, -18, -12, 15),
            (-8, -22, 14, 15),
            (-6, -14, 30, 14),
            (8, 8, 38, 13),
            (20, 34, 30, 12.5),
            (24, 46, 12, 12),
            (22, 46, -90, 11),
        ),
        ((-20, -12, -20, 10), (-20, -14, 25, 9), (-16, -20, 80, 8)),  # superior vena cava
        ((14, -20, -8, 14), (18, -2, 6, 13), (30, 18, 6, 9)),  # pulmonary trunk and left artery
        ((14, -6, 4, 12), (-4, 4, 0, 10), (-26, 14, -4, 9)),  # right pulmonary artery
        ((8, -8, 36, 6), (16, -4, 85, 5)),
        ((20, 14, 34, 5.5), (30, 2, 85, 5)),
        ((4, 44, 85, 6), (6, 46, 0, 6), (14, 34, -80, 6)),  # oesophagus
    ):
        for (*start, start_radius), (*end, end_radius) in pairwise(path):
            canvas.fill_tube(Tube(np.array(start), np.array(end), start_radius, end_radius), BLOOD)


def _paint_lungs(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paint the parenchyma, denser in its dependent parts, and its vessels."""
    points = canvas.points
    coarse = rng.standard_normal([max(n // 3, 2) for n in canvas.hu.shape], dtype=np.float32)
    zoom = [n / c for n, c in zip(canvas.hu.shape, coarse.shape, strict=True)]
    texture = ndimage.zoom(coarse, zoom, order=1, grid_mode=True, mode="nearest")
    parenchyma = LUNG + 26 * texture + np.float32(0.35) * (points[1] - 5)
    for lung, hilum, tips in (
        (anatomy.right_lung, RIGHT_HILUM, 280),
        (anatomy.left_lung, LEFT_HILUM, 220),
    ):
        canvas.fill(lung(points), parenchyma)
        for tube in grow_tree(lung, hilum, tips=tips, rng=rng):
            canvas.fill_tube(tube, BLOOD)


def _paint_airways(canvas: _Canvas) -> None:
    """Paint walls and lumen of trachea and main bronchi, the right one steeper and wider."""
    tubes = [
        Tube(np.array(start, float), np.array(end, float), wide, narrow)
        for start, end, wide, narrow in (
            ((-4, 20, 90), (-2, 24, 18), 9.0, 9.0),
            ((-2, 24, 18), (-30, 24, -2), 8.0, 6.5),
            ((-30, 24, -2), (-44, 22, -28), 5.5, 4.0),
            ((-2, 24, 18), (38, 28, 4), 7.0, 5.5),
            ((38, 28, 4), (52, 34, -18), 4.5, 3.5),
        )
    ]
    for tube in tubes:
        canvas.fill_tube(Tube(tube.start, tube.end, tube.start_radius + 1.5, tube.end_radius + 1.5), 20)
    for tube in tubes:
        canvas.fill_tube(tube, AIR)


def _paint_lesion(canvas: _Canvas, mask: np.ndarray, lesion: PhantomLesion, rng: np.random.Generator) -> None:
    """Paint a sphere whose radius varies by a tenth with direction, into HU and mask."""
    center = np.array(lesion.center)
    margin = lesion.diameter * 0.65 + 4
    where, points = canvas.box(center - margin, center + margin)
    offsets = [p - np.float32(c) for p, c in zip(points, center, strict=True)]
    radius = np.sqrt(sum(np.square(o) for o in offsets))
    lobes = np.zeros_like(radius)
    for _ in range(4):
        wave = rng.normal(0, 1.8, 3)
        cosine = sum(o * np.float32(w) for o, w in zip(offsets, wave, strict=True)) / (radius + 1e-3)
        lobes += np.sin(cosine + np.float32(rng.uniform(0, 2 * np.pi)))
    distance = radius - np.float32(lesion.diameter / 2) * (1 + np.float32(0.05) * lobes)
    part = canvas.hu[where]
    part += coverage(distance, 2.0) * (TUMOR - part)
    mask[where] |= (distance <= 0).astype(np.uint8)
