/** Requests to the server. Every failure is an Error whose message is a sentence for the user. */

import { ROOT } from './root.js';

/**
 * @typedef {object} StoredLabel label of a series
 * @property {number} number
 * @property {string} tag "final" of a person, "initial" or "candidate" of another program, "original" of the model
 * @property {string} [annotator]
 * @property {string} [note]
 * @property {number} time seconds since 1970
 * @property {number | null} [voxels]
 * @property {Source | null} [source] object of another program that it was made of
 * @property {string | null} [problem] why it cannot be used
 * @property {string | null} [model_version] version of the model whose mask was edited
 * @property {import('./ranked_findings.js').Proposal[] | null} [findings] of that model
 * @property {import('./lesions.js').Lesion[] | null} [lesions] what its annotator said about each finding
 * @property {readonly import('./measurements.js').Measurement[] | null} [measurements]
 * @property {import('./lesion_numbers.js').NumberedLesion[] | null} [lesion_numbers]
 *
 * @typedef {Pick<Partial<StoredLabel>, 'model_version' | 'findings' | 'lesions' | 'measurements'>} ModelOrigin the model behind a mask
 *
 * @typedef {object} Source object of another program
 * @property {string} kind such as "RTSTRUCT"
 * @property {string} when it was made; may be empty
 * @property {string | null} [creator]
 * @property {string | null} [description]
 * @property {string[] | null} [regions]
 * @property {string | null} [file]
 *
 * @typedef {Source & {reason: string}} RefusedObject that became no label, and why
 *
 * @typedef {object} Stored
 * @property {StoredLabel | null} label in use
 * @property {number} last_lesion_number the highest that a lesion of the series was given so far
 * @property {StoredLabel[]} stored all labels, the latest first
 * @property {RefusedObject[]} refused
 * @property {string[]} damaged what is damaged, a sentence each
 * @property {Skipped | null} skipped
 * @property {LabelReview | null} review of the label in use
 * @property {OtherUser[]} others who work on the scan
 *
 * @typedef {object} LabelReview
 * @property {'approved' | 'sent back' | 'waiting for review' | null} state
 * @property {string | null} by
 * @property {number | null} time seconds since 1970
 * @property {string | null} note
 * @property {boolean} may_review whether the user may review it
 *
 * @typedef {object} OtherUser
 * @property {string} name
 * @property {'open' | 'draft' | 'offered'} sign of the work on the scan
 *
 * @typedef {object} Skipped image that was put aside
 * @property {string} reason
 * @property {string} by
 *
 * @typedef {object} Sample image to label next
 * @property {string} StudyInstanceUID
 * @property {string} SeriesInstanceUID
 * @property {boolean} [review] whether it is labelled already
 * @property {'sent back' | 'waiting for review'} [review_state] of its label, which comes before all others
 * @property {number} [disagreement] one minus the Dice of label and model
 *
 * @typedef {object} Status
 * @property {number} cases
 * @property {number} labelled
 * @property {number} not_in_ohif number of cases that only 3D Slicer can show
 * @property {string | null} model_version
 * @property {string | null} model_problem
 * @property {import('./account.js').User | null} user who is logged in; null while log-in is off
 * @property {Versions[]} versions of each model, the automatic one first
 * @property {{epoch?: number, total_epochs?: number, text: string} | null} training
 * @property {string | null} verdict on the last training that was completed
 * @property {string[]} preferences what blinded readers prefer of the versions that can be used, a sentence each
 * @property {string | null} interrupted why the last training was not completed
 * @property {number} damaged number of damaged files
 *
 * @typedef {object} Versions
 * @property {string} model
 * @property {string | null} in_use
 * @property {{version: string, verdict: string} | null} kept the latest version, if it is not in use
 * @property {string | null} previous version that was in use before
 *
 * @typedef {object} CaseState
 * @property {string} series SeriesInstanceUID
 * @property {string} description of the series
 * @property {string} state
 * @property {string | null} reason why it was skipped or its label sent back
 *
 * @typedef {ModelOrigin & {warnings?: string[] | null}} InferParams
 */

const LOGGED_OUT = 401; // status of HTTP

/** What is said while the server is away. */
export const AWAY = 'The server does not respond. Your mask is still here; try again when the server is back.';

/** The server wants a log-in first. */
export class LoggedOutError extends Error {}

const CLIENT_KEY = 'lunglabel.client';

/**
 * @param {string} path
 * @param {RequestInit} [options]
 */
export async function request(path, options) {
  let response;
  try {
    response = await fetch(ROOT + path, options);
  } catch {
    throw new Error(AWAY);
  }
  if (response.status === LOGGED_OUT) {
    throw new LoggedOutError('Your session has ended. Log in again in another tab; your mask is still here.');
  }
  if (!response.ok) throw new Error(sentence(await response.text(), response.status));
  return response;
}

/**
 * Return the sentence of an error response.
 *
 * @param {string} body
 * @param {number} status of HTTP
 * @returns {string}
 */
export function sentence(body, status) {
  try {
    const { detail } = JSON.parse(body);
    if (typeof detail === 'string') return detail;
  } catch {
    // The HTML error page of a proxy.
  }
  return `The server responded with HTTP ${status} and no reason; see logs/app.log in the workspace.`;
}

/** @returns {Promise<Status>} */
export async function fetchStatus() {
  return (await request('/viewer/status')).json();
}

/**
 * @param {string} series SeriesInstanceUID
 * @returns {Promise<Stored>} everything that is stored for a series
 */
