/** Smooths, grows and shrinks findings, and fills their holes. */

import { Block } from './block.js';
import { indexOf, placeOf } from './voxel_index.js';

/**
 * @typedef {import('./block.js').Triple} Triple
 * @typedef {import('./diameters.js').Grid} Grid
 * @typedef {{index: Uint32Array, values: Uint8Array}} Change of voxels of the mask
 */

const SMOOTHING_MM = 2.5; // about the distance of slices, so that neighbouring slices have a say
const STEP_MM = 1;

/** @type {Record<string, {mm: number, isMarked: (part: number) => boolean}>} */
const RULES = {
  smooth: { mm: SMOOTHING_MM, isMarked: part => part > 0.5 },
  grow: { mm: STEP_MM, isMarked: part => part > 0 },
  shrink: { mm: STEP_MM, isMarked: part => part === 1 },
};

/**
 * Smooth a finding by a vote of the voxels around each, or grow or shrink it by about a millimetre.
 *
 * @param {'smooth' | 'grow' | 'shrink'} name
 * @param {Uint8Array} mask
 * @param {Grid} grid
 * @param {ArrayLike<number>} voxels of the finding
 * @returns {Change} nothing for a finding that is too small to be left over
 */
export function reshape(name, mask, { size, spacing }, voxels) {
  const { mm, isMarked } = RULES[name];
  const reach = /** @type {Triple} */ (spacing.map(step => Math.floor(Math.max(mm, name === 'smooth' ? 0 : step) / step)));
  if (name !== 'smooth' && spacing[2] > 2 * STEP_MM) reach[2] = 0; // a step to the next slice would be too large
  const block = new Block(mask, size, voxels, /** @type {Triple} */ (reach.map(one => one + 1)));
  const kernel = ball(reach, spacing, Math.max(mm, ...spacing.filter((_, axis) => reach[axis])));
  const values = block.values.map((_, local) => Number(isMarked(share(block, kernel, placeOf(local, block.size)))));
  return values.includes(1) ? block.changeTo(values) : block.changeTo(block.values);
}

/**
 * Fill the holes of a finding in each of its axial sections.
 *
 * @param {Uint8Array} mask
 * @param {Grid} grid
 * @param {ArrayLike<number>} voxels of the finding
 * @returns {Change}
 */
export function fillHoles(mask, { size, axial }, voxels) {
  const margin = /** @type {Triple} */ ([1, 1, 1].map((one, axis) => (axis === axial ? 0 : one)));
  const block = new Block(mask, size, voxels, margin);
  const outside = floodOutside(block, axial);
  return block.changeTo(block.values.map((was, local) => Number(was || !outside[local])));
}

/**
 * @param {Triple} reach voxels
 * @param {Triple} spacing mm
 * @param {number} radius mm
 * @returns {Triple[]} offsets
 */
function ball(reach, spacing, radius) {
  const found = [];
  for (let z = -reach[2]; z <= reach[2]; z++) {
    for (let y = -reach[1]; y <= reach[1]; y++) {
      for (let x = -reach[0]; x <= reach[0]; x++) {
        if (Math.hypot(x * spacing[0], y * spacing[1], z * spacing[2]) <= radius) found.push(/** @type {Triple} */ ([x, y, z]));
      }
    }
  }
  return found;
}

/**
 * Return the share of the voxels around a place that are marked; at the border of the block, of those that are inside.
 *
 * @param {Block} block
 * @param {Triple[]} kernel offsets
 * @param {Triple} place
 */
function share({ values, size }, kernel, [column, row, slice]) {
  let [marked, all] = [0, 0];
  for (const [x, y, z] of kernel) {
    const [i, j, k] = [column + x, row + y, slice + z];
    if (i < 0 || j < 0 || k < 0 || i >= size[0] || j >= size[1] || k >= size[2]) continue;
    all += 1;
    marked += values[(k * size[1] + j) * size[0] + i];
  }
  return marked / all;
}

/**
 * Return the voxels outside of a finding that a path in their axial section connects to the border of its block.
 *
 * @param {Block} block
 * @param {number} axial axis that no path takes
 */
function floodOutside({ values, size }, axial) {
  const outside = new Uint8Array(values.length);
  const axes = [0, 1, 2].filter(axis => axis !== axial);
  const isBorder = (/** @type {Triple} */ place) => axes.some(axis => !place[axis] || place[axis] === size[axis] - 1);
  const reached = [];
  for (let local = 0; local < values.length; local++) {
    if (values[local] || !isBorder(placeOf(local, size))) continue;
    outside[local] = 1;
    reached.push(local);
  }
  for (let local = reached.pop(); local !== undefined; local = reached.pop()) {
    for (const next of neighbours(placeOf(local, size), size, axes)) {
      if (values[next] || outside[next]) continue;
      outside[next] = 1;
      reached.push(next);
    }
  }
  return outside;
}

/**
 * @param {Triple} place
 * @param {Triple} size
 * @param {number[]} axes
 * @returns {number[]} indices
 */
function neighbours(place, size, axes) {
  return axes.flatMap(axis => [-1, 1].flatMap(step => {
    const moved = place[axis] + step;
    if (moved < 0 || moved >= size[axis]) return [];
    return [indexOf(/** @type {Triple} */ (place.map((one, other) => (other === axis ? moved : one))), size)];
  }));
}
