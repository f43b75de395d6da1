/** The brushes of MONAI Label mode, which has no buttons for them. */

import { closest } from './dom.js';
import { viewportAt } from './viewports.js';

/** @typedef {'brush' | 'eraser' | 'threshold'} Tool */

/**
 * Name of each tool in a flat and in a ball form.
 *
 * @type {Record<Tool, [string, string]>}
 */
const TOOLS = {
  brush: ['CircularBrush', 'SphereBrush'],
  eraser: ['CircularEraser', 'SphereEraser'],
  threshold: ['ThresholdCircularBrush', 'ThresholdSphereBrush'],
};

/**
 * @param {Tool} tool
 * @param {boolean} ball paints several slices at once
 */
export function activate(tool, ball) {
  commandsManager.runCommand('setToolActiveToolbar', { toolName: TOOLS[tool][Number(ball)] });
}

/** Make the left mouse button adjust window and level again. */
export function deactivate() {
  commandsManager.runCommand('setToolActiveToolbar', { toolName: 'WindowLevel' });
}

/** @returns {Tool | undefined} the tool of the left mouse button, if it is one of those above */
export function activeTool() {
  const group = services.toolGroupService.getToolGroup('mpr');
  const name = group?.getActivePrimaryMouseButtonTool();
  const all = /** @type {Tool[]} */ (Object.keys(TOOLS));
  return all.find(tool => name && TOOLS[tool].includes(name));
}

/** @param {number} diameter mm */
export function setDiameter(diameter) {
  for (const id of services.toolGroupService.getToolGroupIds()) {
    cornerstoneTools.utilities.segmentation.setBrushSizeForToolGroup(id, diameter / 2);
  }
}

/** @param {[number, number]} range HU that the threshold brush paints */
export function setThreshold(range) {
  commandsManager.runCommand('setThresholdRange', { value: range });
}

/**
 * Select the plane under the pointer while a brush is active: OHIF needs a click for that.
 *
 * @param {PointerEvent} event
 */
export function selectViewportUnder(event) {
  if (event.buttons || !activeTool()) return;
  const target = /** @type {HTMLElement} */ (event.target);
  /** @type {NodeListOf<HTMLElement> | undefined} */
  const viewports = target.querySelectorAll?.('[data-viewport-uid]'); // the target is OHIF's overlay around one viewport
  if (viewports?.length === 1) services.viewportGridService.setActiveViewportId(viewports[0].dataset.viewportUid);
}

/**
 * Take the focus from a text field when a stroke begins: OHIF leaves it there, and the keys would go to the field.
 *
 * @param {PointerEvent} event
 */
export function leaveTextFor(event) {
  if (closest(event, '[data-viewport-uid]')) /** @type {HTMLElement | null} */ (document.activeElement)?.blur();
}

/**
 * Take the focus from a button that was clicked: the space bar would press it again.
 *
 * @param {MouseEvent} event
 */
export function leaveButton(event) {
  const clicked = event.detail > 0; // not pressed with the keyboard
  if (clicked) closest(event, 'button')?.blur();
}

/**
 * @param {number} x pixels of the page
 * @param {number} y
 * @returns {Point3 | null} position in LPS mm; null outside of the viewports
 */
export function pointAt(x, y) {
  const at = viewportAt(x, y);
  return at && at.viewport.canvasToWorld(at.pointer);
}
