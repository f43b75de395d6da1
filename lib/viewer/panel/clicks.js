/** Answers the clicks of the user, one after the other, by outlines of the server in the mask. */

import { mergeOutline } from './click_merge.js';
import { addClick, planClick } from './click_session.js';
import { messageOf } from './dom.js';
import { findingsAt } from './findings.js';
import { volumeText } from './ranked_findings.js';
import { fetchOutline } from './server.js';

/**
 * @typedef {import('./click_session.js').Gesture} Gesture
 * @typedef {import('./edit_history.js').EditHistory} EditHistory
 *
 * @typedef {object} Job
 * @property {Gesture} gesture
 * @property {EditHistory} history of the mask that was clicked
 * @property {AbortController} dropping
 */

/** Fires "change" when clicks begin or end to wait for their answer. */
export class Clicks extends EventTarget {
  /** @type {Job[]} in the order of the clicks; the first is being answered */
  #jobs = [];
  #last = Promise.resolve();

  /** @param {import('./editor.js').Editor} editor */
  constructor(editor) {
    super();
    this.editor = editor;
  }

  /** Whether a click waits for its answer. */
  get waiting() {
    return this.#jobs.length > 0;
  }

  /**
   * Queue a gesture: each one refines what the one before it has outlined.
   *
   * @param {Gesture} gesture
   */
  add(gesture) {
    const { history } = this.editor;
    if (!history) return;
    const job = { gesture, history, dropping: new AbortController() };
    this.#jobs.push(job);
    this.#last = this.#last
      .then(() => this.#answer(job))
      .catch(error => this.#report(job, error))
      .finally(() => this.#end(job));
    this.dispatchEvent(new Event('change'));
  }

  /** Drop the last click if it is not answered yet; return whether there was one. */
  dropLast() {
    const job = [...this.#jobs].reverse().find(one => !one.dropping.signal.aborted);
    job?.dropping.abort();
    return !!job;
  }

  /** Wait until all clicks so far are answered. */
  settled() {
    return this.#last;
  }

  /** @param {Job} job */
  async #answer({ gesture, history, dropping: { signal } }) {
    if (signal.aborted || history !== this.editor.history) return;
    const plan = planClick(history.state.clicks, maskOfHistory(history), gesture);
    this.editor.say('Outlining the lesion…', '');
    const answer = await fetchOutline(String(history.labelmap.series), plan.params, signal);
    if (signal.aborted || history !== this.editor.history) return;
    if (!answer.voxels && gesture.kind !== 'background') throw new Error(answer.warnings[0]);
    this.dispatchEvent(new Event('answer'));
    this.#write(history, plan, answer);
  }

  /**
   * @param {EditHistory} history
   * @param {import('./click_session.js').Plan} plan
   * @param {Awaited<ReturnType<typeof fetchOutline>>} answer
   */
  #write(history, plan, { region, model_version: version }) {
    const { known, labelmap, state } = history;
    const now = findingsAt(known, labelmap.size, plan.former);
    const { index, values, voxels, met } = mergeOutline(known, labelmap.size, region, plan.former, now);
    const clicks = addClick(state.clicks, plan, voxels, version);
    this.editor.write(index, values, { unsaved: true, clicks });
    const other = met ? ' It meets another finding, which stays as it is: click on that one to change it.' : '';
    this.editor.say(`Outlined: ${volumeText(voxels.length * labelmap.voxelVolume)}.${other}`, '');
  }

  /** @param {Job} job */
  #end(job) {
    this.#jobs.splice(this.#jobs.indexOf(job), 1);
    this.dispatchEvent(new Event('change'));
  }

  /**
   * @param {Job} job
   * @param {unknown} error
   */
  #report({ dropping, history }, error) {
    if (dropping.signal.aborted) this.editor.say('The click is dropped.', '');
    else if (history === this.editor.history) this.editor.say(messageOf(error));
  }
}

/**
 * Return the mask of a history for `planClick`.
 *
 * @param {EditHistory} history
 */
export function maskOfHistory({ known, labelmap: { size, spacing } }) {
  return { voxels: known, size, spacing };
}
