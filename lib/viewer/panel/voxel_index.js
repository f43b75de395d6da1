/** Indices of voxels of a volume, column fastest, then row, then slice, and their places. */

/** @typedef {import('./findings.js').Size} Size */

/**
 * Return column, row and slice of a voxel.
 *
 * @param {number} index
 * @param {Size} size of the volume
 * @returns {Size}
 */
export function placeOf(index, [columns, rows]) {
  return [index % columns, Math.floor(index / columns) % rows, Math.floor(index / (columns * rows))];
}

/**
 * Return the index of a voxel.
 *
 * @param {Size} place column, row, slice
 * @param {Size} size of the volume
 */
export function indexOf([column, row, slice], [columns, rows]) {
  return (slice * rows + row) * columns + column;
}
