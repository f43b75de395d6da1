/** Keeps a copy of the mask, and lists and measures its findings; runs in a worker. */

import { fillBetween } from './between_slices.js';
import { diameters } from './diameters.js';
import { listFindings } from './findings.js';
import { NO_FORMER, numberFindings, numbersIn } from './lesion_numbers.js';
import { fillHoles, reshape } from './morphology.js';
import { rankFindings } from './ranked_findings.js';

/**
 * @typedef {import('./diameters.js').Grid} Grid
 *
 * @typedef {object} Measured finding
 * @property {Uint32Array} voxels indices
 * @property {number} number that it keeps in all labels of the scan; 0 for a rejected finding
 * @property {number | null} confidence of the model that it is a lesion; null if it was not judged, or was drawn
 * @property {boolean} proposed whether the model marked any of it
 * @property {number} longest diameter, mm
 * @property {number} perpendicular diameter, mm
 * @property {[number, number, number]} centre column, row and slice of the centroid
 *
 * @typedef {object} Edit operation on the mask
 * @property {'between' | 'holes' | 'smooth' | 'grow' | 'shrink'} name
 * @property {number} axis along which sections are filled between
 * @property {Uint32Array | null} voxels of the finding; null for all findings
 *
 * @typedef {object} List
 * @property {Measured[]} findings of the mask
 * @property {Measured[]} rejected findings of the model of which nothing is left in the mask
 */

export class MeasuredFindings {
  /** @type {{voxels: Uint32Array, confidence: number | null}[]} findings of the model */
  #proposals = [];
  /** @type {import('./ranked_findings.js').Confidences} */
  #confidences = new Map();
  #former = NO_FORMER;

  /**
   * @param {Grid} grid
   * @param {Uint8Array} mask not copied
   */
  constructor(grid, mask) {
    this.grid = grid;
    this.mask = mask;
  }

  /**
   * @param {Uint32Array} index of each voxel that changed
   * @param {Uint8Array} values
   */
  change(index, values) {
    index.forEach((i, n) => (this.mask[i] = values[n]));
  }

  /** @param {import('./ranked_findings.js').Confidences} confidences of the model whose mask is edited */
  judge(confidences) {
    this.#confidences = confidences;
    const marked = new Uint8Array(confidences.size ? this.mask.length : 0);
    for (const index of confidences.keys()) marked[index] = 1;
    this.#proposals = listFindings(marked, this.grid.size).map(voxels => ({
      voxels: Uint32Array.from(voxels),
      confidence: confidences.get(voxels[0]) ?? null,
    }));
  }

  /** @param {import('./former_label.js').FormerLabel} former label after which the findings are numbered */
  follow({ mask, numbered, last }) {
    const numbers = mask ? numbersIn(mask, this.grid.size, numbered) : NO_FORMER.numbers;
    this.#former = { numbers, last: [...numbers.values()].reduce((most, one) => Math.max(most, one), last) };
  }

  /**
   * Return what an operation changes; the mask itself stays.
   *
   * @param {Edit} edit
   * @returns {import('./morphology.js').Change}
   */
  edit({ name, axis, voxels }) {
    const { mask, grid } = this;
    if (name === 'between') return fillBetween(mask, grid, axis);
    const findings = voxels ? [voxels] : listFindings(mask, grid.size);
    const changes = findings.map(one => (name === 'holes' ? fillHoles(mask, grid, one) : reshape(name, mask, grid, one)));
    return {
      index: Uint32Array.from(changes.flatMap(change => [...change.index])),
      values: Uint8Array.from(changes.flatMap(change => [...change.values])),
    };
  }

  /** @returns {List} */
  list() {
    const findings = rankFindings(this.mask, this.grid.size, this.#confidences);
    const numbers = numberFindings(findings.map(one => one.voxels), this.#former);
    const rejected = this.#proposals.filter(({ voxels }) => !voxels.some(index => this.mask[index]));
    return {
      findings: findings.map(({ voxels, ...about }, place) => (
        this.#measure(Uint32Array.from(voxels), { ...about, number: numbers[place] })
      )),
      rejected: rejected.map(({ voxels, confidence }) => this.#measure(voxels.slice(), { confidence, proposed: true, number: 0 })),
    };
  }

  /**
   * @param {Uint32Array} voxels
   * @param {Pick<Measured, 'confidence' | 'proposed' | 'number'>} about
   * @returns {Measured}
   */
  #measure(voxels, about) {
    return { voxels, ...about, centre: centroid(voxels, this.grid.size), ...diameters(voxels, this.grid) };
  }
}

/**
 * @param {Uint32Array} voxels
 * @param {import('./findings.js').Size} size
 * @returns {[number, number, number]} column, row, slice
 */
function centroid(voxels, [columns, rows]) {
  const sum = [0, 0, 0];
  for (const index of voxels) {
    sum[0] += index % columns;
    sum[1] += Math.floor(index / columns) % rows;
    sum[2] += Math.floor(index / (columns * rows));
  }
  return [sum[0] / voxels.length, sum[1] / voxels.length, sum[2] / voxels.length];
}
