/** The mask in the viewer. */

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
   * @param {number[]} finding indices of voxels
   * @returns {Point3} LPS mm of the middle voxel of the slice that has most of them
   */
  middleOf(finding) {
    /** @type {Map<number, number[]>} */
    const slices = new Map();
    for (const index of finding) {
      const number = Math.floor(index / this.sliceLength);
      slices.set(number, slices.get(number) ?? []).get(number)?.push(index);
    }
    const [slice, section] = [...slices].reduce((most, one) => (one[1].length > most[1].length ? one : most));
    const middle = section.sort((one, other) => one - other)[Math.floor(section.length / 2)] % this.sliceLength;
    const columns = this.size[0];
    return this.imageData.indexToWorld([middle % columns, Math.floor(middle / columns), slice]);
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
