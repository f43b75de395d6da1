/** A draft: the mask as it is painted, with all that is stored with a label, in a form that a browser can keep. */

import { lesionsOf } from './lesions.js';

/**
 * @typedef {object} Draft
 * @property {string} series SeriesInstanceUID
 * @property {string} session page that it is painted in
 * @property {number} time ms since 1970
 * @property {number | null} base number of the label that was in use when it was begun
 * @property {number} length voxels of the volume
 * @property {Uint32Array} voxels that are labelled, indices
 * @property {string | null} modelVersion
 * @property {import('./ranked_findings.js').Confidences} confidences
 * @property {import('./click_session.js').Session} clicks
 * @property {import('./lesions.js').Lesion[]} lesions
 * @property {readonly import('./measurements.js').Measurement[]} [measurements]
 * @property {string} note on the label
 */

/**
 * @param {import('./findings_list.js').FindingsList} list of the mask, up to date
 * @param {Pick<Draft, 'session' | 'base' | 'note'>} about
 * @returns {Draft}
 */
export function draftOf(list, about) {
  const { labelmap, known, state } = list.history;
  const lesions = lesionsOf(list).filter(one => one.state !== 'rejected'); // those are found again from the confidences
  return {
    ...about,
    series: String(labelmap.series),
    time: Date.now(),
    length: known.length,
    voxels: labelled(known),
    modelVersion: state.modelVersion,
    confidences: state.confidences,
    clicks: state.clicks,
    measurements: state.measurements,
    lesions: [...lesions, ...list.carried],
  };
}

/**
 * Return all voxels of the mask of a draft.
 *
 * @param {Draft} draft
 */
export function maskOf({ length, voxels }) {
  const mask = new Uint8Array(length);
  for (const index of voxels) mask[index] = 1;
  return mask;
}

/**
 * Describe a draft to the user.
 *
 * @param {Draft} draft
 * @param {number | null} current number of the label in use now
 */
export function describeDraft({ time, base }, current) {
  const when = new Date(time).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
  const since = current === base ? '' : `; label ${current} has been stored since`;
  return `Not submitted: your draft of ${when}, begun from ${base === null ? 'no label' : `label ${base}`}${since}.`;
}

/** @param {Uint8Array} mask */
function labelled(mask) {
  const voxels = [];
  for (let index = mask.indexOf(1); index >= 0; index = mask.indexOf(1, index + 1)) voxels.push(index);
  return Uint32Array.from(voxels);
}
