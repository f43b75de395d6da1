/** The controls of the view: windows, how the mask is drawn, zoom; each with its key. */

import { elementsBy } from './dom.js';
import { onCapture, stop } from './guard.js';
import { COLOURS, MaskView } from './mask_style.js';
import { isTyping } from './shortcuts.js';
import { viewportAt } from './tools.js';
import { fitAll, shownViewports, zoomBy } from './viewports.js';
import { chooseWindow, chosenWindow, WINDOWS } from './windows.js';

const HIDE_KEY = 'h';
const STEP = 1.25;

export const VIEW_TEMPLATE = `
<div class="lunglabel-row" data-view="windows"></div>
<details data-view="mask">
  <summary>Mask: colour, opacity, outline</summary>
  <label class="lunglabel-row">Opacity <input type="range" data-view="opacity" min="0" max="1" step="0.05"></label>
  <div class="lunglabel-row">
    <label><input type="checkbox" data-view="outline"> Outline only</label>
    <select data-view="colour" aria-label="Colour of the mask"></select>
  </div>
</details>`;

/**
 * @typedef {Record<'windows', HTMLElement> & Record<'opacity' | 'outline', HTMLInputElement>
 *   & Record<'colour', HTMLSelectElement>} Controls
 */

/**
 * Fill an element with the controls of the view.
 *
 * @param {Element} element
 * @param {AbortSignal} signal ends it
 * @returns {Record<string, () => void>} actions by key
 */
export function controlView(element, signal) {
  element.innerHTML = VIEW_TEMPLATE;
  const controls = /** @type {Controls} */ (elementsBy(element, 'view'));
  const mask = new MaskView(signal);
  controlMask(controls, mask);
  hideWhileHeld(mask, signal);
  zoomWithWheel(signal);
  return { ...offerWindows(controls.windows), ...zoomKeys() };
}

/** @param {HTMLElement} row to fill with a button per window */
function offerWindows(row) {
  /** @type {Record<string, () => void>} */
  const actions = {};
  const show = () => {
    for (const button of row.children) button.setAttribute('aria-pressed', String(button.textContent === chosenWindow()));
  };
  for (const [name, { key, width, centre }] of Object.entries(WINDOWS)) {
    const title = `Width ${width} HU, centre ${String(centre).replace('-', '−')} HU (${key})`;
    const button = Object.assign(document.createElement('button'), { textContent: name, title });
    actions[key] = button.onclick = () => {
      chooseWindow(name);
      show();
    };
    row.append(button);
  }
  show();
  return actions;
}

/**
 * @param {Controls} controls
 * @param {MaskView} mask
 */
function controlMask({ opacity, outline, colour }, mask) {
  for (const name of Object.keys(COLOURS)) colour.add(new Option(name));
  opacity.valueAsNumber = mask.style.opacity;
  outline.checked = mask.style.outlineOnly;
  colour.value = mask.style.colour;
  opacity.oninput = () => mask.change({ opacity: opacity.valueAsNumber });
  outline.onchange = () => mask.change({ outlineOnly: outline.checked });
  colour.onchange = () => mask.change({ colour: colour.value });
}

/**
 * Hide the mask while the key is held.
 *
 * @param {MaskView} mask
 * @param {AbortSignal} signal ends it
 */
function hideWhileHeld(mask, signal) {
  /** @param {KeyboardEvent} event */
  const onKey = event => {
    if (event.key.toLowerCase() !== HIDE_KEY || event.ctrlKey || event.metaKey || isTyping(event)) return;
    stop(event);
    mask.hide(event.type === 'keydown');
  };
  onCapture('keydown', onKey, signal);
  onCapture('keyup', onKey, signal);
  onCapture('blur', () => mask.hide(false), signal);
}

/**
 * Zoom with the wheel while Ctrl is held; the browser would zoom the page.
 *
 * @param {AbortSignal} signal ends it
 */
function zoomWithWheel(signal) {
  onCapture('wheel', event => {
    const at = event.ctrlKey && viewportAt(event.clientX, event.clientY);
    if (!at) return;
    stop(event);
    zoomBy(at.viewport, event.deltaY < 0 ? STEP : 1 / STEP, at.pixel);
  }, signal);
}

/** Zoom in and out of the middle of all planes, and back to the whole image. */
function zoomKeys() {
  const zoom = (/** @type {number} */ factor) => () => {
    for (const viewport of shownViewports()) {
      const { clientWidth, clientHeight } = viewport.element;
      zoomBy(viewport, factor, [clientWidth / 2, clientHeight / 2]);
    }
  };
  return { '+': zoom(STEP), '-': zoom(1 / STEP), '=': fitAll };
}
