/** Drafts on the server, which keeps them apart for each user. */

import { request } from './server.js';

const PATIENCE_MS = 10_000;

/** @typedef {import('./draft.js').Draft} Draft */

/**
 * Keep a draft instead of the former one of its page.
 *
 * @param {Draft} draft
 * @returns {Promise<string>} name of the user
 */
export async function putDraft(draft) {
  const body = new FormData();
  body.append('draft', await compressed(draft), 'draft.json.gz');
  const options = { method: 'PUT', body, signal: AbortSignal.timeout(PATIENCE_MS) };
  return (await (await request(pathOf(draft), options)).json()).user;
}

/** @param {Pick<Draft, 'series' | 'session'>} draft to remove, if the server has it */
export async function deleteDraft(draft) {
  await request(pathOf(draft), { method: 'DELETE' });
}

/**
 * @param {string} series SeriesInstanceUID
 * @param {string} session of this page, whose own draft is not returned
 * @returns {Promise<{user: string, draft: Draft | null, problems: string[]}>} name of the user, and their latest draft
 */
export async function fetchDraft(series, session) {
  return (await request(pathOf({ series, session }))).json();
}

/**
 * Compress a draft with gzip.
 *
 * @param {Draft} draft
 * @returns {Promise<Blob>}
 */
export function compressed(draft) {
  return new Response(new Blob([JSON.stringify(draft)]).stream().pipeThrough(new CompressionStream('gzip'))).blob();
}

/** @param {Pick<Draft, 'series' | 'session'>} draft */
function pathOf({ series, session }) {
  return `/viewer/draft?${new URLSearchParams({ image: series, session })}`;
}
