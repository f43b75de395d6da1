/** What a lesion was in an earlier study, as text. */

import { volumeText } from './ranked_findings.js';

const MONTH_DAYS = 30.44;

/**
 * @typedef {object} FormerLesion
 * @property {string} date of the earlier study, ISO 8601
 * @property {number} number of the lesion there
 * @property {number} volume mm³
 * @property {number} change_percent of the volume
 * @property {string} change what is certain of it: "grown", "shrunk" or "no change beyond measurement error"
 * @property {number | null} doubling_days volume doubling time
 * @property {number | null} shortest_days lower end of its 95 % interval
 * @property {number | null} longest_days upper end of its 95 % interval
 */

/**
 * Describe the growth of a lesion since an earlier study.
 *
 * @param {FormerLesion} former
 */
export function growthText({ date, volume, change_percent: percent, change, doubling_days: days, shortest_days: low, longest_days: high }) {
  const changed = `${percent < 0 ? '−' : '+'}${Math.abs(percent).toFixed(0)} %`;
  const rate = change === 'grown' && days !== null ? `doubles in ${interval(days, low, high)}` : change;
  return `${date}: ${volumeText(volume)}, now ${changed}; ${rate}`;
}

/**
 * @param {number} days
 * @param {number | null} low
 * @param {number | null} high
 */
function interval(days, low, high) {
  const [unit, divisor] = days < 1000 ? ['days', 1] : ['months', MONTH_DAYS];
  const text = (/** @type {number | null} */ one) => (one === null ? '∞' : (one / divisor).toFixed(0));
  return `${text(days)} ${unit} (95 %: ${text(low)} to ${text(high)})`;
}
