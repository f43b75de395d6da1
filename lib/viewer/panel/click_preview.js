/** Shows what a click would outline while the pointer rests. It never changes the mask, and never delays a click. */

import { planClick } from './click_session.js';
import { sectionOf } from './click_region.js';
import { maskOfHistory } from './clicks.js';
import { onCapture } from './guard.js';
import { Outline, borderIn } from './outline.js';
import { fetchOutline } from './server.js';
import { viewportAt, viewportUnder } from './tools.js';

const REST_MS = 300;

export class ClickPreview {
  #outline = new Outline();
  #asking = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {import('./editor.js').Editor} editor
   * @param {() => boolean} wanted whether the pointer could click now
   */
  constructor(editor, wanted) {
    this.editor = editor;
    this.wanted = wanted;
    onCapture('pointermove', event => this.#rest(event));
    for (const type of /** @type {const} */ (['pointerdown', 'wheel', 'keydown'])) onCapture(type, () => this.drop());
    editor.addEventListener('change', () => this.drop());
  }

  /** Remove the outline, and let go of a request for one. */
  drop() {
    clearTimeout(this.#timer);
    this.#asking.abort();
    this.#outline.clear();
  }

  /** @param {PointerEvent} event */
  #rest(event) {
    this.drop();
    if (event.buttons || !this.wanted() || !viewportUnder(event)) return;
    this.#timer = setTimeout(() => void this.#ask(event.clientX, event.clientY), REST_MS);
  }

  /**
   * @param {number} x pixels of the page
   * @param {number} y
   */
  async #ask(x, y) {
    const { history, clicks } = this.editor;
    const at = viewportAt(x, y);
    if (!history || !at || clicks.waiting || !this.wanted()) return;
    const { labelmap, state } = history;
    const point = at.viewport.canvasToWorld(at.pixel);
    const voxel = labelmap.voxelAt(point);
    if (!voxel || labelmap.labelledAt(point) !== null) return; // outlined already
    const { params } = planClick(state.clicks, maskOfHistory(history), { kind: 'foreground', points: [voxel] });
    this.#asking = new AbortController();
    const { signal } = this.#asking;
    const answer = await fetchOutline(String(labelmap.series), { ...params, preview: true }, signal).catch(() => null);
    if (!answer || signal.aborted) return; // a click will tell the user what is wrong
    const section = (/** @type {number} */ axis, /** @type {number} */ number) => sectionOf(answer.region, axis, number);
    this.#outline.draw(at.viewport, borderIn(section, labelmap.imageData, at.viewport, voxel));
  }
}
