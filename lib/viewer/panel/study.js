/** The reader study that the user takes part in: times the reading of each case, and names what a reviewer decides on. */

import { touchedVoxel } from './lesion_time.js';
import { middle } from './lesions.js';
import { ReadingTime } from './reading_time.js';
import { fetchDisagreements, fetchStudy } from './study_requests.js';
import { viewportAt } from './tools.js';

const ACTIONS = ['pointermove', 'pointerdown', 'keydown', 'wheel'];
const AWAY_MM = 10; // beyond the end of a finding, from where on a plane shows something else

export class StudyReading {
  /**
   * @param {import('./editor.js').Editor} editor whose events say what was done
   * @param {AbortSignal} signal ends the counting
   */
  constructor(editor, signal) {
    /** @type {import('./study_requests.js').Study | null} */
    this.study = null;
    this.editor = editor;
    /** Where the finding is that is worked on. @type {{point: Point3, extent: number} | null} */
    this.place = null;
    /** @type {{state: object | undefined, shown: Uint32Array | null}} that were seen last */
    this.seen = { state: editor.history?.state, shown: null };
    this.time = new ReadingTime();
    /** @type {number[] | null} */
    this.adjudicates = null;
    for (const type of ACTIONS) window.addEventListener(type, () => this.time.act(), { signal, capture: true, passive: true });
    window.addEventListener('pointerdown', () => this.time.lesions.startGesture(), { signal, capture: true, passive: true });
    window.addEventListener('wheel', event => setTimeout(() => this.#onScrolled(event)), { signal, capture: true, passive: true });
    editor.addEventListener('change', () => this.#onChange(), { signal });
    editor.addEventListener('list', () => this.#onList(), { signal });
    editor.addEventListener('action', event => this.time.count(/** @type {CustomEvent} */ (event).detail), { signal });
    editor.clicks.addEventListener('answer', () => this.time.count('clicks'), { signal });
  }

  /**
   * @param {string | null} series SeriesInstanceUID that was just opened
   * @returns {Promise<string>} what the user has to know about the case; empty if nothing
   */
  async open(series) {
    this.time.begin();
    this.adjudicates = this.place = null;
    const study = await fetchStudy();
    this.study = study;
    if (!study) return '';
    this.time.pauseSeconds = study.pause_seconds;
    if (study.role !== 'reviewer') return study.incomplete[series ?? ''] ?? '';
    const found = (await fetchDisagreements()).find(({ image }) => image === series);
    this.adjudicates = found ? found.labels.map(({ number }) => number) : null;
    return '';
  }

  /** Work on the finding that was edited. What is loaded, or comes from the model, is no edit. */
  #onChange() {
    const { history } = this.editor;
    if (history?.state === this.seen.state) return;
    this.seen.state = history?.state;
    const { change, unsaved } = history?.state ?? {};
    if (!history || !change || !unsaved) return;
    const voxel = touchedVoxel(change.index, history.known, history.labelmap.size);
    if (voxel !== null) this.#workOn(voxel, change.index);
  }

  /** Work on the finding that was shown. */
  #onList() {
    const { shown } = this.editor.review;
    if (shown === this.seen.shown) return;
    this.seen.shown = shown;
    if (shown) this.#workOn(middle(shown), shown);
    else this.time.lesions.leave();
  }

  /**
   * @param {number} voxel of a finding
   * @param {Uint32Array} voxels of it that tell where it is
   */
  #workOn(voxel, voxels) {
    this.time.act();
    this.time.lesions.workOn(voxel);
    this.place = this.editor.history?.labelmap.placeOf(voxels) ?? null;
  }

  /** @param {WheelEvent} event that moved a plane */
  #onScrolled({ clientX, clientY }) {
    const camera = viewportAt(clientX, clientY)?.viewport.getCamera();
    if (!camera || !this.place) return;
    const { point, extent } = this.place;
    const away = camera.viewPlaneNormal.reduce((sum, part, axis) => sum + part * (camera.focalPoint[axis] - point[axis]), 0);
    if (Math.abs(away) <= extent / 2 + AWAY_MM) return;
    this.place = null;
    this.time.lesions.leave();
  }

  /** @returns {object} parameters of the submission of a label */
  params() {
    return { reading: this.time.report(), ...(this.adjudicates && { adjudicates: this.adjudicates }) };
  }
}
