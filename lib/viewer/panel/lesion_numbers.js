/**
 * Numbers that lesions keep over the labels of a scan, as in lib/datastore/lesion_numbers.py; both are tested against
 * tests/fixtures/lesion_numbers.json.
 */

import { listFindings } from './findings.js';
import { indexOf } from './voxel_index.js';

/**
 * @typedef {object} Former label, after which lesions are numbered
 * @property {Map<number, number>} numbers of its lesions, by index of each voxel
 * @property {number} last the highest number that was given so far
 *
 * @typedef {object} NumberedLesion
 * @property {[column: number, row: number, slice: number]} voxel in it
 * @property {number} number
 */

/** @type {Former} */
export const NO_FORMER = { numbers: new Map(), last: 0 };

/**
 * Return the number of each labelled voxel.
 *
 * @param {Uint8Array} mask of the former label
 * @param {import('./findings.js').Size} size
 * @param {NumberedLesion[] | null} numbered its lesions; null to number them by size
 * @returns {Map<number, number>}
 */
export function numbersIn(mask, size, numbered) {
  const given = new Map((numbered ?? []).map(({ voxel, number }) => [indexOf(voxel, size), number]));
  const numbers = new Map();
  listFindings(mask, size).forEach((voxels, place) => {
    const number = numbered ? given.get(voxels.find(index => given.has(index)) ?? -1) : place + 1;
    if (number !== undefined) for (const index of voxels) numbers.set(index, number);
  });
  return numbers;
}

/**
 * Return the number of each finding: that of the former lesion which it shares most voxels with, or a new one.
 *
 * @param {ArrayLike<number>[]} findings indices of the voxels of each, the lowest first
 * @param {Former} former
 * @returns {number[]}
 */
export function numberFindings(findings, { numbers, last }) {
  /** @type {Map<number, number>} */
  const given = new Map();
  const taken = new Set();
  for (const { number, finding } of shares(findings, numbers)) {
    if (given.has(finding) || taken.has(number)) continue;
    given.set(finding, number);
    taken.add(number);
  }
  const bySize = (/** @type {number} */ one, /** @type {number} */ other) =>
    findings[other].length - findings[one].length || findings[one][0] - findings[other][0];
  const added = findings.map((_, place) => place).filter(place => !given.has(place)).sort(bySize);
  added.forEach((finding, place) => given.set(finding, last + place + 1));
  return findings.map((_, place) => Number(given.get(place)));
}

/**
 * @param {ArrayLike<number>[]} findings
 * @param {Map<number, number>} numbers
 * @returns {{number: number, finding: number, shared: number}[]} the largest share first; of equal ones the lower number,
 *   then the finding that begins first
 */
function shares(findings, numbers) {
  const found = findings.flatMap((voxels, finding) => {
    /** @type {Map<number, number>} */
    const counts = new Map();
    for (let n = 0; numbers.size && n < voxels.length; n++) {
      const number = numbers.get(voxels[n]);
      if (number !== undefined) counts.set(number, (counts.get(number) ?? 0) + 1);
    }
    return [...counts].map(([number, shared]) => ({ number, finding, shared }));
  });
  return found.sort((one, other) => other.shared - one.shared || one.number - other.number
    || findings[one.finding][0] - findings[other.finding][0]);
}
