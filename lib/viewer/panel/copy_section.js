/** Copies the section of a finding in a plane to the next slice of that plane, or to the one before. */

import { findingsAt } from './findings.js';
import { axisAcross, shareAlong } from './outline.js';
import { showSlice } from './viewports.js';
import { indexOf, placeOf } from './voxel_index.js';

/** @typedef {import('./findings.js').Size} Size */

/**
 * Copy the section of the finding under the pointer as one step to undo, and show the slice that it is copied to.
 *
 * @param {import('./editor.js').Editor} editor
 * @param {{viewport: CornerstoneViewport, pixel: [number, number]} | null} at the pointer
 * @param {1 | -1} step 1: to the slice that the wheel shows next
 */
export function copySection(editor, at, step) {
  const { history, onlyLungs } = editor;
  if (!history) return;
  const { labelmap, labelmap: { size, imageData }, known } = history;
  const seed = at && labelmap.labelledAt(at.viewport.canvasToWorld(at.pixel));
  if (!at || seed === null) {
    editor.say('There is no finding under the pointer. Point at one, then press the key.');
    return;
  }
  const { viewPlaneNormal } = at.viewport.getCamera();
  const across = axisAcross(imageData, viewPlaneNormal);
  if (across < 0) {
    editor.say('Copy in a plane along the slices, not in an oblique one.');
    return;
  }
  const number = placeOf(seed, size)[across];
  const forward = step * Math.sign(shareAlong(imageData, across, viewPlaneNormal));
  const moved = (/** @type {number} */ index) => (
    /** @type {Size} */ (placeOf(index, size).map((place, axis) => (axis === across ? place + forward : place)))
  );
  if (number + forward < 0 || number + forward >= size[across]) {
    editor.say('There is no slice beyond this one.', '');
    return;
  }
  const isAllowed = onlyLungs.limit() ?? (() => true);
  const index = findingsAt(known, size, [seed])
    .filter(one => placeOf(one, size)[across] === number)
    .map(one => indexOf(moved(one), size))
    .filter(one => !known[one] && isAllowed(one));
  if (index.length) editor.write(index, index.map(() => 1), { unsaved: true });
  showSlice(at.viewport, imageData.indexToWorld(moved(seed)));
}
