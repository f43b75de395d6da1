/** A draft: the mask as it is painted, with all that is stored with a label, in a form that can be sent as JSON. */

import { lesionsOf } from './lesions.js';
import { indicesOf, runsOf } from './runs.js';

/** @type {WeakMap<import('./ranked_findings.js').Confidences, Draft['confidences']>} they are the same for many drafts */
const packed = new WeakMap();

/**
 * @typedef {object} Draft
 * @property {string} series SeriesInstanceUID
 * @property {string} session page that it is painted in
 * @property {number} time ms since 1970
 * @property {number | null} base number of the label that was in use when it was begun
 * @property {number} length voxels of the volume
 * @property {number[]} mask runs of its voxels
 * @property {string | null} modelVersion version of the model whose mask was edited
 * @property {{confidence: number | null, voxels: number[]}[]} confidences runs of the voxels of each
 * @property {{clicks: import('./click_session.js').Click[], lesions: number[][], current: number}} clicks runs of the voxels
 *   of each lesion
 * @property {import('./lesions.js').Lesion[]} lesions
 * @property {readonly import('./measurements.js').Measurement[]} measurements
 * @property {string} note on the label
 * @property {string} annotator
 */

/**
 * @param {import('./findings_list.js').FindingsList} list of the mask, up to date
 * @param {Pick<Draft, 'session' | 'base' | 'note' | 'annotator'>} about
 * @returns {Draft}
 */
export function draftOf(list, about) {
  const { labelmap, known, runs, state } = list.history;
  const lesions = lesionsOf(list).filter(one => one.state !== 'rejected'); // those are found again from the confidences
  return {
    ...about,
    series: String(labelmap.series),
    time: Date.now(),
    length: known.length,
    mask: runs.all(),
    modelVersion: state.modelVersion,
    confidences: packConfidences(state.confidences),
    clicks: { ...state.clicks, lesions: Array.from(state.clicks.lesions, packVoxels) },
    measurements: state.measurements,
    lesions: [...lesions, ...state.said.carried],
  };
}

/**
 * Return what a draft puts into the mask and its history.
 *
 * @param {Draft} draft
 */
export function contentOf({ length, mask, confidences, clicks, ...draft }) {
  const voxels = new Uint8Array(length);
  for (const index of indicesOf(mask)) voxels[index] = 1;
  return {
    ...draft,
    voxels,
    confidences: new Map(confidences.flatMap(one => (
      indicesOf(one.voxels).map(index => /** @type {[number, number | null]} */ ([index, one.confidence]))
    ))),
    clicks: { ...clicks, lesions: clicks.lesions.map(indicesOf) },
  };
}

/**
 * Describe a draft to the user.
 *
 * @param {Pick<Draft, 'time' | 'base' | 'annotator' | 'modelVersion'>} draft
 * @param {number | null} current number of the label in use now
 */
export function describeDraft({ time, base, annotator, modelVersion }, current) {
  const when = new Date(time).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
  const whose = annotator ? `draft by ${annotator}` : 'your draft';
  const begun = base === null ? 'no label' : `label ${base}`;
  const model = modelVersion ? ` and the mask of model ${modelVersion}` : '';
  const since = current === base || current === null ? '' : `; label ${current} was submitted since`;
  return `Not submitted: ${whose} of ${when}, begun from ${begun}${model}${since}.`;
}

/** @param {number[] | undefined} voxels in any order */
function packVoxels(voxels) {
  return runsOf([...voxels ?? []].sort((one, other) => one - other));
}

/** @param {import('./ranked_findings.js').Confidences} confidences */
function packConfidences(confidences) {
  const known = packed.get(confidences) ?? groupedByConfidence(confidences);
  packed.set(confidences, known);
  return known;
}

/** @param {import('./ranked_findings.js').Confidences} confidences */
function groupedByConfidence(confidences) {
  /** @type {Map<number | null, number[]>} */
  const voxels = new Map();
  for (const [index, confidence] of confidences) {
    const known = voxels.get(confidence) ?? [];
    known.push(index);
    voxels.set(confidence, known);
  }
  return [...voxels].map(([confidence, indices]) => ({ confidence, voxels: packVoxels(indices) }));
}
