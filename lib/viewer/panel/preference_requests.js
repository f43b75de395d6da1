/** Requests to the server in a preference study. */

import { request } from './server.js';

/**
 * @typedef {'A' | 'equal' | 'B'} Answer which outline is better
 *
 * @typedef {object} Question
 * @property {number} lesion from 1; 0 for the whole case
 * @property {string} shown name of the outlines that are asked about
 * @property {[column: number, row: number, slice: number]} voxel to look at
 * @property {number} extent_mm longest side of the box around it
 * @property {Answer | null} answer that was given
 */

/**
 * @param {string} series SeriesInstanceUID
 * @returns {Promise<Question[]>} what the study asks about a case
 */
export async function fetchQuestions(series) {
  return (await request(`/viewer/preference?${new URLSearchParams({ image: series })}`)).json();
}

/**
 * Say which of two outlines is better.
 *
 * @param {string} series SeriesInstanceUID
 * @param {Pick<Question, 'lesion' | 'shown'>} question
 * @param {Answer} answer
 * @param {number} seconds that it took, without pauses
 * @returns {Promise<Question[]>} all questions about the case
 */
export async function putAnswer(series, { lesion, shown }, answer, seconds) {
  const asked = { image: series, lesion: String(lesion), shown };
  const query = new URLSearchParams({ ...asked, answer, active_seconds: String(seconds) });
  return (await request(`/viewer/preference?${query}`, { method: 'POST' })).json();
}
