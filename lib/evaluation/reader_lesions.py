"""Lesions of several readers of one image, matched with each other by the overlap of their outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse

from lib.geometry.connected_components import connected_components


@dataclass(frozen=True)
class ReaderLesion:
    """One lesion with the outline of each reader.

    Attributes:
        window: Its bounding box in the image: all that any reader marked.
        masks: Outline of each reader in that box, shape (readers, X, Y, Z), bool; without a voxel if the reader did
            not mark it.
    """

    window: tuple[slice, slice, slice]
    masks: np.ndarray

    @property
    def marked(self) -> np.ndarray:
        """Whether each reader marked the lesion, shape (readers,), bool."""
        return self.masks.any(axis=(1, 2, 3))

    def contains(self, voxel: Sequence[int], reader: int | None = None) -> bool:
        """Return whether a voxel (column, row, slice) is in the outline of a reader, or of any.

        Args:
            voxel: Its place in the image.
            reader: Place of the reader; None for any.
        """
        place = [index - side.start for index, side in zip(voxel, self.window, strict=True)]
        inside = all(0 <= index < length for index, length in zip(place, self.masks.shape[1:], strict=True))
        of = self.masks if reader is None else self.masks[reader]
        return inside and bool(of[(..., *place)].any())


def match_reader_lesions(masks: Sequence[np.ndarray]) -> list[ReaderLesion]:
    """Match the lesions of the readers of one image.

    The lesions of a reader are the 26-connected components of the mask. Lesions of two readers that share a voxel are
    the same lesion, and so are those that are linked by a chain of them: what one reader drew as one lesion and
    another as two is one.

    Args:
        masks: Mask of each reader, shape (X, Y, Z) each, on the same grid.

    Returns:
        The lesions in the order of their first voxel.

    Raises:
        ValueError: The masks are not on the same grid.
    """
    if len({mask.shape for mask in masks}) > 1:
        raise ValueError(f"The masks are not on the same grid: {', '.join(str(mask.shape) for mask in masks)} voxels.")
    if not any(mask.any() for mask in masks):
        return []
    (marked,) = ndimage.find_objects(np.any(masks, axis=0).astype(np.uint8))
    components, count = _numbered_components([mask[marked] for mask in masks])
    lesion_of = _linked(components, count)
    of_lesions = [lesion_of[one] for one in components]
    found = [
        ReaderLesion(_shifted(window, marked), np.stack([one[window] == number for one in of_lesions]))
        for number, window in enumerate(ndimage.find_objects(np.max(of_lesions, axis=0)), start=1)
    ]
    # Not in the order of the masks, which would tell blinded readers whose outlines they see.
    return sorted(found, key=_first_voxel)


def _first_voxel(lesion: ReaderLesion) -> tuple[int, ...]:
    marked = lesion.masks.any(axis=0)
    first = np.unravel_index(int(marked.argmax()), marked.shape)
    return tuple(int(index) + side.start for index, side in zip(first, lesion.window, strict=True))


def _shifted(window: tuple[slice, ...], within: tuple[slice, ...]) -> tuple[slice, slice, slice]:
    """Return a window of a part of an image as a window of the image."""
    x, y, z = (
        slice(side.start + outer.start, side.stop + outer.start) for side, outer in zip(window, within, strict=True)
    )
    return x, y, z


def _numbered_components(masks: Sequence[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """Return the components of each mask, numbered from 1 over all masks, and their count."""
    found, count = [], 0
    for mask in masks:
        components, of_mask = connected_components(mask)
        found.append(np.where(components > 0, components + count, 0))
        count += of_mask
    return found, count


def _linked(components: Sequence[np.ndarray], count: int) -> np.ndarray:
    """Return the number of the lesion of each component; 0 of the background."""
    links: set[tuple[int, int]] = set()
    for first, one in enumerate(components):
        for other in components[first + 1 :]:
            both = (one > 0) & (other > 0)
            links.update(zip(one[both].tolist(), other[both].tolist(), strict=True))
    ends = np.array(sorted(links), int).reshape(-1, 2).T
    graph = sparse.coo_matrix((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(count + 1, count + 1))
    _, group = sparse.csgraph.connected_components(graph, directed=False)
    return group  # 0 is the background, which is linked with nothing
