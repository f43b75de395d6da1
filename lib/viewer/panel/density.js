/** Hounsfield units of the image under the mask. */

/**
 * Return the mean HU of some voxels.
 *
 * @param {import('./labelmap.js').Labelmap} labelmap over the image
 * @param {Uint32Array} voxels indices
 * @returns {number | null} null while the image is not loaded
 */
export function meanDensity(labelmap, voxels) {
  /** @type {Map<number, ReturnType<typeof sliceUnder> | null>} */
  const slices = new Map();
  let sum = 0;
  for (const index of voxels) {
    const number = Math.floor(index / labelmap.sliceLength);
    const slice = slices.get(number) ?? sliceUnder(labelmap.imageIds[number]);
    if (!slice) return null;
    slices.set(number, slice);
    sum += slice.values[index % labelmap.sliceLength] * slice.slope + slice.intercept;
  }
  return sum / voxels.length;
}

/** @param {string} imageId of a slice of the mask */
function sliceUnder(imageId) {
  const source = cornerstone.cache.getImage(imageId)?.referencedImageId ?? '';
  const { FULL_RESOLUTION } = cornerstone.Enums.ImageQualityStatus; // until then the viewer shows a neighbour in its place
  const image = cornerstone.cache.getImage(source, FULL_RESOLUTION);
  if (!image) return null;
  const scaled = image.preScale?.scaled; // the values are in HU already
  return {
    values: image.voxelManager.getScalarData(),
    slope: scaled ? 1 : (image.slope ?? 1),
    intercept: scaled ? 0 : (image.intercept ?? 0),
  };
}
