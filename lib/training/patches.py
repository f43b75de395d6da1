"""Training patches: nodules at their true scale pasted into other lungs, and lungs without nodules."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch.utils.data import IterableDataset

from lib.training.pasting import (
    LEAST_AT_WALL_PX,
    add_cavity,
    blend,
    closed,
    equivalent_radius,
    halo,
    rim,
    soft_disc,
    soft_square,
    solid_tumour,
)
from lib.training.scans import Scan
from lib.transforms.adjacent_slices import is_symmetric
from lib.transforms.lungs import AIR_HU, inner_air

_SHARE_BARE = 0.25  # share of patches with a crop in padding, as in inference on a crop
_SHARE_EMPTY = 0.40  # share of patches with only decoys pasted
_SHARE_TUMOUR = 0.15  # share of patches with tumours of the whole scans
_SHARE_ANY_SLICE = 0.25  # share of crops of which any slice is drawn, also above and below the nodule
_SHARE_AT_WALL = 0.3  # share of pasted nodules that are placed at the chest wall or the mediastinum
_SHARE_LARGE_AT_WALL = 0.6
_LARGE_MM = (16.0, 64.0)  # their diameters
_LARGE_ZOOM = (1.3, 8.0)
_SHARE_CAVITY = 0.15  # share of large tumours that get a cavity
_OUTSIDE_HU = -960.0  # mean of air outside the body; denser regions are inside


class PatchSampler(IterableDataset):
    """Infinite sampler of network inputs at the scale of the whole field.

    Up to three crops are pasted into a lung per patch, either with all their surroundings or with a narrow halo around
    the nodule, with soft edges. So that the edges carry no information, decoys are pasted too: squares and discs of
    lung without a nodule, and the surroundings of nodules without the nodule, which adds the vessels of as many
    patients as there are crops. Along the scan axis, channels beyond the end of a crop show the lung around it.
    Some nodules are placed on the border of the lung, where the chest wall or the mediastinum replaces a part of them,
    as with tumours on the pleura; some are enlarged, and some of those get a cavity.

    Args:
        crops: Scans smaller than the field, with a nodule.
        hosts: Whole scans; their labels are learned too.
        preprocessing: Section ``preprocessing`` of info.yaml.
        size: Side of the square patch in pixels.
        seed: Seed of the random numbers.
        batch_size: Patches per batch when iterated, by a single process.
        warm_up: Batches until the full mixture, starting with crops only: a network that sees mostly lung without
            nodules from the start predicts nothing for a long time.
        first: Number of batches drawn before, by a run that is resumed.
        decoys: Largest number of decoys per window of a scan.
        large_tumours: Share of the patches with pasted nodules that have a large tumour instead.
    """

    def __init__(
        self,
        crops: Sequence[Scan],
        hosts: Sequence[Scan],
        *,
        preprocessing: Mapping[str, Any],
        size: int,
        seed: int,
        batch_size: int = 1,
        warm_up: int = 0,
        first: int = 0,
        decoys: int = 2,
        large_tumours: float = 0.3,
    ) -> None:
        self.warm_up = warm_up
        self.first = first
        self.decoys = decoys
        self.large_tumours = large_tumours
        self.crops = crops
        self.hosts = hosts
        self.offsets = tuple(preprocessing["slice_offsets_mm"])
        self.size = size
        self.batch_size = batch_size
        self.rng = np.random.default_rng(seed)
        self.hu_mean, self.hu_std = preprocessing["hu_mean"], preprocessing["hu_std"]
        self.pixel_mm = preprocessing["field_mm"] / preprocessing["size"][0]
        self.offsets_px = [offset / self.pixel_mm for offset in self.offsets]
        self.air, self.ceiling = map(self._normalised, preprocessing["hu_window"])
        self.lung = self._normalised(AIR_HU)
        self._places = [self._find_places(host) for host in hosts]
        self._with_tumour = [index for index, places in enumerate(self._places) if len(places["tumour"])]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for number in count(self.first):
            yield self.batch(self.batch_size, min(1.0, number / self.warm_up) if self.warm_up else 1.0)

    def batch(self, patches: int, mixed: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw images (patches, channels, size, size) and labels (patches, 1, size, size), both float32.

        Args:
            patches: Number of patches.
            mixed: Share drawn from the full mixture; the others are crops only.
        """
        images, labels = zip(*(self._patch(mixed) for _ in range(patches)), strict=True)
        return torch.stack(images), torch.stack(labels)

    def _normalised(self, hu: float) -> float:
        return (hu - self.hu_mean) / self.hu_std

    def _find_places(self, host: Scan) -> dict[str, np.ndarray]:
        """Return the voxels (N, 3) of lung, lung vessels, tissue denser than lung, and tumour in the usable slices."""
        usable = np.zeros(host.image.shape[2], bool)
        usable[list(host.usable)] = True
        air = host.image.numpy() < self.lung
        lung = inner_air(air, self.pixel_mm**2 * host.spacing / 1000)
        tumour = host.label.numpy()
        in_plane = ndimage.generate_binary_structure(2, 1)[..., None]
        vessel = ndimage.binary_closing(lung, in_plane, iterations=4) & ~air & ~tumour
        places = {"lung": lung, "vessel": vessel, "tissue": ~air, "tumour": tumour}
        return {name: np.argwhere(mask & usable) for name, mask in places.items()}

    def _anywhere(self) -> str:
        return "lung" if self.rng.random() < 0.75 else "tissue"

    def _enhanced(self, stack: torch.Tensor) -> torch.Tensor:
        """Brighten soft tissue by up to 250 HU with probability 0.5, to simulate contrast medium."""
        if self.rng.random() < 0.5:
            return stack
        low, high = self._normalised(-100), self._normalised(50)
        share = ((stack[:-1] - low) / (high - low)).clamp(0, 1)
        return torch.cat([stack[:-1] + share * self.rng.uniform(0, 250) / self.hu_std, stack[-1:]])

    def _patch(self, mixed: float) -> tuple[torch.Tensor, torch.Tensor]:
        kind = self.rng.random() if self.rng.random() < mixed or not self.crops else 0.0
        if kind < _SHARE_BARE or not self.hosts:
            stack = self._padding()
            nodule, within = self._nodule()
            self._set_in(stack, nodule, within, torch.ones(nodule.shape[1:]))
        elif kind < _SHARE_BARE + _SHARE_TUMOUR and self._with_tumour:
            stack, _ = self._host_window(self.size, self.rng.choice(self._with_tumour), around="tumour")
        else:
            stack, _ = self._host_window(self.size, self.rng.integers(len(self.hosts)))
            for _ in range(self.rng.integers(0, self.decoys + 1)):
                self._set_in(stack, *self._decoy())
            empty = kind > 1 - _SHARE_EMPTY or not self.crops
            if not empty and self.rng.random() < self.large_tumours:
                self._add_large_tumour(stack)
            elif not empty:
                for _ in range(self.rng.integers(1, 4)):
                    nodule, within = self._nodule()
                    weight = halo(nodule[-1]) if self.rng.random() < 0.5 else soft_square(*nodule.shape[1:])
                    self._set_in(stack, nodule, within, weight, at_wall=self.rng.random() < _SHARE_AT_WALL)
        return self._vary(stack)

    def _decoy(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw a decoy: values (channels + label, h, w), which channels are valid, and blending weights (h, w)."""
        if self.crops and self.rng.random() < 0.5:
            crop, within = self._nodule()
            return crop, within, soft_square(*crop.shape[1:]) * (1 - halo(crop[-1]))
        side = int(self.rng.integers(10, 40))
        window, within = self._host_window(side, self.rng.integers(len(self.hosts)), around="vessel")
        shape = soft_square if self.rng.random() < 0.5 else soft_disc
        return window, within, shape(side, side)

    def _padding(self) -> torch.Tensor:
        stack = torch.full((len(self.offsets) + 1, self.size, self.size), self.air)
        stack[-1] = 0
        return stack

    def _add_large_tumour(self, stack: torch.Tensor) -> None:
        """Paste an enlarged nodule, more often on the border of the lung, as large tumours are, in place."""
        nodule, _ = self._nodule(large=True)
        tissue, deviation = self._normalised(self.rng.uniform(-10, 90)), self.rng.uniform(5, 30) / self.hu_std
        tumour, weight = solid_tumour(nodule[-1], self.offsets_px, tissue, deviation, self.rng)
        if self.rng.random() < _SHARE_CAVITY:
            add_cavity(tumour, self.offsets_px, self._normalised(self.rng.uniform(-950, -600)), self.rng)
        within = torch.ones(len(self.offsets), dtype=torch.bool)
        self._set_in(stack, tumour, within, weight, at_wall=self.rng.random() < _SHARE_LARGE_AT_WALL)

    def _nodule(self, large: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a slice of a random crop (channels + label, h, w), and which channels are within the crop.

        Args:
            large: Enlarge it to a large tumour; otherwise it is scaled by up to a quarter.
        """
        crop = self.crops[self.rng.integers(len(self.crops))]
        if self.rng.random() < _SHARE_ANY_SLICE:
            index = int(self.rng.integers(crop.image.shape[2]))
        else:
            slices = torch.nonzero(crop.label.any(0).any(0))[:, 0]
            index = int(slices[self.rng.integers(len(slices))])
        zoom = self.rng.uniform(0.8, 1.25)
        if large:
            wanted = self.rng.uniform(*_LARGE_MM) / 2 / self.pixel_mm
            zoom = np.clip(wanted / max(equivalent_radius(crop.target[..., index]), 1), *_LARGE_ZOOM)
        stack, within = _slice_stack(crop, index, [offset / zoom for offset in self.offsets])
        size = [max(1, round(length * zoom)) for length in stack.shape[1:]]
        stack = _resized(stack, size, crop)
        return self._turned(stack, within)

    def _host_window(self, side: int, index: int, around: str = "anything") -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a window of a whole scan (channels + label, side, side), and which channels are within the scan.

        Args:
            side: Pixels.
            index: Index of the scan.
            around: ``vessel`` centres a vessel, ``tumour`` includes some tumour, ``anything`` is mostly in the lungs.
        """
        host = self.hosts[index]
        voxels = self._places[index][around if around != "anything" else self._anywhere()]
        if not len(voxels):
            voxels = self._places[index]["tissue"]
        x, y, z = voxels[self.rng.integers(len(voxels))]
        reach = round(side / self.rng.uniform(0.8, 1.25))
        jitter = 0 if around == "vessel" else reach // 4
        low = [int(centre - reach // 2 + self.rng.integers(-jitter, jitter + 1)) for centre in (x, y)]
        window, within = _slice_stack(host, int(z), self.offsets, low, reach, self.air)
        window = self._enhanced(_resized(window, (side, side), host))
        window[:-1][~within] = self.air
        return self._turned(window, within)

    def _set_in(
        self,
        stack: torch.Tensor,
        square: torch.Tensor,
        within: torch.Tensor,
        weight: torch.Tensor,
        at_wall: bool = False,
    ) -> None:
        """Blend a square into the patch at a random position in lung, or on its border, in place.

        Args:
            stack: The patch (channels + target, size, size).
            square: Values to paste (channels + target, h, w).
            within: Channels of the square that are valid.
            weight: Blending weights, (h, w) or of each channel.
            at_wall: Place the square on the border of the lung, and paste only what is on the lung's side.
        """
        middle = len(self.offsets) // 2
        lung = stack[:-1] < self.lung
        radius = equivalent_radius(square[-1])
        at_wall = at_wall and radius >= LEAST_AT_WALL_PX
        if at_wall:
            lung = closed(lung)
            places = torch.nonzero(rim(lung[middle], radius) & self._in_body(stack[middle]))
        else:
            places = torch.nonzero(lung[middle])
        if len(places):
            centre = places[self.rng.integers(len(places))].tolist()
            blend(stack, square, within, weight, centre, open_to=lung if at_wall else None)

    def _in_body(self, image: torch.Tensor) -> torch.Tensor:
        """Return the pixels (h, w) whose surroundings are denser than the air outside the body."""
        mean = F.avg_pool2d(image[None, None], 9, 1, 4, count_include_pad=False)[0, 0]
        return mean > self._normalised(_OUTSIDE_HU)

    def _turned(self, stack: torch.Tensor, within: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Flip and rotate by quarter turns at random; flip along the scan axis if the offsets are symmetric."""
        if self.rng.random() < 0.5:
            stack = stack.flip(1)
        stack = torch.rot90(stack, int(self.rng.integers(4)), (1, 2))
        if self.rng.random() < 0.5 and is_symmetric(self.offsets):
            return torch.cat([stack[:-1].flip(0), stack[-1:]]), within.flip(0)
        return stack, within

    def _vary(self, stack: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Simulate other scanners: shift (sd 25 HU), contrast (sd 5 %), noise, and smoothing by the kernel."""
        image, label = stack[:-1], stack[-1:]
        if self.rng.random() < 0.3:
            share = self.rng.uniform(0.1, 0.5)
            image = torch.lerp(image, F.avg_pool2d(image[None], 3, 1, 1, count_include_pad=False)[0], share)
        image = image * self.rng.normal(1, 0.05) + self.rng.normal(0, 25) / self.hu_std
        if self.rng.random() < 0.4:
            sd = self.rng.uniform(5, 50) / self.hu_std
            image = image + torch.from_numpy(self.rng.normal(0, sd, image.shape).astype(np.float32))
        return image.clamp(self.air, self.ceiling), label


def _slice_stack(
    scan: Scan,
    index: int,
    offsets_mm: Sequence[float],
    low: Sequence[int] = (0, 0),
    side: int | None = None,
    air: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the slices at offsets from one slice, then the label of that slice; and which are within the scan.

    The last slice extends half a slice further, as in AdjacentSlicesd; values beyond are invalid.

    Args:
        scan: The scan.
        index: Index of the slice.
        offsets_mm: Offsets.
        low: First pixel of a window along both axes; may be outside the scan.
        side: Side of the window in pixels; None is the whole slice.
        air: Padding outside the scan in the plane.
    """
    high = [length if side is None else start + side for start, length in zip(low, scan.image.shape, strict=False)]
    rows, columns = (slice(max(start, 0), max(stop, 0)) for start, stop in zip(low, high, strict=True))
    image, target = scan.image[rows, columns], scan.target[rows, columns, index]
    last = image.shape[2] - 1
    layers = []
    within = []
    for offset in offsets_mm:
        wanted = index + offset / scan.spacing
        position = min(max(wanted, 0), last)
        below = int(position)
        layers.append(torch.lerp(image[..., below], image[..., min(below + 1, last)], position - below))
        within.append(-0.5 <= wanted <= last + 0.5)
    border = [
        pad
        for start, stop, length in reversed(list(zip(low, high, scan.image.shape, strict=False)))
        for pad in (max(-start, 0), max(stop - length, 0))
    ]
    stack = torch.cat([F.pad(torch.stack(layers), border, value=air), F.pad(target[None], border)])
    return stack, torch.tensor(within)


def _resized(stack: torch.Tensor, size: Sequence[int], scan: Scan) -> torch.Tensor:
    """Resize a stack (channels + target, h, w) of a scan; a binary target stays binary."""
    stack = F.interpolate(stack[None], size=tuple(size), mode="bilinear")[0]
    if scan.is_binary:
        stack[-1] = (stack[-1] >= 0.5).float()
    return stack
