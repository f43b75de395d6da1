"""Classes of lesions that results are reported by: all, by size and by texture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lib.evaluation.metrics import SIZES_MM, size_title
from lib.evaluation.textures import Texture


def lesion_classes(
    diameters_mm: Sequence[float], textures: Sequence[Texture | None]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the title of each class, and which lesions belong to it as bool of their number.

    Args:
        diameters_mm: Diameter of each lesion in mm.
        textures: Texture of each lesion, None if it is not known.
    """
    diameters = np.asarray(diameters_mm, float)
    yield "all", np.ones(len(diameters), bool)
    for low, high in SIZES_MM:
        yield size_title(low, high), (diameters >= low) & (diameters < high)
    for texture in Texture:
        yield texture.value, np.array([one is texture for one in textures], bool)
