/** The rulers of cornerstone on the screen: its annotations of lengths and axes. */

import { measurementText, planeAlong } from './measurements.js';
import { shownViewports } from './viewports.js';

/** @typedef {import('./measurements.js').Measurement} Measurement */

/** @type {Record<string, import('./measurements.js').Kind>} kinds by the name of their tool */
export const KINDS = { Length: 'length', Bidirectional: 'bidirectional' };
const GROUP = 'mpr'; // of the planes of MONAI Label mode

/** @type {Record<import('./measurements.js').Plane, {viewPlaneNormal: Point3, viewUp: Point3}>} LPS, as cornerstone has them */
const PLANES = {
  axial: { viewPlaneNormal: [0, 0, -1], viewUp: [0, -1, 0] },
  sagittal: { viewPlaneNormal: [1, 0, 0], viewUp: [0, 0, 1] },
  coronal: { viewPlaneNormal: [0, -1, 0], viewUp: [0, 0, 1] },
};

/** Give OHIF the rulers, which MONAI Label mode lacks. They are drawn from now on. */
export function addRulers() {
  const group = services.toolGroupService.getToolGroup(GROUP);
  for (const tool of Object.keys(KINDS)) if (group && !group.hasTool(tool)) group.addTool(tool, { getTextLines });
}

/**
 * Let rulers be moved by their ends, or not: a brush that begins on one would move it.
 *
 * @param {boolean} movable
 * @param {string | undefined} active tool, which stays as it is
 */
export function letMove(movable, active) {
  const group = services.toolGroupService.getToolGroup(GROUP);
  for (const tool of Object.keys(KINDS)) {
    if (!group?.hasTool(tool) || tool === active) continue;
    if (movable) group.setToolPassive(tool);
    else group.setToolEnabled(tool);
  }
  if (!movable) unhighlight(); // no tool looks at the pointer any more
}

/** Forget which rulers the pointer was on; a tool finds that again when the pointer is moved. */
export function unhighlight() {
  for (const one of rulers()) one.highlighted = false;
}

/** @returns {CornerstoneAnnotation[]} all rulers, those that are being drawn included */
export function rulers() {
  return cornerstoneTools.annotation.state.getAllAnnotations().filter(one => one.metadata.toolName in KINDS);
}

/**
 * @param {CornerstoneAnnotation} ruler
 * @returns {Measurement}
 */
export function measurementOf({ metadata, data }) {
  const points = data.handles.points.map(point => /** @type {Point3} */ (Array.from(point)));
  return { kind: KINDS[metadata.toolName], plane: planeAlong(metadata.viewPlaneNormal), points };
}

/**
 * Draw a measurement, also one whose plane is not on the screen now, such as while another fills it.
 *
 * @param {Measurement} measurement
 * @returns {string} id of its ruler; empty if no plane is on the screen
 */
export function draw({ kind, plane, points }) {
  const viewports = shownViewports();
  const own = viewports.find(one => planeAlong(one.getCamera().viewPlaneNormal) === plane);
  const viewport = own ?? viewports[0];
  if (!viewport) return '';
  const { viewPlaneNormal, viewUp } = own?.getCamera() ?? PLANES[plane];
  const { FrameOfReferenceUID, volumeId } = viewport.getViewReference();
  const [toolName] = Object.entries(KINDS).find(([, name]) => name === kind) ?? [''];
  const data = { handles: { points: points.map(point => [...point]), activeHandleIndex: null, textBox: newTextBox() } };
  return cornerstoneTools.annotation.state.addAnnotation({
    highlighted: false,
    invalidated: true,
    metadata: { toolName, FrameOfReferenceUID, volumeId, viewPlaneNormal, viewUp, cameraFocalPoint: points[0] },
    data: { ...data, label: '', cachedStats: {} },
  }, viewport.element);
}

/** @param {string} id of a ruler */
export function erase(id) {
  cornerstoneTools.annotation.state.removeAnnotation(id);
}

export function redrawRulers() {
  cornerstoneTools.utilities.triggerAnnotationRenderForViewportIds(shownViewports().map(one => one.id));
}

/**
 * Return what stands beside a ruler, as in the list of the panel; cornerstone writes "L: 28.4 mm", "W: 18 mm".
 *
 * @param {CornerstoneAnnotation['data']} data
 */
function getTextLines({ handles }) {
  return [measurementText({ points: handles.points.map(point => /** @type {Point3} */ (Array.from(point))) })];
}

function newTextBox() {
  const corner = () => [0, 0, 0];
  const worldBoundingBox = { topLeft: corner(), topRight: corner(), bottomLeft: corner(), bottomRight: corner() };
  return { hasMoved: false, worldPosition: corner(), worldBoundingBox };
}
