/** Ascending indices as runs, few numbers for a mask: how many are skipped, then how many follow each other, and so on. */

/**
 * @param {ArrayLike<number>} indices ascending, without repetition
 * @returns {number[]}
 */
export function runsOf(indices) {
  const runs = [];
  let end = 0;
  for (let n = 0; n < indices.length;) {
    const start = n;
    do n += 1; while (n < indices.length && indices[n] === indices[n - 1] + 1);
    runs.push(indices[start] - end, n - start);
    end = indices[n - 1] + 1;
  }
  return runs;
}

/**
 * Return the runs of the voxels of a mask that are 1.
 *
 * @param {Uint8Array} mask
 * @returns {number[]}
 */
export function runsIn(mask) {
  const runs = [];
  let end = 0;
  for (let start = mask.indexOf(1); start >= 0; start = mask.indexOf(1, end)) {
    const next = mask.indexOf(0, start);
    runs.push(start - end, (next < 0 ? mask.length : next) - start);
    if (next < 0) break;
    end = next;
  }
  return runs;
}

/** The runs of a mask that is edited: only those of the slices that changed are found again. */
export class SliceRuns {
  /** @type {Map<number, number[]>} by slice: where each run in it starts and ends, as indices of the whole mask */
  #bounds = new Map();

  /**
   * @param {Uint8Array} mask itself, not a copy
   * @param {number} sliceLength voxels of a slice
   */
  constructor(mask, sliceLength) {
    this.mask = mask;
    this.sliceLength = sliceLength;
  }

  /** @param {ArrayLike<number>} indices of voxels that have changed */
  changed(indices) {
    for (let n = 0; n < indices.length; n++) this.#bounds.delete(Math.floor(indices[n] / this.sliceLength));
  }

  /** @returns {number[]} the same as `runsIn` the whole mask */
  all() {
    const runs = [];
    let end = 0;
    for (let slice = 0; slice * this.sliceLength < this.mask.length; slice++) {
      const bounds = this.#boundsOf(slice);
      for (let n = 0; n < bounds.length; n += 2) {
        if (runs.length && bounds[n] === end) runs[runs.length - 1] += bounds[n + 1] - end; // on from the slice before
        else runs.push(bounds[n] - end, bounds[n + 1] - bounds[n]);
        end = bounds[n + 1];
      }
    }
    return runs;
  }

  /** @param {number} slice */
  #boundsOf(slice) {
    const known = this.#bounds.get(slice);
    if (known) return known;
    let place = slice * this.sliceLength;
    const bounds = runsIn(this.mask.subarray(place, place + this.sliceLength)).map(length => (place += length));
    this.#bounds.set(slice, bounds);
    return bounds;
  }
}

/**
 * @param {number[]} runs
 * @returns {number[]} indices
 */
export function indicesOf(runs) {
  const indices = [];
  let next = 0;
  for (let n = 0; n + 1 < runs.length; n += 2) {
    next += runs[n];
    for (const end = next + runs[n + 1]; next < end; next++) indices.push(next);
  }
  return indices;
}
