/** The mask as the viewer holds it. */

// MONAI Label's own panel gives its mask this name.
export const SEGMENTATION_ID = '1';

/**
 * The mask of one series: a Uint8Array for each slice, in the voxel order of the server's volume (column fastest,
 * then row, then slice).
 */
export class Labelmap {
  /** @param {object} volume cornerstone's labelmap volume; its slices outlive it when viewports change. */
  constructor(volume) {
    this.imageIds = [...volume.imageIds];
    /** mm³ of one voxel */
    this.voxelVolume = volume.spacing.reduce((product, mm) => product * mm, 1);
    /** SeriesInstanceUID of the image that it belongs to */
    this.series = seriesOf(this.imageIds[0]);
    this.sliceLength = this.slice(0).length;
    this.columns = volume.dimensions[0];
    this.toWorld = index => volume.imageData.indexToWorld(index);
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

  /** @returns {Uint8Array} the voxels themselves, no copy */
  slice(number) {
    return cornerstone.cache.getImage(this.imageIds[number]).voxelManager.getScalarData();
  }

  /** @returns {Uint8Array} a copy of all voxels */
  read() {
    const voxels = new Uint8Array(this.length);
    this.imageIds.forEach((_, number) => voxels.set(this.slice(number), number * this.sliceLength));
    return voxels;
  }

  /** @returns {[number, number, number] | null} LPS mm of the voxel amid the slice with most labelled voxels */
  largestSection() {
    let most = [];
    let where = 0;
    for (let number = 0; number < this.imageIds.length; number++) {
      const slice = this.slice(number);
      const labelled = [];
      for (let i = 0; i < slice.length; i++) if (slice[i]) labelled.push(i);
      if (labelled.length > most.length) [most, where] = [labelled, number];
    }
    const middle = most[Math.floor(most.length / 2)];
    return most.length ? this.toWorld([middle % this.columns, Math.floor(middle / this.columns), where]) : null;
  }

  /** @param {Uint8Array} voxels all of them */
  write(voxels) {
    this.imageIds.forEach((_, number) => {
      const start = number * this.sliceLength;
      this.slice(number).set(voxels.subarray(start, start + this.sliceLength));
    });
    this.redraw();
  }

  /** @param {number[]} slices that changed; none means all */
  redraw(slices = []) {
    cornerstone.triggerEvent(
      cornerstone.eventTarget,
      cornerstoneTools.Enums.Events.SEGMENTATION_DATA_MODIFIED,
      { segmentationId: SEGMENTATION_ID, modifiedSlicesToUse: slices },
    );
  }
}

/** Does OHIF have the mask, on the screen or not? */
export function isHeld() {
  return services.segmentationService.getSegmentations().some(s => s.segmentationId === SEGMENTATION_ID);
}

/** @returns {string | null} SeriesInstanceUID of the mask that OHIF has; null if it has none, or is making it */
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
