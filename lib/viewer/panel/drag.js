/** Follows a press of the mouse over the planes, for the panel's own tools: OHIF's wait for a possible double click. */

import { onCapture } from './guard.js';
import { Outline } from './outline.js';
import { viewportAt, viewportUnder } from './tools.js';

const DRAG_PIXELS = 5;
export const [LEFT, RIGHT] = [0, 2];

/**
 * @typedef {[x: number, y: number]} Pixel of a viewport
 *
 * @typedef {object} Press button that is held down
 * @property {CornerstoneViewport} viewport
 * @property {Pixel} corner of the viewport on the page
 * @property {Pixel[]} trail
 * @property {number} button
 * @property {boolean} shift
 * @property {boolean} control
 *
 * @typedef {object} Follower
 * @property {number[]} buttons
 * @property {() => boolean} isReady whether a press counts
 * @property {(press: Press) => Pixel[]} line to draw while the left button is held
 * @property {(press: Press) => void} onEnd
 */

export class Drag {
  /** @type {Press | null} */
  #press = null;
  #line = new Outline();

  /** @param {Follower} follower */
  constructor(follower) {
    this.follower = follower;
    onCapture('pointerdown', event => this.#onDown(event));
    onCapture('pointermove', event => this.#onMove(event));
    onCapture('pointerup', event => this.#onUp(event));
    onCapture('pointercancel', () => this.#release());
  }

  get isPressed() {
    return !!this.#press;
  }

  /** @param {PointerEvent} event */
  #onDown(event) {
    const { clientX, clientY, button, shiftKey, ctrlKey, metaKey } = event;
    const { follower } = this;
    const at = follower.isReady() && !this.#press && viewportUnder(event) ? viewportAt(clientX, clientY) : null;
    if (!at || !follower.buttons.includes(button)) return;
    this.#press = {
      viewport: at.viewport,
      corner: [clientX - at.pixel[0], clientY - at.pixel[1]],
      trail: [at.pixel],
      shift: shiftKey,
      control: ctrlKey || metaKey,
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
    if (press.button === LEFT && isDrag(press)) this.#line.draw(press.viewport, [this.follower.line(press)]);
  }

  /** @param {PointerEvent} event */
  #onUp({ button }) {
    const press = this.#press;
    if (!press || press.button !== button) return;
    this.#release();
    this.follower.onEnd(press);
  }

  #release() {
    this.#press = null;
    this.#line.clear();
  }
}

/**
 * Return whether the mouse was moved while the button was held.
 *
 * @param {Pick<Press, 'trail'>} press
 */
export function isDrag({ trail: [[x, y], ...rest] }) {
  return rest.some(([a, b]) => Math.hypot(a - x, b - y) >= DRAG_PIXELS);
}
