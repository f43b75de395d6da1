/** How a case is read: the time without pauses, and what was done in it; sent with the label. */

import { LesionTime } from './lesion_time.js';

const PAUSE_SECONDS = 60;

/**
 * @typedef {'clicks' | 'strokes' | 'undos'} Action
 *
 * @typedef {object} Reading as lib/datastore/label_reading.py describes it
 * @property {string} opened ISO 8601
 * @property {string} submitted ISO 8601
 * @property {number} active_seconds without pauses
 * @property {number} pause_seconds time without any action that counts as a pause
 * @property {number} clicks
 * @property {number} strokes
 * @property {number} undos
 */

export class ReadingTime {
  opened = 0;
  last = 0;
  activeMs = 0;
  pauseSeconds = PAUSE_SECONDS;
  /** @type {Record<Action, number>} */
  counts = { clicks: 0, strokes: 0, undos: 0 };
  lesions = new LesionTime();

  /** @param {() => number} now milliseconds since 1970 */
  constructor(now = Date.now) {
    this.now = now;
    this.begin();
  }

  /** Start to count anew, for a case that was just opened. */
  begin() {
    this.opened = this.last = this.now();
    this.pauseSeconds = PAUSE_SECONDS;
    this.activeMs = 0;
    this.lesions.begin();
    this.counts = { clicks: 0, strokes: 0, undos: 0 };
  }

  /** Note that the reader is there: moves the pointer, presses a key, turns the wheel. */
  act() {
    const now = this.now();
    const gap = now - this.last;
    if (gap > 0 && gap <= 1000 * this.pauseSeconds) {
      this.activeMs += gap;
      this.lesions.pass(gap);
    }
    this.last = now;
  }

  /** @param {Action} action */
  count(action) {
    this.act();
    this.counts[action] += 1;
  }

  /** @returns {Reading} up to now */
  report() {
    this.act();
    return {
      opened: new Date(this.opened).toISOString(),
      submitted: new Date(this.last).toISOString(),
      active_seconds: Math.round(this.activeMs / 100) / 10,
      pause_seconds: this.pauseSeconds,
      ...this.counts,
    };
  }
}
