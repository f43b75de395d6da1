/** Compares a stored mask with the one on the screen. */

import { listFindings } from './findings.js';

/**
 * Return how much two masks agree.
 *
 * @param {Uint32Array} stored indices of its voxels
 * @param {{known: Uint8Array, labelled: number}} mask on the screen, and its number of voxels
 * @returns {{dice: number, onlyStored: number, onlyMask: number}} voxels; Dice from 0 to 1, 1 if both are empty
 */
export function compare(stored, { known, labelled }) {
  let common = 0;
  for (const index of stored) if (known[index]) common += 1;
  const both = stored.length + labelled;
  return { dice: both ? (2 * common) / both : 1, onlyStored: stored.length - common, onlyMask: labelled - common };
}

/**
 * List the places where two masks differ.
 *
 * @param {Uint32Array} stored indices of its voxels
 * @param {Uint8Array} known mask on the screen, 0 and 1
 * @param {import('./findings.js').Size} size of the volume
 * @returns {number[][]} connected voxels that are in one mask only, the largest place first
 */
export function differences(stored, known, size) {
  const differing = known.slice();
  for (const index of stored) differing[index] = 1 - differing[index];
  return listFindings(differing, size);
}
