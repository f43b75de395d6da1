/**
 * The tool Click: turns what the mouse does over the planes into clicks, scribbles and boxes.
 *
 * It listens to the pointer itself, because OHIF's tools wait for a possible double click. Left click: the lesion under
 * the pointer. Shift+click or right click: not the lesion. Drag: a scribble on it, or with Shift beside it. Ctrl+drag:
 * a box around it. A drag of the right button stays OHIF's.
 */

import { boxAround, strokeOf } from './click_shapes.js';
import { ClickPreview } from './click_preview.js';
import { Drag, isDrag, LEFT, RIGHT } from './drag.js';
import { onCapture } from './guard.js';
import { activeTool, viewportUnder } from './tools.js';

export class ClickTool {
  /** @param {import('./editor.js').Editor} editor */
  constructor(editor) {
    this.editor = editor;
    const drag = new Drag({
      buttons: [LEFT, RIGHT],
      isReady: () => this.#ready,
      line: ({ control, trail }) => (control ? rectangle(trail) : trail),
      onEnd: press => this.#onEnd(press),
    });
    this.preview = new ClickPreview(editor, () => this.#ready && !drag.isPressed);
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

  /** @param {import('./drag.js').Press} press */
  #onEnd(press) {
    const gesture = this.#gestureOf(press);
    if (gesture) this.editor.clicks.add(gesture);
  }

  /**
   * @param {import('./drag.js').Press} press
   * @returns {import('./click_session.js').Gesture | null} null if it is none, or outside of the volume
   */
  #gestureOf({ viewport, trail, button, shift, control }) {
    const labelmap = this.editor.history?.labelmap;
    if (!labelmap) return null;
    const adds = button === LEFT && !shift;
    const voxelAt = (/** @type {[number, number]} */ pixel) => labelmap.voxelAt(viewport.canvasToWorld(pixel));
    const first = voxelAt(trail[0]);
    if (!isDrag({ trail })) return first && { kind: adds ? 'foreground' : 'background', points: [first] };
    if (button === RIGHT) return null;
    const last = voxelAt(trail[trail.length - 1]);
    if (control) return first && last && { kind: 'box', points: boxAround(first, last, labelmap) };
    const points = strokeOf(trail.map(voxelAt));
    return points.length ? { kind: adds ? 'scribble' : 'background', points } : null;
  }
}

/**
 * @param {[number, number][]} trail
 * @returns {[number, number][]}
 */
function rectangle(trail) {
  const [[x, y], [a, b]] = [trail[0], trail[trail.length - 1]];
  return [[x, y], [a, y], [a, b], [x, b], [x, y]];
}
