/** The tools of the left mouse button: the brushes of MONAI Label mode, which has no buttons for them, the panel's, rulers. */

import { closest } from './dom.js';
import { OTHER_VIEWPORT } from './viewports.js';

/** @typedef {'click' | 'brush' | 'eraser' | 'threshold' | 'lasso' | 'cut' | 'bidirectional' | 'length'} Tool */

/** Tools of the panel, which listens to the mouse itself, see drag.js; for OHIF they are tools without any action. */
const [CLICK, LASSO, CUT] = ['LungLabelClick', 'LungLabelLasso', 'LungLabelCut'];

/**
 * Name of each tool in a flat and in a ball form.
 *
 * @type {Record<Tool, [string, string]>}
 */
const TOOLS = {
  click: [CLICK, CLICK],
  brush: ['CircularBrush', 'SphereBrush'],
  eraser: ['CircularEraser', 'SphereEraser'],
  threshold: ['ThresholdCircularBrush', 'ThresholdSphereBrush'],
  lasso: [LASSO, LASSO],
  cut: [CUT, CUT],
  bidirectional: ['Bidirectional', 'Bidirectional'],
  length: ['Length', 'Length'],
};

/**
 * @param {Tool} tool
 * @param {boolean} ball paints several slices at once
 */
export function activate(tool, ball) {
  addOwnTool(TOOLS[tool][0]);
  commandsManager.runCommand('setToolActiveToolbar', { toolName: TOOLS[tool][Number(ball)] });
}

/**
 * Give OHIF one of the panel's tools.
 *
 * @param {string} name
 */
function addOwnTool(name) {
  if (![CLICK, LASSO, CUT].includes(name)) return;
  const { BaseTool, addTool } = cornerstoneTools;
  class OwnTool extends BaseTool {
    static toolName = name;
  }
  addTool(OwnTool);
  for (const id of groupsWithBrush()) {
    const group = services.toolGroupService.getToolGroup(id);
    if (!group?.hasTool(name)) group?.addTool(name);
  }
}

/** Return the tool groups of the scan: the viewport of another study has one without any tool. */
function groupsWithBrush() {
  const { toolGroupService: groups } = services;
  return groups.getToolGroupIds().filter(id => groups.getToolGroup(id)?.hasTool(TOOLS.brush[0]));
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
  for (const id of groupsWithBrush()) cornerstoneTools.utilities.segmentation.setBrushSizeForToolGroup(id, diameter / 2);
}

/** @param {[number, number]} range HU that the threshold brush paints */
export function setThreshold(range) {
  commandsManager.runCommand('setThresholdRange', { value: range });
}

/**
 * Return the element of the viewport that an event is over.
 *
 * @param {Event} event
 * @returns {HTMLElement | null} null beside the viewports, and over another study
 */
export function viewportUnder(event) {
  const found = elementUnder(event);
  return found?.dataset.viewportUid === OTHER_VIEWPORT ? null : found;
}

/**
 * Return whether an event is over the viewport of another study.
 *
 * @param {Event} event
 */
export function isOverOther(event) {
  return elementUnder(event)?.dataset.viewportUid === OTHER_VIEWPORT;
}

/**
 * Return the element of a viewport around the target of an event, or in it if that is OHIF's overlay around one viewport
 * that is not selected.
 *
 * @param {Event} event
 */
function elementUnder(event) {
  const target = /** @type {HTMLElement} */ (event.target);
  /** @type {NodeListOf<HTMLElement> | undefined} */
  const inside = target.querySelectorAll?.('[data-viewport-uid]');
  return closest(event, '[data-viewport-uid]') ?? (inside?.length === 1 ? inside[0] : null);
}

/**
 * Select the plane under the pointer: OHIF needs a click for that, and its tools do not see the pointer before.
 *
 * @param {PointerEvent} event
 */
export function selectViewportUnder(event) {
  if (event.buttons) return;
  const { viewportGridService } = services;
  const id = viewportUnder(event)?.dataset.viewportUid;
  if (id && id !== viewportGridService.getState().activeViewportId) viewportGridService.setActiveViewportId(id);
}

/**
 * Take the focus from a text field when a stroke begins: OHIF leaves it there, and the keys would go to the field.
 *
 * @param {PointerEvent} event
 */
export function leaveTextFor(event) {
  if (viewportUnder(event)) /** @type {HTMLElement | null} */ (document.activeElement)?.blur();
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
 * Return the viewport at a position of the page, and the position in it.
 *
 * @param {number} x pixels
 * @param {number} y
 * @returns {{viewport: CornerstoneViewport, pixel: [number, number]} | null} null outside of the viewports, and over another study
 */
export function viewportAt(x, y) {
  /** @type {NodeListOf<HTMLElement>} */
  const viewports = document.querySelectorAll('[data-viewport-uid]');
  for (const element of viewports) {
    if (element.dataset.viewportUid === OTHER_VIEWPORT) continue;
    const { left, right, top, bottom } = element.getBoundingClientRect();
    if (x < left || x > right || y < top || y > bottom) continue;
    const viewport = services.cornerstoneViewportService.getCornerstoneViewport(element.dataset.viewportUid);
    return { viewport, pixel: [x - left, y - top] };
  }
  return null;
}

/**
 * @param {number} x pixels of the page
 * @param {number} y
 * @returns {Point3 | null} position in LPS mm; null outside of the viewports
 */
export function pointAt(x, y) {
  const at = viewportAt(x, y);
  return at && at.viewport.canvasToWorld(at.pixel);
}
