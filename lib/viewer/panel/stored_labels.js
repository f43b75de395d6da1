/** What the server has of a scan: loaded into the mask, shown beside it, or compared with it. */

import { compare, differences } from './comparison.js';
import { LabelReview } from './label_review.js';
import { Overlays } from './overlays.js';
import { describeOthers } from './presence.js';
import { volumeText } from './ranked_findings.js';
import { fetchLabelVoxels, fetchStored } from './server.js';
import { offerSkipping } from './skip.js';
import { SparseMask } from './sparse_mask.js';
import { fillList, markShown, nameOf } from './stored_list.js';
import { zoomTo } from './viewports.js';

/** @typedef {import('./server.js').StoredLabel} StoredLabel */

/** @type {Record<import('./stored_list.js').Action, string>} */
const WAITING = { load: 'Loading…', show: 'Loading…', compare: 'Comparing…' };

export class StoredLabels {
  /** @type {StoredLabel | null} the label in use */
  current = null;
  /** @type {number | null} the label that was in use when the mask on the screen was opened, loaded or submitted */
  seen = null;
  /** the highest number that a lesion of the series was given so far */
  lastLesion = 0;
  /** @type {string | null} */
  #series = null;
  /** @type {Map<number, SparseMask>} of labels that were shown, by number */
  #masks = new Map();
  /** @type {StoredLabel | null} that is compared with the mask */
  #compared = null;
  /** place among the differences that is shown */
  #place = -1;
  /** Numbers of the labels that can be shown. @type {number[]} */
  #listed = [];
  /** What the server said last, as text. */
  #known = '';

