/** Volumes for tests, and a labelmap without a viewer. */

/**
 * Return a mask with the given voxels labelled.
 *
 * @param {[number, number, number]} size columns, rows, slices
 * @param {[number, number, number][]} labelled column, row, slice
 */
export function mask([columns, rows, slices], labelled) {
  const voxels = new Uint8Array(columns * rows * slices);
  for (const [x, y, z] of labelled) voxels[(z * rows + y) * columns + x] = 1;
  return voxels;
}

/**
 * Define cornerstone's globals over a mask, and return its labelmap volume.
 *
 * @param {[number, number, number]} size columns, rows, slices
 * @param {Uint8Array} voxels copied
 * @param {[number, number, number]} spacing mm
 */
export function holdVolume(size, voxels, spacing = [1, 1, 1]) {
  const length = size[0] * size[1];
  const slices = Array.from({ length: size[2] }, (_, z) => voxels.slice(z * length, (z + 1) * length));
  const redrawn = [];
  globalThis.cornerstone = {
    Enums: { Events: { IMAGE_VOLUME_LOADING_COMPLETED: 'loaded' }, ImageQualityStatus: { FULL_RESOLUTION: 8 } },
    eventTarget: new EventTarget(),
    triggerEvent: (_target, _type, detail) => redrawn.push(detail.modifiedSlicesToUse),
    cache: {
      getImage: id => ({ referencedImageId: `ct:${id}`, voxelManager: { getScalarData: () => slices[Number(id)] } }),
    },
    metaData: { get: (_type, id) => ({ SeriesInstanceUID: `series of ${id}` }) },
  };
  globalThis.cornerstoneTools = { Enums: { Events: { SEGMENTATION_DATA_MODIFIED: 'modified' } } };
  const volume = {
    imageIds: slices.map((_, z) => String(z)),
    spacing,
    dimensions: size,
    direction: [1, 0, 0, 0, 1, 0, 0, 0, 1],
    imageData: {
      indexToWorld: index => index.map((i, axis) => i * spacing[axis]),
      worldToIndex: point => point.map((mm, axis) => mm / spacing[axis]),
    },
  };
  return { volume, slices, redrawn };
}
