/** Adds to OHIF's study list what is labelled or under review, skipped, in work, imported or to do. */

import { fetchStudyStates } from './server.js';

const LIST = '[data-cy="study-list-results"]';
const ROW = 'tr[data-cy^="studyRow-"]';
const DESCRIPTION = ':scope table tr:first-child > td:nth-child(4) .overflow-hidden'; // the fourth of the columns
const LABELLED = ['labelled', 'waiting for review', 'sent back', 'approved'];
const RENEW_MS = 10_000;

/** @typedef {import('./server.js').CaseState} CaseState */

/** @type {Record<string, CaseState[]>} by StudyInstanceUID */
let studies = {};
let fetchedAt = -Infinity;

/** Mark the studies on the page; does nothing elsewhere. */
export function markStudies() {
  if (!document.querySelector(LIST)) {
    fetchedAt = -Infinity; // what is labelled meanwhile is shown when the user comes back
    return;
  }
  if (performance.now() - fetchedAt > RENEW_MS) void renew();
  for (const row of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(ROW))) {
    const cases = studies[row.dataset.cy?.slice('studyRow-'.length) ?? ''];
    const cell = row.querySelector(DESCRIPTION);
    if (cases && cell) mark(cell, cases);
  }
}

async function renew() {
  fetchedAt = performance.now();
  try {
    studies = await fetchStudyStates();
    markStudies();
  } catch {
    // The list itself tells the user that the server is away.
  }
}

/**
 * @param {Element} cell of the description, filled by OHIF
 * @param {CaseState[]} cases
 */
function mark(cell, cases) {
  let badge = cell.querySelector('.lunglabel-state');
  const { state, text, title } = summaryOf(cases);
  if (badge?.textContent === text && badge.getAttribute('title') === title) return;
  badge ??= cell.insertBefore(document.createElement('span'), cell.firstChild);
  badge.className = 'lunglabel-state';
  badge.setAttribute('data-state', state);
  badge.setAttribute('title', title);
  badge.textContent = text;
}

/**
 * Summarise the series of a study: the state that all have, or how many are labelled.
 *
 * @param {CaseState[]} cases at least one
 */
export function summaryOf(cases) {
  const title = cases.map(one => `${one.description || one.series}: ${wordsOf(one)}`).join('\n');
  const states = new Set(cases.map(one => one.state));
  if (states.has('sent back')) return { state: 'sent back', text: 'sent back', title };
  if (states.size === 1) return { state: cases[0].state, text: wordsOf(cases[0]), title };
  const labelled = cases.filter(one => LABELLED.includes(one.state)).length;
  const open = ['in work', 'imported', 'to do', 'skipped', 'waiting for review'].find(one => states.has(one)) ?? 'labelled';
  return labelled
    ? { state: open, text: `${labelled} of ${cases.length} labelled`, title }
    : { state: open, text: open, title };
}

/** @param {CaseState} one */
function wordsOf({ state, reason }) {
  return reason && ['skipped', 'sent back'].includes(state) ? `${state}: ${reason}` : state;
}
