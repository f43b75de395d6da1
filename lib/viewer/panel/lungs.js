/** Where lesions of the lungs can be, and the middle of the body; the server finds both, once for a scan. */

import { fetchLungs } from './server.js';
import { indicesOf } from './runs.js';

/**
 * @typedef {import('./findings.js').Size} Size
 *
 * @typedef {object} Region mask on every n-th voxel of the volume
 * @property {Size} size
 * @property {Size} start its first voxel in the volume
 * @property {Size} steps voxels of the volume from one to the next
 * @property {number[]} runs
 */

/** @type {{series: string, lungs: Promise<Lungs>} | null} of the scan that was asked for last */
let latest = null;

export class Lungs {
  /** @param {{midline: number | null, region: Region | null}} found */
  constructor({ midline, region }) {
    /** LPS mm; null where no lungs are seen */
    this.midline = midline;
    this.region = region;
    const [columns, rows, slices] = region?.size ?? [0, 0, 0];
    this.inside = new Uint8Array(columns * rows * slices);
    for (const index of indicesOf(region?.runs ?? [])) this.inside[index] = 1;
  }

  /**
   * Return whether a voxel is in the lungs: the mask is interpolated, so that its border is smooth.
   *
   * @param {Size} place
   */
  contains(place) {
    if (!this.region) return true;
    const { size: [columns, rows, slices], start, steps } = this.region;
    const x = inside((place[0] - start[0]) / steps[0], columns);
    const y = inside((place[1] - start[1]) / steps[1], rows);
    const z = inside((place[2] - start[2]) / steps[2], slices);
    const [left, top, first] = [Math.floor(x), Math.floor(y), Math.floor(z)];
    let share = 0; // of the eight around it; a brush asks for thousands of voxels
    for (let k = first; k <= Math.ceil(z); k++) {
      for (let j = top; j <= Math.ceil(y); j++) {
        for (let i = left; i <= Math.ceil(x); i++) {
          const weight = (1 - Math.abs(x - i)) * (1 - Math.abs(y - j)) * (1 - Math.abs(z - k));
          share += weight * this.inside[(k * rows + j) * columns + i];
        }
      }
    }
    return share >= 0.5;
  }
}

/**
 * Return a fractional place of a grid, or the nearest one in it.
 *
 * @param {number} place
 * @param {number} length
 */
function inside(place, length) {
  return Math.min(Math.max(place, 0), length - 1);
}

/**
 * Return the lungs of a scan.
 *
 * @param {string} series SeriesInstanceUID
 * @returns {Promise<Lungs>}
 */
export function lungsOf(series) {
  if (latest?.series !== series) {
    const lungs = fetchLungs(series).then(found => new Lungs(found));
    latest = { series, lungs };
    lungs.catch(() => {
      if (latest?.lungs === lungs) latest = null; // asked again next time
    });
  }
  return latest.lungs;
}
