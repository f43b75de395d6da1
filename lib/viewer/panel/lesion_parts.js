/** Cuts a lesion in two, and joins two: a lesion is what touches in the mask. */

import { indexOf, placeOf } from './voxel_index.js';

/** @typedef {import('./findings.js').Size} Size */

/**
 * Return what has to go from a finding so that nothing on one side of a cut touches the other side: a layer of the smaller one.
 *
 * @param {ArrayLike<number>} voxels of the finding, indices
 * @param {Size} size of the volume
 * @param {(place: Size) => boolean} isBeyond tells the sides of the cut apart
 * @returns {number[]} indices; none if all is on one side
 */
export function cutOf(voxels, size, isBeyond) {
  /** @type {[Set<number>, Set<number>]} */
  const sides = [new Set(), new Set()];
  for (let n = 0; n < voxels.length; n++) sides[Number(isBeyond(placeOf(voxels[n], size)))].add(voxels[n]);
  const [smaller, larger] = sides.sort((one, other) => one.size - other.size);
  return [...smaller].filter(index => neighboursOf(index, size).some(one => larger.has(one)));
}

/**
 * Return the voxels of a line between the nearest voxels of two findings, about the shortest.
 *
 * @param {ArrayLike<number>} one indices
 * @param {ArrayLike<number>} other
 * @param {{size: Size, spacing: Size}} volume spacing in mm
 * @returns {number[]} indices, without those of the ends
 */
export function bridgeBetween(one, other, { size, spacing }) {
  const places = [one, other].map(voxels => Array.from(voxels, index => placeOf(index, size)));
  let [from, to] = [places[0][places[0].length >> 1], places[1][0]];
  for (let distance = Infinity; ;) {
    to = nearest(places[1], from, spacing);
    from = nearest(places[0], to, spacing);
    const now = apart(from, to, spacing);
    if (now >= distance) break;
    distance = now;
  }
  const steps = Math.max(...from.map((place, axis) => Math.abs(to[axis] - place)));
  const between = Array.from({ length: Math.max(steps - 1, 0) }, (_, n) => (
    /** @type {Size} */ (from.map((place, axis) => Math.round(place + ((n + 1) / steps) * (to[axis] - place))))
  ));
  return between.map(place => indexOf(place, size));
}

/**
 * @param {Size[]} places
 * @param {Size} place
 * @param {Size} spacing
 */
function nearest(places, place, spacing) {
  let [best, least] = [places[0], Infinity];
  for (const one of places) {
    const distance = apart(one, place, spacing);
    if (distance < least) [best, least] = [one, distance];
  }
  return best;
}

/**
 * @param {Size} one
 * @param {Size} other
 * @param {Size} spacing
 */
function apart(one, other, spacing) {
  return Math.hypot(...one.map((place, axis) => (place - other[axis]) * spacing[axis]));
}

/**
 * @param {number} index
 * @param {Size} size
 * @returns {number[]} indices of the voxels that touch it, corners included; at the border also some that do not
 */
function neighboursOf(index, [columns, rows]) {
  const found = [];
  for (const z of [-1, 0, 1]) for (const y of [-1, 0, 1]) for (const x of [-1, 0, 1]) found.push(index + (z * rows + y) * columns + x);
  return found;
}
