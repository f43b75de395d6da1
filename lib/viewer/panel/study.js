/** The reader study that the user takes part in: times the reading of each case, and names what a reviewer decides on. */

import { ReadingTime } from './reading_time.js';
import { fetchDisagreements, fetchStudy } from './server.js';

const ACTIONS = ['pointermove', 'pointerdown', 'keydown', 'wheel'];

export class StudyReading {
  /**
   * @param {import('./editor.js').Editor} editor whose events say what was done
   * @param {AbortSignal} signal ends the counting
   */
  constructor(editor, signal) {
    /** @type {import('./server.js').Study | null} */
    this.study = null;
    this.time = new ReadingTime();
    /** @type {number[] | null} */
    this.adjudicates = null;
    for (const type of ACTIONS) window.addEventListener(type, () => this.time.act(), { signal, capture: true, passive: true });
    editor.addEventListener('action', event => this.time.count(/** @type {CustomEvent} */ (event).detail), { signal });
    editor.clicks.addEventListener('answer', () => this.time.count('clicks'), { signal });
  }

  /**
   * @param {string | null} series SeriesInstanceUID that was just opened
   * @returns {Promise<string>} what the user has to know about the case; empty if nothing
   */
  async open(series) {
    this.time.begin();
    this.adjudicates = null;
    const study = await fetchStudy();
    this.study = study;
    if (!study) return '';
    this.time.pauseSeconds = study.pause_seconds;
    if (study.role !== 'reviewer') return study.incomplete[series ?? ''] ?? '';
    const found = (await fetchDisagreements()).find(({ image }) => image === series);
    this.adjudicates = found ? found.labels.map(({ number }) => number) : null;
    return '';
  }

  /** @returns {object} parameters of the submission of a label */
  params() {
    return { reading: this.time.report(), ...(this.adjudicates && { adjudicates: this.adjudicates }) };
  }
}
