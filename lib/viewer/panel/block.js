/** A box of a mask around some voxels, to work on a finding without a look at the rest of the scan. */

import { indexOf, placeOf } from './voxel_index.js';

/** @typedef {[number, number, number]} Triple along columns, rows, slices */

export class Block {
  /**
   * @param {Uint8Array} mask of the whole volume, column fastest, then row, then slice
   * @param {Triple} size of it
   * @param {ArrayLike<number>} voxels indices
   * @param {Triple} margin voxels around them
   */
  constructor(mask, size, voxels, margin) {
    this.mask = mask;
    this.whole = size;
    const low = [Infinity, Infinity, Infinity];
    const high = [-1, -1, -1];
    for (let n = 0; n < voxels.length; n++) {
      placeOf(voxels[n], size).forEach((place, axis) => {
        low[axis] = Math.min(low[axis], place);
        high[axis] = Math.max(high[axis], place);
      });
    }
    /** @type {Triple} first voxel in the volume */
    this.start = /** @type {Triple} */ (low.map((place, axis) => Math.max(place - margin[axis], 0)));
    /** @type {Triple} */
    this.size = /** @type {Triple} */ (
      high.map((place, axis) => Math.min(place + margin[axis], size[axis] - 1) - this.start[axis] + 1)
    );
    this.values = new Uint8Array(this.size[0] * this.size[1] * this.size[2]);
    for (let n = 0; n < voxels.length; n++) this.values[this.#local(placeOf(voxels[n], size))] = 1;
  }

  /**
   * Return the difference between the mask and what these voxels became.
   *
   * @param {Uint8Array} values of the block, instead of `values`; all else stays
   * @returns {{index: Uint32Array, values: Uint8Array}} of the voxels that change
   */
  changeTo(values) {
    const index = [];
    const changed = [];
    for (let local = 0; local < values.length; local++) {
      if (values[local] === this.values[local]) continue;
      const whole = this.#whole(placeOf(local, this.size));
      if (this.mask[whole] === values[local]) continue;
      index.push(whole);
      changed.push(values[local]);
    }
    return { index: Uint32Array.from(index), values: Uint8Array.from(changed) };
  }

  /** @param {Triple} place in the volume */
  #local(place) {
    return indexOf(/** @type {Triple} */ (place.map((one, axis) => one - this.start[axis])), this.size);
  }

  /** @param {Triple} place in the block */
  #whole(place) {
    return indexOf(/** @type {Triple} */ (place.map((one, axis) => one + this.start[axis])), this.whole);
  }
}
