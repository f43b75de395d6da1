/** A stored mask, kept as the indices of its voxels: few of a volume are labelled. */

import { placeOf } from './voxel_index.js';

/** @typedef {import('./findings.js').Size} Size */

export class SparseMask {
  /** @type {(Map<number, [number, number][]> | undefined)[]} pixels of the sections across each axis, by number */
  #sections = [];

  /**
   * @param {Uint8Array} voxels of the whole volume, column fastest, then row, then slice
   * @param {Size} size of it
   */
  constructor(voxels, size) {
    this.size = size;
    /** @type {number[]} */
    const index = [];
    for (let one = voxels.indexOf(1); one >= 0; one = voxels.indexOf(1, one + 1)) index.push(one);
    this.index = Uint32Array.from(index);
  }

  /**
   * Return the pixels of the mask in a section of the volume.
   *
   * @param {number} axis across the section
   * @param {number} number of the section
   * @returns {[number, number][]} places along the other two axes
   */
  section(axis, number) {
    this.#sections[axis] ??= this.#cut(axis);
    return this.#sections[axis].get(number) ?? [];
  }

  /** @param {number} axis */
  #cut(axis) {
    const [u, v] = [0, 1, 2].filter(one => one !== axis);
    /** @type {Map<number, [number, number][]>} */
    const sections = new Map();
    for (const index of this.index) {
      const place = placeOf(index, this.size);
      const section = sections.get(place[axis]) ?? [];
      section.push([place[u], place[v]]);
      sections.set(place[axis], section);
    }
    return sections;
  }
}
