/** Writes the outline of a lesion into the mask without touching other findings. */

import { maskOf } from './click_region.js';
import { placeOf } from './voxel_index.js';

const [EMPTY, OTHER, LESION, SENT] = [0, 1, 2, 3];

/**
 * @typedef {object} Merge
 * @property {number[]} index of the voxels that change
 * @property {number[]} values that they get
 * @property {number[]} voxels of the lesion afterwards, indices
 * @property {number} met number of voxels of the outline that belong to other findings, and stay so
 */

/**
 * Return what changes in a mask when the outline of a lesion arrives.
 *
 * Only voxels of the outline's region change. Voxels of other findings stay, and none next to them is marked, so that
 * the lesion does not grow together with them. What was painted at the lesion after the request stays as well.
 *
 * @param {Uint8Array} mask of the volume
 * @param {import('./findings.js').Size} size of the volume
 * @param {import('./click_region.js').Region} region the outline
 * @param {number[]} sent voxels of the lesion when the request was sent, which the outline replaces
 * @param {number[]} now voxels of the lesion, as it is in the mask now
 * @returns {Merge}
 */
export function mergeOutline(mask, size, region, sent, now) {
  const outline = maskOf(region);
  const box = new Neighbourhood(mask, size, region);
  for (const index of now) box.set(index, LESION);
  for (const index of sent) if (mask[index]) box.set(index, SENT);
  /** @type {Merge} */
  const merge = { index: [], values: [], voxels: [], met: 0 };
  box.forEach((index, state, place, number) => {
    if (state === OTHER) {
      merge.met += outline[number];
      return;
    }
    const before = state === EMPTY ? 0 : 1;
    const after = outline[number] ? Number(before || !box.touches(place, OTHER)) : Number(state === LESION);
    if (after) merge.voxels.push(index);
    if (after === before) return;
    merge.index.push(index);
    merge.values.push(after);
  });
  return merge;
}

/** The states of the voxels of a region, with a border of one voxel. */
class Neighbourhood {
  /**
   * @param {Uint8Array} mask of the volume
   * @param {import('./findings.js').Size} volume its size
   * @param {import('./click_region.js').Region} region
   */
  constructor(mask, volume, { offset, size }) {
    this.volume = volume;
    this.offset = offset;
    this.size = size;
    this.sides = size.map(length => length + 2);
    this.states = new Uint8Array(this.sides[0] * this.sides[1] * this.sides[2]);
    const [low, high] = [offset.map(o => Math.max(o - 1, 0)), offset.map((o, k) => Math.min(o + size[k] + 1, volume[k]))];
    for (let z = low[2]; z < high[2]; z++) {
      for (let y = low[1]; y < high[1]; y++) {
        for (let x = low[0]; x < high[0]; x++) {
          if (mask[(z * volume[1] + y) * volume[0] + x]) this.states[this.#place(x, y, z)] = OTHER;
        }
      }
    }
  }

  /**
   * @param {number} index of a voxel of the volume; ignored outside
   * @param {number} state
   */
  set(index, state) {
    const place = placeOf(index, this.volume);
    const inside = place.every((p, axis) => p >= this.offset[axis] - 1 && p <= this.offset[axis] + this.size[axis]);
    if (inside) this.states[this.#place(place[0], place[1], place[2])] = state;
  }

  /**
   * Call a function for each voxel of the region, with its index in the volume, state, place, and number in the region.
   *
   * @param {(index: number, state: number, place: number, number: number) => void} visit
   */
  forEach(visit) {
    const [[columns, rows], offset, size] = [this.volume, this.offset, this.size];
    let number = 0;
    for (let z = offset[2]; z < offset[2] + size[2]; z++) {
      for (let y = offset[1]; y < offset[1] + size[1]; y++) {
        for (let x = offset[0]; x < offset[0] + size[0]; x++) {
          const place = this.#place(x, y, z);
          visit((z * rows + y) * columns + x, this.states[place], place, number++);
        }
      }
    }
  }

  /**
   * Return whether one of the 26 neighbours of a voxel of the region has a state.
   *
   * @param {number} place
   * @param {number} state
   */
  touches(place, state) {
    const [row, slice] = [this.sides[0], this.sides[0] * this.sides[1]];
    for (const z of [-slice, 0, slice]) {
      for (const y of [-row, 0, row]) {
        for (const x of [-1, 0, 1]) if (this.states[place + z + y + x] === state) return true;
      }
    }
    return false;
  }

  /**
   * @param {number} x column in the volume
   * @param {number} y row
   * @param {number} z slice
   */
  #place(x, y, z) {
    return ((z - this.offset[2] + 1) * this.sides[1] + y - this.offset[1] + 1) * this.sides[0] + x - this.offset[0] + 1;
  }
}