export async function fetchStored(series) {
  return (await request(`/viewer/case?${new URLSearchParams({ image: series })}`)).json();
}

/** @returns {Promise<Record<string, CaseState[]>>} usable series of each study, by StudyInstanceUID */
export async function fetchStudyStates() {
  return (await request('/viewer/studies')).json();
}

/**
 * @param {string} series SeriesInstanceUID
 * @param {number} number of the label
 * @returns {Promise<Uint8Array>} voxels of a stored label, in the order of the series' volume
 */
export async function fetchLabelVoxels(series, number) {
  const response = await request(`/viewer/label?${new URLSearchParams({ image: series, number: String(number) })}`);
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * @param {string} series SeriesInstanceUID
 * @returns {Promise<{midline: number | null, region: import('./lungs.js').Region | null}>} left-right position of the middle of
 *   the body, LPS mm, and where lesions of the lungs can be; null where no lungs are seen
 */
export async function fetchLungs(series) {
  return (await request(`/viewer/lungs?${new URLSearchParams({ image: series })}`)).json();
}

/**
 * @param {string} series SeriesInstanceUID
 * @param {Uint8Array<ArrayBuffer>} voxels of the whole image
 * @param {object} params kept with the label
 */
export async function putLabel(series, voxels, params) {
  const form = new FormData();
  form.append('params', JSON.stringify(params));
  form.append('label', new Blob([voxels]), 'label.bin');
  const query = new URLSearchParams({ image: series, tag: 'final' });
  await request(`/datastore/label?${query}`, { method: 'PUT', body: form });
}

/**
 * Let the server prepare a series, so that the first click on it is as fast as the next.
 *
 * @param {string} series SeriesInstanceUID
 */
export async function prepareClicks(series) {
  await request(`/viewer/prepare?${new URLSearchParams({ image: series })}`, { method: 'POST' });
}

/**
 * Request the outline of the lesion that a user points at.
 *
 * @param {string} series SeriesInstanceUID
 * @param {object} params points on the lesion and beside it, a box, the former mask; voxels are column, row, slice
 * @param {AbortSignal} signal drops the request
 * @returns {Promise<{region: import('./click_region.js').Region, voxels: number, model_version: string, warnings: string[]}>}
 */
export async function fetchOutline(series, params, signal) {
  const body = new FormData();
  body.append('params', JSON.stringify(params));
  const path = `/infer/lung_tumor_click?${new URLSearchParams({ image: series })}`;
  return (await request(path, { method: 'POST', body, signal })).json();
}

/**
 * @param {string} series SeriesInstanceUID
 * @returns {Promise<number | null>} share of the slices that the running model has seen; null if it does not run on the series
 */
export async function fetchShareDone(series) {
  return (await (await request(`/viewer/inference?${new URLSearchParams({ image: series })}`)).json()).share;
}

/**
 * Put an image aside.
 *
 * @param {string} series SeriesInstanceUID
 * @param {string} reason empty to offer it again
 * @param {string} by name of the user
 * @returns {Promise<Skipped | null>}
 */
export async function skipImage(series, reason, by) {
  const query = new URLSearchParams({ image: series, reason, by });
  return (await (await request(`/viewer/skip?${query}`, { method: 'POST' })).json()).skipped;
}

/**
 * Say what a reviewer thinks of a label.
 *
 * @param {string} series SeriesInstanceUID
 * @param {number} number of the label
 * @param {'approve' | 'send-back'} verdict
 * @param {string} note
 */
export async function sendReview(series, number, verdict, note) {
  const query = new URLSearchParams({ image: series, number: String(number) });
  await request(`/viewer/review/${verdict}?${query}`, { method: 'POST', body: new URLSearchParams({ note }) });
}

/** @returns {Promise<Record<string, {description: string}>>} ways to choose the next sample, by name */
export async function fetchStrategies() {
  return (await (await request('/info/')).json()).strategies;
}

/**
 * @param {string} strategy
 * @param {string | null} open series that is offered after all others of its kind
 * @returns {Promise<Sample | {StudyInstanceUID?: undefined}>} empty if there is none
 */
export async function fetchNextSample(strategy, open) {
  const asker = json({ client_id: clientId(), viewer: 'ohif', open });
  return (await request(`/activelearning/${encodeURIComponent(strategy)}`, asker)).json();
}

/** Return an identifier of this browser, so that no image is offered to two people. */
function clientId() {
  localStorage[CLIENT_KEY] ??= `ohif-${Math.random().toString(36).slice(2)}`;
  return localStorage[CLIENT_KEY];
}

/**
 * @param {string} series SeriesInstanceUID
 * @returns {Promise<Blob>} picture of slices with the model's mask, its probability and its attention map
 */
export async function fetchAttentionPicture(series) {
  return (await request(`/attention/${encodeURIComponent(series)}`)).blob();
}

export async function startTraining() {
  await request('/train/lung_tumor', json({}));
}

export async function stopTraining() {
  await request('/train/', { method: 'DELETE' });
}

/**
 * Use a version of a model from now on.
 *
 * @param {string} model
 * @param {string} version
 * @param {string} by name of the user, for the history of the versions
 */
export async function serveVersion(model, version, by) {
  await request(`/model/${encodeURIComponent(model)}/serve?${new URLSearchParams({ version, by })}`, { method: 'POST' });
}

/**
 * @param {object} content
 * @returns {RequestInit}
 */
export function json(content) {
  return { method: 'POST', body: JSON.stringify(content), headers: { 'Content-Type': 'application/json' } };
}