  /**
   * @param {import('./panel_template.js').Parts} parts
   * @param {import('./editor.js').Editor} editor
   * @param {(button: HTMLButtonElement, waiting: string, action: () => Promise<string>) => void} attempt runs the action of a
   *   button and shows its result or its error
   * @param {AbortSignal} signal ends it
   */
  constructor(parts, editor, attempt, signal) {
    this.parts = parts;
    this.editor = editor;
    this.attempt = attempt;
    this.review = new LabelReview(parts, attempt, () => this.renew());
    this.overlays = new Overlays(editor, signal);
    editor.addEventListener('list', () => this.#showComparison(), { signal });
    parts.load.onclick = () => attempt(parts.load, WAITING.load, () => this.#load(this.current));
    parts.difference.onclick = () => this.#showDifference();
  }

  /**
   * @param {string | null} series SeriesInstanceUID on the screen
   * @throws {Error} the label in use is damaged
   */
  async lookUp(series) {
    if (this.#series !== series) this.#forget();
    this.#series = series;
    if (!series) return undefined;
    const found = await fetchStored(series);
    if (this.#series !== series) return undefined;
    this.seen = found.label?.number ?? null;
    this.#take(found);
    return undefined;
  }

  /**
   * Show what was stored for the scan meanwhile, such as by another program or user.
   *
   * @returns {Promise<boolean>} whether another label is in use, or another lesion has a number
   * @throws {Error} the label in use is damaged
   */
  async renew() {
    const series = this.#series;
    const found = series && (await fetchStored(series).catch(() => null)); // the status says that the server is away
    if (!found || this.#series !== series || JSON.stringify(found) === this.#known) return false;
    const before = [this.current?.number, this.lastLesion];
    this.#take(found);
    return before[0] !== this.current?.number || before[1] !== this.lastLesion;
  }

  /** @param {import('./server.js').Stored} found */
  #take(found) {
    this.#known = JSON.stringify(found);
    this.lastLesion = found.last_lesion_number;
    this.#show(found);
    this.#showPeople(found);
    offerSkipping(this.parts.skip, found.skipped);
    if (found.damaged.length) throw new Error(found.damaged[0]);
  }

  /** @param {Pick<import('./server.js').Stored, 'label' | 'review' | 'others'>} found */
  #showPeople({ label, review, others }) {
    const text = describeOthers(others);
    this.parts.presence.hidden = !text;
    this.parts.presence.textContent = text;
    this.review.show(this.#series, label?.number, review);
  }

  /** @param {Pick<import('./server.js').Stored, 'label' | 'stored' | 'refused'>} found */
  #show({ label, stored, refused }) {
    const { parts } = this;
    this.current = label;
    this.#listed = stored.filter(one => !one.problem).map(one => one.number);
    parts.stored.hidden = !stored.length && !refused.length;
    parts.storedText.textContent = parts.storedText.title = label ? inUseText(label) : 'No label is in use.';
    parts.load.hidden = !label;
    const others = stored.length + refused.length;
    parts.storedCount.textContent = others === 1 ? '1 label or object for this scan' : `${others} labels and objects for this scan`;
    parts.storedList.open ||= !label && others > 0;
    const { voxelVolume = 0 } = this.editor.history?.labelmap ?? {};
    fillList(parts.storedRows, { stored, refused, current: label }, voxelVolume, (action, one, button) => {
      this.attempt(button, WAITING[action], () => this.#do(action, one));
    });
    this.#mark();
  }

  /**
   * @param {import('./stored_list.js').Action} action
   * @param {StoredLabel} label
   * @returns {Promise<string>} what to tell the user
   */
  async #do(action, label) {
    if (action === 'load') return this.#load(label);
    if (action === 'compare') return this.#compare(label);
    if (this.overlays.styleOf(label.number)) this.overlays.hide(label.number);
    else await this.#outline(label);
    this.#mark();
    return '';
  }

  /** Draw the outlines of all labels that are listed, the first one first. */
  async showAll() {
    for (const number of [...this.#listed].sort((one, other) => one - other)) {
      await this.#outline({ number }); // eslint-disable-line no-await-in-loop -- the order tells how each is drawn
    }
    this.#mark();
  }

  /**
   * Put a label into the mask.
   *
   * @param {StoredLabel | null} label
   */
  async #load(label) {
    const { history } = this.editor;
    if (!history || !label) return '';
    if (this.editor.unsaved && !confirm('The mask has changes that are not submitted. Replace it?')) return '';
    const voxels = await this.#voxelsOf(String(history.labelmap.series), label.number);
    if (history !== this.editor.history) return '';
    await this.editor.load(voxels, label);
    this.seen = this.current?.number ?? null;
    return `Label ${label.number} is loaded.`;
  }

  /** @param {StoredLabel} label */
  async #compare(label) {
    const series = this.#series;
    await this.#outline(label);
    if (this.#series !== series) return '';
    this.#compared = label;
    this.#place = -1;
    this.#mark();
    this.#showComparison();
    this.parts.comparison.scrollIntoView({ block: 'nearest' }); // above the list, which may be long
    return '';
  }

  /**
   * Draw the outline of a label.
   *
   * @param {Pick<StoredLabel, 'number'>} label
   */
  async #outline({ number }) {
    const series = this.#series;
    const { history } = this.editor;
    if (!history || !series) return;
    const known = this.#masks.get(number);
    const mask = known ?? new SparseMask(await this.#voxelsOf(series, number), history.labelmap.size);
    if (this.#series !== series) return;
    this.#masks.set(number, mask);
    this.overlays.show(number, mask);
  }

  #showComparison() {
    const { parts, editor: { history } } = this;
    const mask = this.#compared && this.#masks.get(this.#compared.number);
    parts.comparison.hidden = !mask || !history;
    if (!this.#compared || !mask || !history) return;
    const { dice, onlyMask, onlyStored } = compare(mask.index, history);
    const text = (/** @type {number} */ voxels) => volumeText(voxels * history.labelmap.voxelVolume);
    parts.comparisonText.textContent = `Mask and ${nameOf(this.#compared)}: Dice ${dice.toFixed(2)}, `
      + `${text(onlyMask)} only in the mask, ${text(onlyStored)} only in the label.`;
    parts.difference.disabled = !onlyMask && !onlyStored;
  }

  /** Move all planes to the next place where the mask and the label differ, from the largest on. */
  #showDifference() {
    const { history } = this.editor;
    const mask = this.#compared && this.#masks.get(this.#compared.number);
    if (!history || !mask) return;
    const places = differences(mask.index, history.known, history.labelmap.size);
    this.#place = (this.#place + 1) % places.length;
    const { point, extent } = history.labelmap.placeOf(places[this.#place]);
    zoomTo(point, extent);
    this.editor.say(`Difference ${this.#place + 1} of ${places.length}: ${volumeText(places[this.#place].length * history.labelmap.voxelVolume)}.`, '');
  }

  #mark() {
    markShown(this.parts.storedRows, number => this.overlays.styleOf(number));
  }

  #forget() {
    this.lastLesion = 0;
    this.overlays.clear();
    this.#masks.clear();
    this.#compared = null;
    this.parts.comparison.hidden = true;
    this.parts.storedList.open = false;
    this.seen = null;
    this.#showPeople({ label: null, review: null, others: [] });
    this.#show({ label: null, stored: [], refused: [] }); // what another series has must not be loaded into this one
  }

  /**
   * Return the voxels of a label.
   *
   * @param {string} series SeriesInstanceUID
   * @param {number} number
   * @throws {Error} they are not those of the scan on the screen
   */
  async #voxelsOf(series, number) {
    const { length } = this.editor.history?.labelmap ?? {};
    const voxels = await fetchLabelVoxels(series, number);
    if (length !== undefined && voxels.length !== length) {
      throw new Error('The scan has another number of slices than when it was opened here. Open it again.');
    }
    return voxels;
  }
}

/**
 * Describe the label in use: number, annotator, time, note.
 *
 * @param {StoredLabel} label
 */
function inUseText({ number, tag, annotator, time, note }) {
  const when = new Date(time * 1000).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
  const what = tag === 'initial' ? 'Imported, not yet reviewed: label' : 'Stored: label';
  return `${what} ${number}${annotator ? ` by ${annotator}` : ''}, ${when}${note ? ` – ${note}` : ''}`;
}
