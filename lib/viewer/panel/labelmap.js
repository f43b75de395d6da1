/** The mask in the viewer. */

import { placeOf } from './voxel_index.js';

// MONAI Label's own panel gives its mask this name.
export const SEGMENTATION_ID = '1';

/** Offsets to a voxel itself and its 26 neighbours, nearest first. */
const NEIGHBOURS = [-1, 0, 1]
  .flatMap(x => [-1, 0, 1].flatMap(y => [-1, 0, 1].map(z => [x, y, z])))
  .sort((one, other) => Math.hypot(...one) - Math.hypot(...other));

/**
 * The mask of one series: a Uint8Array for each slice, in the voxel order of the server's volume (column fastest,
 * then row, then slice).
 */
export class Labelmap {
  /** @param {LabelmapVolume} volume cornerstone's labelmap volume; its slices outlive it when viewports change. */
  constructor(volume) {
    this.imageIds = [...volume.imageIds];
    /** @type {import('./findings.js').Size} mm */
    this.spacing = [...volume.spacing];
    /** mm³ of one voxel */
    this.voxelVolume = volume.spacing.reduce((product, mm) => product * mm, 1);
    /** SeriesInstanceUID of the image that it belongs to */
    this.series = seriesOf(this.imageIds[0]);
    this.sliceLength = this.slice(0).length;
    /** @type {import('./findings.js').Size} */
    this.size = [...volume.dimensions];
    this.imageData = volume.imageData;
    /** of columns, rows and slices, one after the other, LPS */
    this.direction = [...volume.direction];
  }

  /** @returns {Labelmap | null} the one that is on the screen */
  static ofViewer() {
    const shown = cornerstoneTools.segmentation.state.getViewportIdsWithSegmentation(SEGMENTATION_ID).length > 0;
    const volume = isHeld() && shown ? services.segmentationService.getLabelmapVolume(SEGMENTATION_ID) : null;
    return volume ? new Labelmap(volume) : null;
  }

  get length() {
    return this.sliceLength * this.imageIds.length;
  }

  /**
   * @param {number} number of the slice
   * @returns {Uint8Array} the voxels themselves, not a copy
   */
  slice(number) {
    const image = cornerstone.cache.getImage(this.imageIds[number]);
    if (!image) throw new Error('The viewer has dropped the mask: open the scan again.');
    return image.voxelManager.getScalarData();
  }

  /** @returns {Uint8Array<ArrayBuffer>} a copy of all voxels */
  read() {
    const voxels = new Uint8Array(this.length);
    this.imageIds.forEach((_, number) => voxels.set(this.slice(number), number * this.sliceLength));
    return voxels;
  }

  /**
   * Return where a finding is, and how large it is.
   *
   * @param {ArrayLike<number>} finding indices of voxels
   * @returns {{point: Point3, extent: number}} LPS mm of the voxel closest to the centroid, which may itself be outside
   *   of the finding; mm of the longest side of the box around it
   */
  placeOf(finding) {
    const places = Array.from(finding, index => placeOf(index, this.size));
    const sides = this.spacing.map((mm, axis) => {
      const along = places.map(place => place[axis]);
      const [first, last] = along.reduce(([low, high], one) => [Math.min(low, one), Math.max(high, one)], [Infinity, 0]);
      return { mm: (last - first + 1) * mm, mean: along.reduce((sum, one) => sum + one, 0) / along.length };
    });
    const distance = (/** @type {number[]} */ place) =>
      Math.hypot(...place.map((one, axis) => (one - sides[axis].mean) * this.spacing[axis]));
    const closest = places.reduce((best, place) => (distance(place) < distance(best) ? place : best));
    return {
      point: this.imageData.indexToWorld(/** @type {Point3} */ (closest)),
      extent: Math.max(...sides.map(side => side.mm)),
    };
  }

  /**
   * @param {Point3} point LPS mm
   * @returns {Point3 | null} column, row and slice of the voxel at the point; null outside of the volume
   */
  voxelAt(point) {
    const [column, row, slice] = this.imageData.worldToIndex(point).map(Math.round);
    const inside = [column, row, slice].every((place, axis) => place >= 0 && place < this.size[axis]);
    return inside ? [column, row, slice] : null;
  }

  /**
   * @param {Point3} point LPS mm
   * @returns {number | null} index of a labelled voxel at the point, or next to it: a brush and the pointer may
   *   round a point between two slices to different ones
   */
  labelledAt(point) {
    const [columns, rows, slices] = this.size;
    const middle = this.imageData.worldToIndex(point).map(Math.round);
    for (const [right, down, up] of NEIGHBOURS) {
      const [column, row, slice] = [middle[0] + right, middle[1] + down, middle[2] + up];
      const inside = [column / columns, row / rows, slice / slices].every(share => share >= 0 && share < 1);
      if (inside && this.slice(slice)[row * columns + column]) return (slice * rows + row) * columns + column;
    }
    return null;
  }

  /** @param {Uint8Array} voxels all of them */
  write(voxels) {
    this.imageIds.forEach((_, number) => {
      const start = number * this.sliceLength;
      this.slice(number).set(voxels.subarray(start, start + this.sliceLength));
    });
    this.redraw();
  }

  /**
   * Write some voxels, and redraw their slices only.
   *
   * @param {ArrayLike<number>} index of each voxel
   * @param {ArrayLike<number>} values
   */
  writeAt(index, values) {
    /** @type {Map<number, Uint8Array>} */
    const slices = new Map();
    for (let n = 0; n < index.length; n++) {
      const number = Math.floor(index[n] / this.sliceLength);
      const slice = slices.get(number) ?? this.slice(number);
      slices.set(number, slice);
      slice[index[n] % this.sliceLength] = values[n];
    }
    if (slices.size) this.redraw([...slices.keys()]);
  }

  /**
   * @param {number[]} slices that changed; all if empty
   */
  redraw(slices = []) {
    cornerstone.triggerEvent(
      cornerstone.eventTarget,
      cornerstoneTools.Enums.Events.SEGMENTATION_DATA_MODIFIED,
      { segmentationId: SEGMENTATION_ID, modifiedSlicesToUse: slices },
    );
  }
}

/** Return whether OHIF has the mask, on the screen or not. */
export function isHeld() {
  return services.segmentationService.getSegmentations().some(s => s.segmentationId === SEGMENTATION_ID);
}

/** @returns {string | null} SeriesInstanceUID of OHIF's mask; null if there is none yet */
export function heldSeries() {
  const data = cornerstoneTools.segmentation.state.getSegmentation(SEGMENTATION_ID)?.representationData;
  const imageId = data?.Labelmap?.imageIds?.[0];
  return imageId ? seriesOf(imageId) : null;
}

/** @param {string} imageId of a slice of a mask */
function seriesOf(imageId) {
  const source = cornerstone.cache.getImage(imageId)?.referencedImageId;
  return cornerstone.metaData.get('instance', source)?.SeriesInstanceUID ?? null;
}
