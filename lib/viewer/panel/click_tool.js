/**
 * The tool Click: turns what the mouse does over the planes into clicks, scribbles and boxes.
 *
 * It listens to the pointer itself, because OHIF's tools wait for a possible double click. Left click: the lesion under
 * the pointer. Shift+click or right click: not the lesion. Drag: a scribble on it, or with Shift beside it. Ctrl+drag:
 * a box around it. A drag of the right button stays OHIF's.
 */

import { boxAround, strokeOf } from './click_shapes.js';
import { ClickPreview } from './click_preview.js';
import { onCapture } from './guard.js';
import { Outline } from './outline.js';
import { activeTool, viewportAt, viewportUnder } from './tools.js';

const DRAG_PIXELS = 5;
const [LEFT, RIGHT] = [0, 2];

/**
 * @typedef {object} Press button that is held down
 * @property {CornerstoneViewport} viewport
 * @property {[number, number]} corner of the viewport on the page
 * @property {[number, number][]} trail pixels of the viewport
 * @property {boolean} adds
 * @property {boolean} box
 * @property {number} button
 */

export class ClickTool {
  /** @type {Press | null} */
  #press = null;
  #trail = new Outline();

  /** @param {import('./editor.js').Editor} editor */
  constructor(editor) {
    this.editor = editor;
    this.preview = new ClickPreview(editor, () => this.#ready && !this.#press);
    onCapture('pointerdown', event => this.#onDown(event));
    onCapture('pointermove', event => this.#onMove(event));
    onCapture('pointerup', event => this.#onUp(event));
    onCapture('pointercancel', () => this.#release());
    onCapture('contextmenu', event => this.#ready && viewportUnder(event) && event.preventDefault());
    editor.addEventListener('change', () => this.#showCursor());
    editor.clicks.addEventListener('change', () => this.#showCursor());
    cornerstone.eventTarget.addEventListener(cornerstoneTools.Enums.Events.TOOL_ACTIVATED, () => this.#showCursor());
  }

  get #ready() {
    return !!this.editor.history && !this.editor.running && activeTool() === 'click';
  }

  #showCursor() {
    const { classList } = document.documentElement;
    classList.toggle('lunglabel-clicks', this.#ready);
    classList.toggle('lunglabel-waits', this.#ready && this.editor.clicks.waiting);
  }

  /** @param {PointerEvent} event */
  #onDown(event) {
    const { clientX, clientY, button, shiftKey, ctrlKey, metaKey } = event;
    const at = this.#ready && !this.#press && viewportUnder(event) ? viewportAt(clientX, clientY) : null;
    if (!at || ![LEFT, RIGHT].includes(button)) return;
    this.#press = {
      viewport: at.viewport,
      corner: [clientX - at.pixel[0], clientY - at.pixel[1]],
      trail: [at.pixel],
      adds: button === LEFT && !shiftKey,
      box: button === LEFT && (ctrlKey || metaKey),
      button,
    };
  }

  /** @param {PointerEvent} event */
  #onMove(event) {
    const press = this.#press;
    if (!press) return;
    for (const { clientX, clientY } of event.getCoalescedEvents?.() ?? [event]) {
      press.trail.push([clientX - press.corner[0], clientY - press.corner[1]]);
    }
    if (press.button !== LEFT || !isDrag(press.trail)) return;
    this.#trail.draw(press.viewport, [press.box ? rectangle(press.trail) : press.trail]);
  }

  /** @param {PointerEvent} event */
  #onUp({ button }) {
    const press = this.#press;
    if (!press || press.button !== button) return;
    this.#release();
    const gesture = this.#gestureOf(press);
    if (gesture) this.editor.clicks.add(gesture);
  }

  #release() {
    this.#press = null;
    this.#trail.clear();
  }

  /**
   * @param {Press} press
   * @returns {import('./click_session.js').Gesture | null} null if it is none, or outside of the volume
   */
  #gestureOf({ viewport, trail, adds, box, button }) {
    const labelmap = this.editor.history?.labelmap;
    if (!labelmap) return null;
    const voxelAt = (/** @type {[number, number]} */ pixel) => labelmap.voxelAt(viewport.canvasToWorld(pixel));
    const first = voxelAt(trail[0]);
    if (!isDrag(trail)) return first && { kind: adds ? 'foreground' : 'background', points: [first] };
    if (button === RIGHT) return null;
    const last = voxelAt(trail[trail.length - 1]);
    if (box) return first && last && { kind: 'box', points: boxAround(first, last, labelmap) };
    const points = strokeOf(trail.map(voxelAt));
    return points.length ? { kind: adds ? 'scribble' : 'background', points } : null;
  }
}

/** @param {[number, number][]} trail */
function isDrag([[x, y], ...rest]) {
  return rest.some(([a, b]) => Math.hypot(a - x, b - y) >= DRAG_PIXELS);
}

/**
 * @param {[number, number][]} trail
 * @returns {[number, number][]}
 */
function rectangle(trail) {
  const [[x, y], [a, b]] = [trail[0], trail[trail.length - 1]];
  return [[x, y], [a, y], [a, b], [x, b], [x, y]];
}
