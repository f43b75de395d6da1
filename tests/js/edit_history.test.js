import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { NO_CLICKS } from '../../lib/viewer/panel/click_session.js';
import { EditHistory } from '../../lib/viewer/panel/edit_history.js';
import { Labelmap } from '../../lib/viewer/panel/labelmap.js';
import { holdVolume, mask } from './volume.js';

const SIZE = [4, 3, 2];
const EMPTY = mask(SIZE, []);
const FIRST = mask(SIZE, [[3, 0, 0], [0, 2, 1]]);
const SECOND = mask(SIZE, [[0, 2, 1], [1, 1, 1]]);

let labelmap;
let redrawn;
let history;

beforeEach(() => {
  const held = holdVolume(SIZE, EMPTY);
  redrawn = held.redrawn;
  labelmap = new Labelmap(held.volume);
  history = new EditHistory(labelmap);
});

function paint(voxels, step = { unsaved: true }) {
  labelmap.write(voxels);
  history.commit(step);
}

test('undo and redo restore every voxel and count the labelled ones', () => {
  paint(FIRST);
  paint(SECOND);
  history.undo();
  assert.deepEqual(labelmap.read(), FIRST);
  history.undo();
  assert.deepEqual(labelmap.read(), EMPTY);
  assert.equal(history.labelled, 0);
  history.redo();
  history.redo();
  assert.deepEqual(labelmap.read(), SECOND);
  assert.equal(history.labelled, 2);
});

test('only the slices that change are redrawn', () => {
  paint(FIRST);
  paint(SECOND);
  paint(mask(SIZE, [[0, 2, 1]]));
  redrawn.length = 0;
  history.undo();
  assert.deepEqual(redrawn, [[1]]);
});

test('undo and redo have no effect on an empty history', () => {
  assert.equal(history.canUndo || history.canRedo, false);
  history.undo();
  history.redo();
  assert.deepEqual(labelmap.read(), EMPTY);
});

test('a step without changes is not recorded, but sets the model version', () => {
  history.commit({ unsaved: true, modelVersion: 'v1' });
  assert.equal(history.canUndo, false);
  const nothing = { confidences: new Map(), clicks: NO_CLICKS, measurements: [] };
  const { said, ...state } = history.state;
  assert.deepEqual(said.carried, []);
  assert.deepEqual(state, { change: null, unsaved: false, modelVersion: 'v1', ...nothing });
});

test('a step that changes only what is measured can be undone', () => {
  const length = { kind: 'length', plane: 'axial', points: [[0, 0, 0], [1, 0, 0]] };
  history.commit({ unsaved: true, measurements: [length] });
  assert.deepEqual([history.canUndo, history.state.unsaved], [true, true]);
  history.commit({ unsaved: false, measurements: [length] });
  history.undo();
  assert.deepEqual([history.canUndo, history.state.measurements], [false, []]);
});

test('what was marked where it is not allowed is taken back, and what was erased there stays erased', () => {
  paint(FIRST);
  const [here, there] = [...history.known.keys()].filter(index => !history.known[index]);
  const before = labelmap.read();
  const marked = history.known.indexOf(1);
  for (const [index, value] of [[here, 1], [there, 1], [marked, 0]]) labelmap.slice(Math.floor(index / labelmap.sliceLength))[index % labelmap.sliceLength] = value;
  history.commit({ unsaved: true }, index => index === here);
  assert.deepEqual([here, there, marked].map(index => labelmap.read()[index]), [1, 0, 0]);
  assert.deepEqual(history.known, labelmap.read());
  history.undo();
  assert.deepEqual(labelmap.read(), before);
});

test('a new step clears the redo history', () => {
  paint(FIRST);
  history.undo();
  paint(SECOND);
  assert.equal(history.canRedo, false);
  history.undo();
  assert.deepEqual(labelmap.read(), EMPTY);
});

test('each state has its unsaved flag and model version', () => {
  const confidences = new Map([[FIRST, 0.9]]);
  paint(FIRST, { unsaved: false, modelVersion: 'v1', confidences });
  paint(SECOND);
  assert.deepEqual([history.state.unsaved, history.state.modelVersion], [true, 'v1']);
  assert.equal(history.state.confidences, confidences);
  history.undo();
  assert.deepEqual([history.state.unsaved, history.state.modelVersion], [false, 'v1']);
  history.undo();
  assert.deepEqual([history.state.unsaved, history.state.modelVersion], [false, null]);
  assert.equal(history.state.confidences.size, 0);
});

test('only the last hundred states are kept', () => {
  for (let n = 0; n < 150; n++) paint(n % 2 ? FIRST : SECOND);
  let steps = 0;
  for (; history.canUndo; steps++) history.undo();
  assert.equal(steps, 99);
  assert.deepEqual(labelmap.read(), SECOND);
});
