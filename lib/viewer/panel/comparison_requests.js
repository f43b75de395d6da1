/** Requests to the server about other studies of the patient. */

import { json, request } from './server.js';

/**
 * @typedef {object} OtherSeries series of another study of the patient
 * @property {string} series SeriesInstanceUID
 * @property {string} study StudyInstanceUID
 * @property {string | null} date of the study, ISO 8601
 * @property {number | null} days from it to the scan; negative if it is later
 * @property {string} description
 * @property {number | null} slice_thickness mm
 * @property {string} kernel
 * @property {boolean} labelled
 *
 * @typedef {object} Registration
 * @property {number[][]} matrix 4×4, from LPS mm of the scan to LPS mm of the other study
 * @property {number} correlation after registration; 1 is perfect
 * @property {string | null} problem why it must not be used
 */

/**
 * @param {string} series SeriesInstanceUID
 * @returns {Promise<OtherSeries[]>} of the patient, the best to compare with first
 */
export async function fetchOtherStudies(series) {
  return (await request(`/viewer/other-studies?${new URLSearchParams({ image: series })}`)).json();
}

/**
 * Return the registration to a series of another study, null while it is made, and what the lesions were there.
 *
 * @param {string} series SeriesInstanceUID
 * @param {string} other its SeriesInstanceUID
 * @param {{number: number, centre: number[], volume_mm3: number}[]} lesions of the mask; centres in LPS mm
 * @returns {Promise<{registration: Registration | null, lesions: Record<string, import('./growth.js').FormerLesion>}>}
 */
export async function compareStudies(series, other, lesions) {
  const query = new URLSearchParams({ image: series, other });
  return (await request(`/viewer/comparison?${query}`, json({ lesions }))).json();
}
