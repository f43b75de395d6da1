/** Outlines of stored masks in every plane, beside the mask that is edited. */

import { Outline, borderIn } from './outline.js';
import { seriesIn, shownViewports } from './viewports.js';

const MOST = 2; // told apart by colour and dashes

export class Overlays {
  /** @type {Map<number, {mask: import('./sparse_mask.js').SparseMask, style: number}>} by number of the label */
  #shown = new Map();
  /** @type {Map<string, Outline>} by viewport and style */
  #outlines = new Map();

  /**
   * @param {import('./editor.js').Editor} editor
   * @param {AbortSignal} signal ends it
   */
  constructor(editor, signal) {
    this.editor = editor;
    const rendered = cornerstone.Enums.Events.IMAGE_RENDERED;
    const onRendered = (/** @type {Event} */ event) => {
      const { viewportId } = /** @type {CustomEvent} */ (event).detail;
      if (this.#shown.size) shownViewports().filter(one => one.id === viewportId).forEach(one => this.#drawIn(one));
    };
    window.addEventListener(rendered, onRendered, { capture: true, signal });
    signal.addEventListener('abort', () => this.clear());
  }

  /**
   * Return how a label is drawn.
   *
   * @param {number} number
   * @returns {number} from 1; 0 if it is not shown
   */
  styleOf(number) {
    return this.#shown.get(number)?.style ?? 0;
  }

  /**
   * Show a label; of two others, the one that was shown first makes room.
   *
   * @param {number} number
   * @param {import('./sparse_mask.js').SparseMask} mask
   */
  show(number, mask) {
    if (this.#shown.has(number)) return;
    if (this.#shown.size === MOST) this.#shown.delete([...this.#shown.keys()][0]);
    const taken = [...this.#shown.values()].map(one => one.style);
    this.#shown.set(number, { mask, style: taken.includes(1) ? 2 : 1 });
    this.#draw();
  }

  /** @param {number} number */
  hide(number) {
    this.#shown.delete(number);
    this.#draw();
  }

  clear() {
    this.#shown.clear();
    this.#draw();
  }

  #draw() {
    for (const outline of this.#outlines.values()) outline.clear();
    for (const viewport of shownViewports()) this.#drawIn(viewport);
  }

  /** @param {CornerstoneViewport} viewport */
  #drawIn(viewport) {
    const { history } = this.editor;
    const onScreen = seriesIn(viewport.id);
    const imageData = history?.labelmap.series === onScreen ? history.labelmap.imageData : null;
    // in the plane, though it may be beside the image
    const voxel = /** @type {Point3 | undefined} */ (imageData?.worldToIndex(viewport.getCamera().focalPoint).map(Math.round));
    for (const { mask, style } of this.#shown.values()) {
      const outline = this.#outlineOf(viewport.id, style);
      outline.clear();
      if (!imageData || !voxel) continue;
      outline.draw(viewport, borderIn((axis, number) => mask.section(axis, number), imageData, viewport, voxel));
    }
  }

  /**
   * @param {string} viewportId
   * @param {number} style
   */
  #outlineOf(viewportId, style) {
    const key = `${viewportId} ${style}`;
    const outline = this.#outlines.get(key) ?? new Outline(`lunglabel-overlay lunglabel-overlay-${style}`);
    this.#outlines.set(key, outline);
    return outline;
  }
}
