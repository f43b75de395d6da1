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
 * @property {boolean} proposed whether the model marked any of it
 *
 * @typedef {Map<number, number | null>} Confidences of the model, by index of each voxel that it marked as a finding;
 *   null in those that it did not judge
 */

/** @typedef {{voxels: ArrayLike<number>, confidence: number | null}} Listed */

/** @type {(one: Listed, other: Listed) => number} */
const bySize = (one, other) => other.voxels.length - one.voxels.length || one.voxels[0] - other.voxels[0];

/**
 * Ways to order the findings: the most confident first, then the largest; or the largest first.
 *
 * @type {{confidence: (one: Listed, other: Listed) => number, size: (one: Listed, other: Listed) => number}}
 */
export const ORDERS = {
  confidence: (one, other) => (other.confidence ?? -1) - (one.confidence ?? -1) || bySize(one, other),
  size: bySize,
};

/**
 * Return the confidence of the model in each voxel of its findings.
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
    raise(proposed, (slice * rows + row) * columns + column, confidence);
  }
  const confidences = new Map();
  if (!proposed.size) return confidences;
  for (const finding of listFindings(voxels, size)) {
    const { confidence, proposed: isProposed } = judgement(finding, proposed);
    if (isProposed) for (const index of finding) confidences.set(index, confidence);
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
    .map(finding => ({ voxels: finding, ...judgement(finding, confidences) }))
    .sort(ORDERS.confidence);
}

/**
 * Return the index of the finding that follows one; the number of findings after the last.
 *
 * @param {Listed[]} findings in order
 * @param {Listed | null} shown which may have been removed
 * @param {(one: Listed, other: Listed) => number} order of the findings
 */
export function indexAfter(findings, shown, order = ORDERS.confidence) {
  const next = shown ? findings.findIndex(one => order(shown, one) < 0) : 0;
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
 * Return a volume as text, in ml from a tenth of a millilitre.
 *
 * @param {number} mm3
 */
export function volumeText(mm3) {
  if (mm3 < 99.5) return `${Math.round(mm3)} mm³`;
  return `${(mm3 / 1000).toFixed(mm3 < 995 ? 2 : 1)} ml`;
}

/**
 * @param {ArrayLike<number>} voxels
 * @param {Confidences} confidences
 * @returns {{confidence: number | null, proposed: boolean}}
 */
function judgement(voxels, confidences) {
  let [found, proposed] = [-1, false];
  for (let n = 0; confidences.size && n < voxels.length; n++) {
    const confidence = confidences.get(voxels[n]);
    if (confidence === undefined) continue;
    proposed = true;
    found = Math.max(found, confidence ?? -1);
  }
  return { confidence: found < 0 ? null : found, proposed };
}

/**
 * @param {Confidences} confidences
 * @param {number} index
 * @param {number | null} confidence
 */
function raise(confidences, index, confidence) {
  const known = confidences.get(index) ?? null;
  confidences.set(index, known === null || confidence === null ? (known ?? confidence) : Math.max(known, confidence));
}
