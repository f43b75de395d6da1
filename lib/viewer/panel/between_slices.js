/** Fills the slices between painted ones: the outline changes evenly from one to the other. */

import { indexOf, placeOf } from './voxel_index.js';
import { listFindings } from './findings.js';

/**
 * @typedef {import('./block.js').Triple} Triple
 * @typedef {import('./diameters.js').Grid} Grid
 *
 * @typedef {Map<string, [number, number]>} Patch connected pixels of a section, by "x,y"
 */

const FARTHEST_MM = 40; // between two painted slices
const THIN = 2; // sections: a finding that was painted by hand and is to be completed

/**
 * Return what is missing between sections that were painted with gaps.
 *
 * Two sections belong together if they overlap, seen along the axis, nothing is painted between them, and one of them is of
 * a finding of at most two sections: complete lesions behind each other are never joined.
 *
 * @param {Uint8Array} mask
 * @param {Grid} grid
 * @param {number} axis along which the sections follow each other
 * @returns {{index: Uint32Array, values: Uint8Array}} voxels to mark
 */
export function fillBetween(mask, { size, spacing }, axis) {
  const sections = sectionsOf(mask, size, axis);
  const farthest = Math.max(Math.floor(FARTHEST_MM / spacing[axis]), 2);
  const plane = [0, 1, 2].filter(one => one !== axis);
  const index = (/** @type {number} */ x, /** @type {number} */ y, /** @type {number} */ number) => {
    /** @type {Triple} */
    const place = [0, 0, 0];
    [place[plane[0]], place[plane[1]], place[axis]] = [x, y, number];
    return indexOf(place, size);
  };
  const thin = thinVoxels(mask, size, axis);
  /** @type {(patch: Patch, number: number) => boolean} */
  const isThin = (patch, number) => [...patch.values()].some(([x, y]) => thin.has(index(x, y, number)));
  const found = new Set();
  for (const [first, patches] of sections) {
    for (const patch of patches) {
      const last = nextOverlap(sections, patch, first, farthest);
      if (!last || last.number === first + 1) continue;
      if (!isThin(patch, first) && !isThin(last.patch, last.number)) continue;
      for (let number = first + 1; number < last.number; number++) {
        const part = (number - first) / (last.number - first);
        for (const [x, y] of intermediate(patch, last.patch, part, plane.map(one => spacing[one]))) {
          found.add(index(x, y, number));
        }
      }
    }
  }
  const missing = Uint32Array.from([...found].filter(one => !mask[one]));
  return { index: missing, values: new Uint8Array(missing.length).fill(1) };
}

/**
 * Return the voxels of the findings that have few sections.
 *
 * @param {Uint8Array} mask
 * @param {Triple} size
 * @param {number} axis
 * @returns {Set<number>} indices
 */
function thinVoxels(mask, size, axis) {
  const isThin = (/** @type {number[]} */ voxels) => new Set(voxels.map(one => placeOf(one, size)[axis])).size <= THIN;
  return new Set(listFindings(mask, size).filter(isThin).flat());
}

/**
 * @param {Uint8Array} mask
 * @param {Triple} size
 * @param {number} axis
 * @returns {Map<number, Patch[]>} by number of the section
 */
function sectionsOf(mask, size, axis) {
  const [across, down] = [0, 1, 2].filter(one => one !== axis);
  /** @type {Map<number, Patch>} */
  const pixels = new Map();
  for (let index = mask.indexOf(1); index >= 0; index = mask.indexOf(1, index + 1)) {
    const place = placeOf(index, size);
    const section = pixels.get(place[axis]) ?? new Map();
    pixels.set(place[axis], section.set(`${place[across]},${place[down]}`, [place[across], place[down]]));
  }
  return new Map([...pixels].map(([number, section]) => [number, patchesOf(section)]));
}

/**
 * @param {Patch} pixels emptied
 * @returns {Patch[]} its parts that touch each other, corners included
 */
function patchesOf(pixels) {
  const patches = [];
  for (const [start, place] of pixels) {
    /** @type {Patch} */
    const patch = new Map([[start, place]]);
    pixels.delete(start);
    for (const [x, y] of patch.values()) {
      for (let n = 0; n < 9; n++) {
        const key = `${x + (n % 3) - 1},${y + Math.floor(n / 3) - 1}`;
        const found = pixels.get(key);
        if (!found) continue;
        pixels.delete(key);
        patch.set(key, found);
      }
    }
    patches.push(patch);
  }
  return patches;
}

/**
 * @param {Map<number, Patch[]>} sections
 * @param {Patch} patch
 * @param {number} first number of its section
 * @param {number} farthest
 * @returns {{number: number, patch: Patch} | null}
 */
function nextOverlap(sections, patch, first, farthest) {
  for (let number = first + 1; number <= first + farthest; number++) {
    const found = (sections.get(number) ?? []).find(other => [...other.keys()].some(key => patch.has(key)));
    if (found) return { number, patch: found };
  }
  return null;
}

/**
 * Return the pixels of a section between two others, from their signed distances, each moved towards the centre between.
 *
 * @param {Patch} one
 * @param {Patch} other
 * @param {number} part of the way from one to the other, from 0 to 1
 * @param {number[]} spacing mm across and down
 * @returns {[number, number][]}
 */
function intermediate(one, other, part, spacing) {
  const [from, to] = [centreOf(one), centreOf(other)];
  const way = [to[0] - from[0], to[1] - from[1]];
  const [depthOfOne, depthOfOther] = [depthIn(one, spacing), depthIn(other, spacing)];
  const places = [...one.values(), ...other.values()];
  const [left, right] = rangeOf(places.map(([x]) => x));
  const [top, bottom] = rangeOf(places.map(([, y]) => y));
  /** @type {[number, number][]} */
  const inside = [];
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const depth = (1 - part) * depthOfOne(x - Math.round(part * way[0]), y - Math.round(part * way[1]))
        + part * depthOfOther(x + Math.round((1 - part) * way[0]), y + Math.round((1 - part) * way[1]));
      if (depth > 0) inside.push([x, y]);
    }
  }
  return inside;
}

/**
 * Return a function that gives the depth of a pixel in a patch, mm: negative outside.
 *
 * @param {Patch} patch
 * @param {number[]} spacing mm
 * @returns {(x: number, y: number) => number}
 */
function depthIn(patch, [across, down]) {
  const sides = [[-1, 0], [1, 0], [0, -1], [0, 1]];
  const half = (across + down) / 4; // the outline runs between the border pixels and those outside
  const border = [...patch.values()].filter(([x, y]) => sides.some(([i, j]) => !patch.has(`${x + i},${y + j}`)));
  return (x, y) => {
    let nearest = Infinity;
    for (const [i, j] of border) nearest = Math.min(nearest, Math.hypot((x - i) * across, (y - j) * down));
    return patch.has(`${x},${y}`) ? nearest + half : half - nearest;
  };
}

/** @param {Patch} patch */
function centreOf(patch) {
  let [x, y] = [0, 0];
  for (const [i, j] of patch.values()) [x, y] = [x + i, y + j];
  return [x / patch.size, y / patch.size];
}

/** @param {number[]} values */
function rangeOf(values) {
  return values.reduce(([low, high], one) => [Math.min(low, one), Math.max(high, one)], [Infinity, -Infinity]);
}
