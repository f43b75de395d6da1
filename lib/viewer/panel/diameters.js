/**
 * Diameters of a finding, as in the lesion table of the server (lib/exports/lesion_table.py); both are tested against
 * tests/fixtures/diameters.json.
 */

import { placeOf } from './voxel_index.js';

const EQUAL_MM = 1e-6; // rounding errors must not decide which of two diameters is longer

/**
 * @typedef {object} Grid of a volume
 * @property {import('./findings.js').Size} size voxels along columns, rows, slices
 * @property {[number, number, number]} spacing mm between voxels along each
 * @property {number} axial the axis along which axial sections follow each other: 0, 1 or 2
 *
 * @typedef {[number, number]} Point in a section, mm
 */

/**
 * Return the axis that is closest to the patient's long axis.
 *
 * @param {ArrayLike<number>} direction of columns, rows and slices, one after the other, in patient coordinates
 * @returns {number} 0 for columns, 1 for rows, 2 for slices
 */
export function axialAxis(direction) {
  const along = [2, 5, 8].map(place => Math.abs(direction[place]));
  return along.lastIndexOf(Math.max(...along));
}

/**
 * Return the longest axial diameter of a finding, between outer edges of its pixels, and the extent at right angles to it
 * in the same section.
 *
 * @param {ArrayLike<number>} voxels indices
 * @param {Grid} grid
 * @returns {{longest: number, perpendicular: number}} mm
 */
export function diameters(voxels, grid) {
  let widest = { longest: 0, perpendicular: 0 };
  for (const pixels of sections(voxels, grid)) {
    const found = ofSection(pixels, grid);
    if (isWider(found, widest)) widest = found;
  }
  return widest;
}

/**
 * @param {ArrayLike<number>} voxels
 * @param {Grid} grid
 * @returns {Iterable<Map<number, [number, number]>>} for each section, the first and last pixel of each of its lines: the
 *   others are between them
 */
function sections(voxels, { size, axial }) {
  /** @type {Map<number, Map<number, [number, number]>>} */
  const found = new Map();
  const [one, other] = [0, 1, 2].filter(axis => axis !== axial);
  for (let n = 0; n < voxels.length; n++) {
    const place = placeOf(voxels[n], size);
    const lines = found.get(place[axial]) ?? new Map();
    found.set(place[axial], lines);
    const ends = lines.get(place[other]);
    if (!ends) lines.set(place[other], [place[one], place[one]]);
    else lines.set(place[other], [Math.min(ends[0], place[one]), Math.max(ends[1], place[one])]);
  }
  return found.values();
}

/**
 * @param {Map<number, [number, number]>} lines
 * @param {Grid} grid
 */
function ofSection(lines, { spacing, axial }) {
  const [width, height] = [0, 1, 2].filter(axis => axis !== axial).map(axis => spacing[axis]);
  /** @type {Point[]} */
  const edges = [];
  for (const [line, ends] of lines) {
    for (const pixel of ends) {
      const [x, y] = [pixel * width, line * height];
      edges.push([x - width / 2, y], [x + width / 2, y], [x, y - height / 2], [x, y + height / 2]);
    }
  }
  return acrossHull(convexHull(edges));
}

/**
 * Return whether a diameter is longer than another, or equally long with a longer one at right angles to it.
 *
 * @param {{longest: number, perpendicular: number}} one
 * @param {{longest: number, perpendicular: number}} other
 */
function isWider(one, other) {
  const longer = one.longest - other.longest;
  return longer > EQUAL_MM || (longer > -EQUAL_MM && one.perpendicular > other.perpendicular);
}

/** @param {Point[]} hull */
function acrossHull(hull) {
  let widest = { longest: 0, perpendicular: 0 };
  for (const [first, from] of hull.entries()) {
    for (const to of hull.slice(first + 1)) {
      const longest = Math.hypot(to[0] - from[0], to[1] - from[1]);
      if (longest < widest.longest - EQUAL_MM) continue;
      const found = { longest, perpendicular: across(hull, from, to) };
      if (isWider(found, widest)) widest = found;
    }
  }
  return widest;
}

/**
 * Return the extent of a hull at right angles to a line.
 *
 * @param {Point[]} hull
 * @param {Point} from
 * @param {Point} to
 */
function across(hull, from, to) {
  const apart = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const along = hull.map(([x, y]) => (y * (to[0] - from[0]) - x * (to[1] - from[1])) / apart);
  return Math.max(...along) - Math.min(...along);
}

/**
 * Return the corners of the convex hull of some points (Andrew's monotone chain).
 *
 * @param {Point[]} points
 */
function convexHull(points) {
  const sorted = [...points].sort((one, other) => one[0] - other[0] || one[1] - other[1]);
  return [...chain(sorted), ...chain(sorted.reverse())];
}

/**
 * @param {Point[]} points
 * @returns {Point[]} the corners on one side
 */
function chain(points) {
  /** @type {Point[]} */
  const corners = [];
  for (const point of points) {
    while (corners.length > 1 && turn(corners[corners.length - 2], corners[corners.length - 1], point) <= 0) corners.pop();
    corners.push(point);
  }
  return corners.slice(0, -1);
}

/**
 * @param {Point} a
 * @param {Point} b
 * @param {Point} c
 * @returns {number} over 0 for a turn to the left
 */
function turn(a, b, c) {
  return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
}
