/** A part of a mask with its place in the volume, as lib/clicks/region.py sends and receives it. */

import { placeOf } from './voxel_index.js';

/** @typedef {import('./findings.js').Size} Size */

/**
 * @typedef {object} Region
 * @property {Size} offset of its first voxel
 * @property {Size} size
 * @property {number[]} runs lengths of runs of equal voxels, column fastest, alternately outside and inside the mask
 */

/**
 * Return the smallest region that contains some voxels.
 *
 * @param {number[]} voxels indices, at least one
 * @param {Size} size of the volume
 * @returns {Region}
 */
export function regionOf(voxels, size) {
  const places = voxels.map(index => placeOf(index, size));
  const first = places[0];
  const low = /** @type {Size} */ (first.map((_, axis) => places.reduce((m, p) => Math.min(m, p[axis]), first[axis])));
  const high = first.map((_, axis) => places.reduce((m, p) => Math.max(m, p[axis]), first[axis]));
  const sides = /** @type {Size} */ (high.map((last, axis) => last - low[axis] + 1));
  const mask = new Uint8Array(sides[0] * sides[1] * sides[2]);
  for (const [column, row, slice] of places) {
    mask[((slice - low[2]) * sides[1] + row - low[1]) * sides[0] + column - low[0]] = 1;
  }
  return { offset: low, size: sides, runs: runsOf(mask) };
}

/**
 * Return the mask of a region, column fastest.
 *
 * @param {Region} region
 */
export function maskOf({ size, runs }) {
  const mask = new Uint8Array(size[0] * size[1] * size[2]);
  let start = 0;
  runs.forEach((length, number) => {
    if (number % 2) mask.fill(1, start, start + length);
    start += length;
  });
  return mask;
}

/**
 * Return the pixels of a region in a section of the volume.
 *
 * @param {Region} region
 * @param {number} axis across the section
 * @param {number} number of the section
 * @returns {[number, number][]} places along the other two axes
 */
export function sectionOf(region, axis, number) {
  const { offset, size } = region;
  const mask = maskOf(region);
  /** @type {[number, number][]} */
  const found = [];
  for (let index = mask.indexOf(1); index >= 0; index = mask.indexOf(1, index + 1)) {
    const place = placeOf(index, size).map((one, along) => one + offset[along]);
    const [u, v] = place.filter((_, along) => along !== axis);
    if (place[axis] === number) found.push([u, v]);
  }
  return found;
}

/** @param {Uint8Array} mask */
function runsOf(mask) {
  const runs = [];
  for (let start = 0, inside = 0; start < mask.length; inside = 1 - inside) {
    const end = mask.indexOf(1 - inside, start);
    runs.push((end < 0 ? mask.length : end) - start);
    start += runs[runs.length - 1];
  }
  return runs;
}
