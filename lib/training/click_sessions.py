"""Simulated sessions of a user who corrects the network's outline click by click, as training batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from lib.clicks.channels import network_input
from lib.clicks.simulated_user import Click, first_click, next_click, scribble
from lib.training.click_cubes import CubeSampler, LesionCube

_MOST_CLICKS = 5
_SHARE_MORE = 0.7  # of the sessions that continue after each click
_SHARE_KEPT = 0.7  # of the clicks after which the outline is the former mask of the next
_SHARE_PAINTED = 0.12  # of the sessions that begin with a painted mask
_SHARE_SCRIBBLE = 0.08  # of the sessions that begin with a scribble
_JITTER = 0.7  # voxels, standard deviation


class ClickSessions:
    """Infinite batches of sessions, each at another click.

    Every batch is answered with the network's logits, from which the next click of each session follows; a session
    that ends is replaced. So no forward pass is spent on clicks alone.

    Args:
        cubes: Source of the cubes.
        preprocessing: Section ``preprocessing`` of info.yaml.
        batch_size: Sessions at a time.
        rng: Random numbers.
    """

    def __init__(
        self, cubes: CubeSampler, preprocessing: Mapping[str, Any], batch_size: int, rng: np.random.Generator
    ) -> None:
        self._cubes = cubes
        self._preprocessing = preprocessing
        self._rng = rng
        self._sessions = [self._begin() for _ in range(batch_size)]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield inputs (batch, 4, side, side, side) and truth (batch, 1, side, side, side), float32."""
        while True:
            inputs = [session.network_input(self._preprocessing) for session in self._sessions]
            truth = [session.cube.truth[None] for session in self._sessions]
            yield torch.from_numpy(np.stack(inputs)), torch.from_numpy(np.stack(truth)).float()

    def answer(self, logits: torch.Tensor) -> None:
        """Set the next click of each session of the last batch, from the network's logits for it."""
        outlines = (logits[:, 0] > 0).cpu().numpy()
        for place, (session, outline) in enumerate(zip(self._sessions, outlines, strict=True)):
            if not self._click(session, outline):
                self._sessions[place] = self._begin()

    def _begin(self) -> _Session:
        """Return a new session with its first click."""
        while True:
            cube = self._cubes.draw()
            truth = cube.truth >= 0.5
            if truth.any():
                break
        session = _Session(_varied(cube, self._preprocessing, self._rng))
        if self._rng.random() < _SHARE_PAINTED:
            session.former = _painted(truth, self._rng)
            self._add(session, next_click(session.former, truth, self._rng) or first_click(truth, self._rng))
        elif self._rng.random() < _SHARE_SCRIBBLE:
            session.positive.extend(scribble(truth, self._rng))
        elif cube.clicked is not None:
            session.positive.append(cube.clicked)
        elif cube.centred:
            session.positive.append(_middle(truth))
        else:
            self._add(session, first_click(truth, self._rng))
        return session

    def _click(self, session: _Session, outline: np.ndarray) -> bool:
        """Add the next click to a session; return False if it ends."""
        if session.clicks >= _MOST_CLICKS or self._rng.random() > _SHARE_MORE:
            return False
        click = next_click(outline, session.cube.truth >= 0.5, self._rng)
        if click is None:
            return False
        self._add(session, click)
        session.former = outline if self._rng.random() < _SHARE_KEPT else None
        return True

    def _add(self, session: _Session, click: Click) -> None:
        place = click.place + self._rng.normal(0, _JITTER, 3)
        (session.positive if click.positive else session.negative).append(place)


@dataclass
class _Session:
    """One lesion and the clicks on it so far, voxel indices of the cube."""

    cube: LesionCube
    positive: list[np.ndarray] = field(default_factory=list)
    negative: list[np.ndarray] = field(default_factory=list)
    former: np.ndarray | None = None

    @property
    def clicks(self) -> int:
        return len(self.positive) + len(self.negative)

    def network_input(self, preprocessing: Mapping[str, Any]) -> np.ndarray:
        positive, negative = (np.reshape(points, (-1, 3)) for points in (self.positive, self.negative))
        return network_input(self.cube.hu, positive, negative, self.former, preprocessing)


def _middle(truth: np.ndarray) -> np.ndarray:
    """Return the voxel of a mask that is nearest to the middle of its array."""
    places = np.argwhere(truth)
    return places[np.abs(places - (np.array(truth.shape) - 1) / 2).sum(1).argmin()]


def _painted(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a mask as painted in a hurry: too large, too small, or without a part of it."""
    kind = rng.integers(3)
    if kind == 0:
        return ndimage.binary_dilation(truth, iterations=int(rng.integers(1, 4)))
    if kind == 1:
        return ndimage.binary_erosion(truth, iterations=int(rng.integers(1, 3)))
    normal = rng.normal(size=3)
    places = np.argwhere(truth)
    along = places @ normal
    kept = places[along >= np.quantile(along, rng.uniform(0.2, 0.7))]
    painted = np.zeros_like(truth)
    painted[tuple(kept.T)] = True
    return painted


def _varied(cube: LesionCube, preprocessing: Mapping[str, Any], rng: np.random.Generator) -> LesionCube:
    """Simulate other scanners: shift (sd 25 HU), contrast (sd 5 %), noise, and smoothing by the kernel."""
    hu = cube.hu
    if rng.random() < 0.3:
        hu = hu + rng.uniform(0.1, 0.6) * (ndimage.uniform_filter(hu, 3) - hu)
    mean = preprocessing["hu_mean"]
    hu = (hu - mean) * rng.normal(1, 0.05) + mean + rng.normal(0, 25)
    if rng.random() < 0.4:
        hu = hu + rng.normal(0, rng.uniform(5, 50), hu.shape)
    return replace(cube, hu=hu.astype(np.float32))
