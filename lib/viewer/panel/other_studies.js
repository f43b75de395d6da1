/** Other studies of the patient: put beside the scan, with planes that are linked, and the growth of the lesions since. */

import { compareStudies, fetchOtherStudies } from './comparison_requests.js';
import { messageOf } from './dom.js';
import { LinkedPlanes, SAME_POSITION } from './linked_planes.js';
import { SideBySide } from './side_by_side.js';

const SETTLE_MS = 300; // strokes follow each other
const POLL_MS = 2000;

/** @typedef {import('./comparison_requests.js').OtherSeries} OtherSeries */

export class OtherStudies {
  /** @type {string | null} */
  #series = null;
  /** @type {OtherSeries[]} */
  #others = [];
  /** @type {import('./comparison_requests.js').Registration | null} */
  #registration = null;
  #problem = '';
  /** Lesions that were compared last, as text. */
  #compared = '';
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined;
  /** @type {LinkedPlanes | null} */
  #linked = null;
  #ending = new AbortController();
  #layout = new SideBySide();

  /**
   * @param {import('./panel_template.js').Parts} parts
   * @param {import('./editor.js').Editor} editor
   * @param {(button: HTMLButtonElement, waiting: string, action: () => Promise<string>) => void} attempt
   * @param {AbortSignal} signal ends it
   */
  constructor(parts, editor, attempt, signal) {
    this.parts = parts;
    this.editor = editor;
    editor.addEventListener('list', () => this.#compareSoon(SETTLE_MS), { signal });
    parts.beside.onclick = () => attempt(parts.beside, 'Loading…', () => this.#toggle());
    parts.other.onchange = () => attempt(parts.beside, '', () => this.#choose());
    signal.addEventListener('abort', () => this.#forget());
  }

  /** @param {string | null} series SeriesInstanceUID on the screen */
  async lookUp(series) {
    if (series !== this.#series) this.#forget();
    this.#series = series;
    const others = series ? await fetchOtherStudies(series) : [];
    if (series !== this.#series) return;
    this.#others = others;
    this.parts.others.hidden = !others.length;
    const chosen = this.parts.other.value;
    this.parts.other.replaceChildren(...others.map(one => new Option(nameOf(one), one.series)));
    if (others.some(one => one.series === chosen)) this.parts.other.value = chosen;
    this.#compared = '';
    this.#compareSoon(0);
  }

  get #other() {
    return this.#others.find(one => one.series === this.parts.other.value);
  }

  async #toggle() {
    if (this.#linked) {
      this.#unlink();
      await this.#layout.hide();
      this.#show();
      return '';
    }
    return this.#putBeside();
  }

  async #choose() {
    this.#registration = null;
    this.#compared = this.#problem = '';
    this.#compareSoon(0);
    return this.#linked ? this.#putBeside() : '';
  }

  async #putBeside() {
    const other = this.#other;
    if (!other) return '';
    const own = await this.#layout.show(other);
    this.#unlink();
    this.#linked = new LinkedPlanes(own, this.#ending.signal);
    this.#show();
    return '';
  }

  #unlink() {
    this.#ending.abort();
    this.#ending = new AbortController();
    this.#linked = null;
  }

  /** @param {number} ms */
  #compareSoon(ms) {
    if (!this.#other) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#compare(), ms);
  }

  async #compare() {
    const other = this.#other;
    const series = this.#series;
    if (!other || !series) return;
    const lesions = lesionsOf(this.editor);
    const now = JSON.stringify([other.series, lesions]);
    if (now === this.#compared) return;
    try {
      const found = await compareStudies(series, other.series, lesions);
      if (series !== this.#series || other !== this.#other) return;
      this.#registration = found.registration;
      this.#problem = found.registration?.problem ?? '';
      if (found.registration) {
        this.#compared = now;
        this.editor.former = new Map(Object.entries(found.lesions).map(([number, one]) => [Number(number), one]));
        this.editor.dispatchEvent(new Event('list'));
      } else {
        this.#compareSoon(POLL_MS);
      }
    } catch (error) {
      this.#problem = messageOf(error);
      this.#compared = now;
    }
    this.#show();
  }

  #show() {
    const { beside, otherText } = this.parts;
    beside.setAttribute('aria-pressed', String(!!this.#linked));
    const usable = this.#registration && !this.#problem;
    if (this.#linked) {
      this.#linked.matrix = usable && this.#registration ? this.#registration.matrix : SAME_POSITION;
      this.#linked.align();
    }
    if (usable) otherText.textContent = `Registered, correlation ${this.#registration?.correlation.toFixed(2)}: planes show the same place.`;
    else if (this.#problem) otherText.textContent = `${this.#problem} Planes are linked by table position.`;
    else otherText.textContent = 'Being registered; until then planes are linked by table position.';
    otherText.className = this.#problem ? 'problem' : '';
  }

  #forget() {
    clearTimeout(this.#timer);
    if (this.#linked) this.#layout.forget();
    this.#unlink();
    this.#others = [];
    this.#registration = null;
    this.#compared = this.#problem = '';
    this.editor.former = new Map();
    this.parts.others.hidden = true;
  }
}

/**
 * Name a series of another study.
 *
 * @param {OtherSeries} series
 */
export function nameOf({ date, days, slice_thickness: thickness, kernel, description, labelled }) {
  const when = days !== null && days < 0 ? `${date} (later)` : date ?? 'no date';
  const slices = thickness === null ? '' : `${Number(thickness.toFixed(2))} mm`;
  return [when, slices, kernel, description, labelled ? 'labelled' : 'no label'].filter(Boolean).join(' · ');
}

/**
 * Return number, centre and volume of the findings of the mask.
 *
 * @param {import('./editor.js').Editor} editor
 */
function lesionsOf({ list, history }) {
  if (!list || !history) return [];
  return list.rows.map(row => ({
    number: row.number, centre: [...history.labelmap.imageData.indexToWorld(row.centre)], volume_mm3: row.volume,
  })).sort((one, other) => one.number - other.number);
}
