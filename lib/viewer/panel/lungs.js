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
    const { size, start, steps } = this.region;
    const at = place.map((one, axis) => Math.min(Math.max((one - start[axis]) / steps[axis], 0), size[axis] - 1));
    const low = at.map(Math.floor);
    let share = 0;
    for (let corner = 0; corner < 8; corner++) {
      const upper = [corner & 1, (corner >> 1) & 1, corner >> 2];
      const weight = at.reduce((product, one, axis) => product * (upper[axis] ? one - low[axis] : 1 - one + low[axis]), 1);
      if (!weight) continue;
      const [x, y, z] = low.map((one, axis) => one + upper[axis]);
      share += weight * this.inside[(z * size[1] + y) * size[0] + x];
    }
    return share >= 0.5;
  }
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
