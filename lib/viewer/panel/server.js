/** What is asked of the server. Every failure is an Error whose message is a sentence for the user. */

const CLIENT_KEY = 'lunglabel.client';

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error('The server does not answer. Your mask is still here; try again when the server is back.');
  }
  if (!response.ok) throw new Error(sentence(await response.text(), response.status));
  return response;
}

/** The sentence in a refusal. */
function sentence(body, status) {
  try {
    const { detail } = JSON.parse(body);
    if (typeof detail === 'string') return detail;
  } catch {
    // The HTML error page of a proxy.
  }
  return `The server responded with HTTP ${status} and no reason; see logs/app.log in the workspace.`;
}

/**
 * @returns {Promise<object>} cases, labelled, model_version, model_problem, training, verdict; kept: the version kept
 *   last with its verdict, if it is not in use; previous: the version that was in use before
 */
export async function fetchStatus() {
  return (await request('/viewer/status')).json();
}

/**
 * @returns {Promise<{label: object | null, candidates: object[]}>} number, time, annotator and so on of the label of a
 *   series, if it is not damaged, and what others have marked where that is several things
 */
export async function fetchStored(series) {
  const found = await (await request(`/viewer/case?${new URLSearchParams({ image: series })}`)).json();
  if (found.damaged?.length) throw new Error(found.damaged[0]);
  return found;
}

/** @returns {Promise<Uint8Array>} voxels of a stored label, in the order of the series' volume */
export async function fetchLabelVoxels(series, number) {
  const response = await request(`/viewer/label?${new URLSearchParams({ image: series, number })}`);
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * @param {string} series SeriesInstanceUID
 * @param {Uint8Array} voxels of the whole image
 * @param {object} params kept with the label
 */
export async function putLabel(series, voxels, params) {
  const form = new FormData();
  form.append('params', JSON.stringify(params));
  form.append('label', new Blob([voxels]), 'label.bin');
  const query = new URLSearchParams({ image: series, tag: 'final' });
  await request(`/datastore/label?${query}`, { method: 'PUT', body: form });
}

/** @returns {Promise<Record<string, {description: string}>>} ways to choose the next sample, by name */
export async function fetchStrategies() {
  return (await (await request('/info/')).json()).strategies;
}

/**
 * @param {string} strategy
 * @returns {Promise<object>} the image to do next: StudyInstanceUID, SeriesInstanceUID …, and "review" if it is labelled
 *   already; empty when there is none
 */
export async function fetchNextSample(strategy) {
  const asker = json({ client_id: clientId() });
  return (await request(`/activelearning/${encodeURIComponent(strategy)}`, asker)).json();
}

/** Tells this browser from others, so that no image is offered to two people. */
function clientId() {
  localStorage[CLIENT_KEY] ??= `ohif-${Math.random().toString(36).slice(2)}`;
  return localStorage[CLIENT_KEY];
}

/** @returns {Promise<Blob>} picture of slices with the model's mask and its attention map */
export async function fetchAttentionPicture(series) {
  return (await request(`/attention/${encodeURIComponent(series)}`)).blob();
}

export async function startTraining() {
  await request('/train/lung_tumor', json({}));
}

export async function stopTraining() {
  await request('/train/', { method: 'DELETE' });
}

/** Let a version of the model serve. */
export async function serveVersion(version, by) {
  await request(`/model/lung_tumor/serve?${new URLSearchParams({ version, by })}`, { method: 'POST' });
}

function json(content) {
  return { method: 'POST', body: JSON.stringify(content), headers: { 'Content-Type': 'application/json' } };
}

/**
 * Watch the inference requests of MONAI Label's own panel, which says nothing but "failed" when one fails.
 *
 * @param {() => void} started
 * @param {(problem: string | null, told: {model_version: string, warnings: string[] | null} | null) => void} ended
 *   with what went wrong, if anything, or with what the server tells of the mask
 * @returns {() => void} aborts what runs: its mask would be put on whatever is open when it comes
 */
export function watchInference(started, ended) {
  const running = new Set();
  const { open } = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    if (method.toUpperCase() === 'POST' && new URL(url, location).pathname.startsWith('/infer/')) {
      this.addEventListener('loadstart', () => {
        running.add(this);
        started();
      });
      this.addEventListener('loadend', () => {
        running.delete(this);
        ended(this.status === 200 ? null : problemOf(this), JSON.parse(this.getResponseHeader('Infer-Params')));
      });
    }
    return open.call(this, method, url, ...rest);
  };
  return () => running.forEach(xhr => xhr.abort());
}

function problemOf(xhr) {
  if (!xhr.status) return 'The run was interrupted, or the server does not answer.';
  return sentence(new TextDecoder().decode(xhr.response), xhr.status);
}
