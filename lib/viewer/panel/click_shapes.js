/** Scribbles and boxes in voxels. */

const MOST_POINTS = 64; // of a scribble: enough to show where it went

/** @typedef {import('./findings.js').Size} Size */

/**
 * Return the voxels of a scribble, each once, evenly thinned out if there are many.
 *
 * @param {(Size | null)[]} voxels along it; null outside of the volume
 * @returns {Size[]}
 */
export function strokeOf(voxels) {
  const inside = /** @type {Size[]} */ (voxels.filter(Boolean));
  const unique = [...new Map(inside.map(voxel => [voxel.join(), voxel])).values()];
  const step = Math.max(1, Math.ceil(unique.length / MOST_POINTS));
  return unique.filter((_, number) => number % step === 0);
}

/**
 * Return the box around a rectangle drawn in a plane: as deep as the longer side of the rectangle, because lesions are
 * rather round.
 *
 * @param {Size} one corner, voxel
 * @param {Size} other opposite corner
 * @param {{size: Size, spacing: Size}} volume spacing in mm
 * @returns {Size[]} first and last voxel
 */
export function boxAround(one, other, { size, spacing }) {
  const sides = one.map((place, axis) => Math.abs(place - other[axis]) * spacing[axis]);
  const across = sides.indexOf(Math.min(...sides));
  const depth = Math.round(Math.max(...sides) / 2 / spacing[across]);
  const [low, high] = [Math.min, Math.max].map(extreme => one.map((place, axis) => extreme(place, other[axis])));
  low[across] = Math.max(low[across] - depth, 0);
  high[across] = Math.min(high[across] + depth, size[across] - 1);
  return [/** @type {Size} */ (low), /** @type {Size} */ (high)];
}
