import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { copySection } from '../../lib/viewer/panel/copy_section.js';
import { EditHistory } from '../../lib/viewer/panel/edit_history.js';
import { Labelmap } from '../../lib/viewer/panel/labelmap.js';
import { holdVolume, mask } from './volume.js';

const SIZE = [5, 4, 3];
const SPACING = [1, 1, 2];
const PAINTED = [[1, 1, 1], [2, 1, 1], [2, 2, 1], [2, 2, 0], [4, 3, 1]]; // the last one is another finding

let editor;
let said;

beforeEach(() => {
  said = '';
  const history = new EditHistory(new Labelmap(holdVolume(SIZE, mask(SIZE, PAINTED), SPACING).volume));
  const write = (index, values, step) => history.write(index, values, step);
  editor = { history, onlyLungs: { limit: () => undefined }, write, say: sentence => (said = sentence) };
});

/** Return a pointer at a voxel in a plane. */
function pointAt(voxel, viewPlaneNormal) {
  const point = voxel.map((place, axis) => place * SPACING[axis]);
  const camera = { viewPlaneNormal, focalPoint: point, position: point };
  const viewport = { canvasToWorld: () => point, getCamera: () => camera, setCamera: now => Object.assign(camera, now), render: () => {} };
  return { viewport, pixel: [0, 0] };
}

test('the section under the pointer is copied to the slice that is shown next, as one step to undo', () => {
  const at = pointAt([1, 1, 1], [0, 0, -1]); // the wheel goes down through the volume
  copySection(editor, at, 1);
  assert.deepEqual(editor.history.known, mask(SIZE, [...PAINTED, [1, 1, 0], [2, 1, 0]]));
  assert.deepEqual(at.viewport.getCamera().focalPoint, [1, 1, 0]);
  editor.history.undo();
  assert.deepEqual(editor.history.known, mask(SIZE, PAINTED));
  copySection(editor, pointAt([1, 1, 1], [0, 0, -1]), -1);
  assert.deepEqual(editor.history.known, mask(SIZE, [...PAINTED, [1, 1, 2], [2, 1, 2], [2, 2, 2]]));
});

test('the same in another plane, only where it is allowed', () => {
  editor.onlyLungs.limit = () => index => index !== 3 + SIZE[0] * (1 + SIZE[1]); // column 3, row 1, slice 1
  copySection(editor, pointAt([2, 1, 1], [1, 0, 0]), 1);
  assert.deepEqual(editor.history.known, mask(SIZE, [...PAINTED, [3, 2, 1], [3, 2, 0]]));
});

test('nothing is copied beyond the volume, in an oblique plane, or from where there is no finding', () => {
  for (const [at, why] of [
    [pointAt([2, 2, 0], [0, 0, -1]), /no slice beyond/],
    [pointAt([2, 2, 0], [0, 0.6, 0.8]), /oblique/],
    [pointAt([0, 3, 2], [0, 0, 1]), /no finding under the pointer/],
    [null, /no finding under the pointer/],
  ]) {
    copySection(editor, at, 1);
    assert.match(said, why);
    assert.equal(editor.history.canUndo, false);
  }
});
