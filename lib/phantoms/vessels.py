"""Pulmonary vessels: a tree of tapering tubes that grows from the hilum into the lung."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .shapes import Points


class Tube(NamedTuple):
    """A segment of a vessel: ends in LPS mm, radii in mm."""

    start: np.ndarray
    end: np.ndarray
    start_radius: float
    end_radius: float


def grow_tree(
    lung: Callable[[Points], np.ndarray],
    hilum: tuple[float, float, float],
    *,
    tips: int,
    rng: np.random.Generator,
) -> list[Tube]:
    """Grow a tree with ``tips`` terminal branches into a lung.

    Tips are added in order of their distance from the hilum, each joined to the nearest node of the tree, which gives
    vessel-like bifurcations; radii follow Murray's law (the cube of the parent's radius is the sum of the cubes of its
    children).

    Args:
        lung: signed distance to the lung, mm.
        hilum: root of the tree, LPS in mm.
        tips: number of terminal branches.
        rng: random number generator.
    """
    root = np.array(hilum, dtype=float)
    targets = _points_inside(lung, tips, rng)
    targets = targets[np.argsort(np.linalg.norm(targets - root, axis=1))]

    nodes, parents = [root], [-1]
    for target in targets:
        known = np.array(nodes)
        offset = target - known
        distance = np.linalg.norm(offset, axis=1)
        # Branches grow outward: never join a node that is further from the hilum than the tip.
        backward = np.linalg.norm(known - root, axis=1) > np.linalg.norm(target - root) - 2
        parent = int(np.argmin(distance + 1000 * backward))
        steps = max(int(distance[parent] / 7), 1)
        start = nodes[parent]
        for step in range(1, steps + 1):
            wobble = rng.normal(0, 0.9, 3) if step < steps else 0.0
            nodes.append(start + (target - start) * step / steps + wobble)
            parents.append(parent)
            parent = len(nodes) - 1

    cubes = np.zeros(len(nodes))
    for node in range(len(nodes) - 1, 0, -1):
        cubes[node] = max(cubes[node], 1.0**3)
        cubes[parents[node]] += cubes[node]
    radii = np.cbrt(cubes)
    return [
        Tube(nodes[parents[node]], nodes[node], min(radii[node] * 1.1, radii[parents[node]]), radii[node])
        for node in range(1, len(nodes))
    ]


def _points_inside(lung: Callable[[Points], np.ndarray], count: int, rng: np.random.Generator) -> np.ndarray:
    """Return up to ``count`` random points (n, 3), LPS mm, at least 4 mm inside."""
    candidates = rng.uniform((-130, -90, -80), (130, 100, 85), size=(count * 40, 3)).astype(np.float32)
    inside = lung((candidates[:, 0], candidates[:, 1], candidates[:, 2])) < -4
    return candidates[inside][:count].astype(float)
