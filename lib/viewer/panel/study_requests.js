/** Requests to the server about the reader study that the user takes part in. */

import { request } from './server.js';

/**
 * @typedef {object} Study
 * @property {string} name
 * @property {'reader' | 'reviewer' | 'judge'} role of the user; a judge says which of two outlines is better
 * @property {number} pause_seconds time without any action that counts as a pause
 * @property {Record<string, string>} incomplete what the own label of a case lacks, a sentence, by SeriesInstanceUID
 *
 * @typedef {object} Disagreement
 * @property {string} image SeriesInstanceUID
 * @property {{number: number, reader: string}[]} labels to decide between, with the letters of their readers
 */

/** @returns {Promise<Study | null>} the reader study that the user takes part in */
export async function fetchStudy() {
  return (await request('/viewer/reading')).json();
}

/** @returns {Promise<Disagreement[]>} cases that a reviewer of the study decides on */
export async function fetchDisagreements() {
  return (await request('/viewer/disagreements')).json();
}
