/** Findings of the mask with the model's confidence in each, in the order in which they are shown. */

import { listFindings } from './findings.js';

/**
 * @typedef {object} Proposal finding of the model
 * @property {[column: number, row: number, slice: number]} voxel in it
 * @property {number | null} confidence that it is a lesion, from 0 to 1; null if it was not judged
 *
 * @typedef {object} Finding
 * @property {number[]} voxels indices
 * @property {number | null} confidence of the model that it is a lesion; null if it was not judged, or was drawn
 *
 * @typedef {Map<number, number>} Confidences of the model, by index of each voxel that it judged
 */

/**
 * Return the confidence of each voxel of the findings that the model proposed.
 *
 * @param {Uint8Array} voxels of the mask, column fastest, then row, then slice
 * @param {import('./findings.js').Size} size
 * @param {Proposal[]} proposals
 * @returns {Confidences}
 */
export function confidencesIn(voxels, size, proposals) {
  const [columns, rows] = size;
  const proposed = new Map();
  for (const { voxel: [column, row, slice], confidence } of proposals) {
    if (confidence !== null) raise(proposed, (slice * rows + row) * columns + column, confidence);
  }
  const confidences = new Map();
  if (!proposed.size) return confidences;
  for (const finding of listFindings(voxels, size)) {
    const confidence = highest(finding, proposed);
    if (confidence !== null) for (const index of finding) confidences.set(index, confidence);
  }
  return confidences;
}

/**
 * List the findings of a mask: the most confident first, then the largest.
 *
 * An edited finding keeps the confidence of what it overlaps.
 *
 * @param {Uint8Array} voxels column fastest, then row, then slice
 * @param {import('./findings.js').Size} size
 * @param {Confidences} confidences
 * @returns {Finding[]}
 */
export function rankFindings(voxels, size, confidences) {
  return listFindings(voxels, size)
    .map(finding => ({ voxels: finding, confidence: highest(finding, confidences) }))
    .sort(compare);
}

/**
 * Return the index of the finding that follows one in the order of `rankFindings`; the number of findings after the last.
 *
 * @param {Finding[]} findings in that order
 * @param {Finding | null} shown which may have been removed
 */
export function indexAfter(findings, shown) {
  const next = shown ? findings.findIndex(one => compare(shown, one) < 0) : 0;
  return next < 0 ? findings.length : next;
}

/**
 * Return a confidence as text, which never claims certainty.
 *
 * @param {number | null} confidence
 */
export function percent(confidence) {
  if (confidence === null) return '–';
  return `${Math.min(Math.max(Math.round(100 * confidence), 1), 99)} %`;
}

/**
 * Return the volume of a finding as text.
 *
 * @param {Finding} finding
 * @param {number} voxelVolume mm³ of one voxel
 */
export function millilitres(finding, voxelVolume) {
  return `${((finding.voxels.length * voxelVolume) / 1000).toFixed(2)} ml`;
}

/**
 * @param {Finding} one
 * @param {Finding} other
 */
function compare(one, other) {
  return (
    (other.confidence ?? -1) - (one.confidence ?? -1)
    || other.voxels.length - one.voxels.length
    || one.voxels[0] - other.voxels[0]
  );
}

/**
 * @param {number[]} voxels
 * @param {Confidences} confidences
 * @returns {number | null}
 */
function highest(voxels, confidences) {
  let found = -1;
  if (confidences.size) for (const index of voxels) found = Math.max(found, confidences.get(index) ?? -1);
  return found < 0 ? null : found;
}

/**
 * @param {Confidences} confidences
 * @param {number} index
 * @param {number} confidence
 */
function raise(confidences, index, confidence) {
  confidences.set(index, Math.max(confidences.get(index) ?? 0, confidence));
}
