import assert from 'node:assert/strict';
import { test } from 'node:test';

import { LesionTime, touchedVoxel } from '../../lib/viewer/panel/lesion_time.js';

const FIRST = { voxels: Uint32Array.of(1, 2, 3) };
const SECOND = { voxels: Uint32Array.of(8, 9) };

test('a gesture belongs to the finding that it changes, and what was before it to the one before', () => {
  const time = new LesionTime();
  time.pass(4000); // searching
  time.startGesture();
  time.pass(1000); // the stroke
  time.workOn(2);
  time.pass(5000);
  time.startGesture();
  time.pass(2000);
  time.workOn(9);
  time.pass(500);
  assert.deepEqual(time.secondsOn([FIRST, SECOND]), new Map([[FIRST, 6], [SECOND, 2.5]]));
});

test('nothing is counted after the reader has looked elsewhere', () => {
  const time = new LesionTime();
  time.workOn(1);
  time.pass(3000);
  time.leave();
  time.pass(9000);
  time.startGesture();
  time.pass(1000);
  time.workOn(3);
  assert.deepEqual(time.secondsOn([FIRST, SECOND]), new Map([[FIRST, 4]]));
  time.begin();
  assert.deepEqual(time.secondsOn([FIRST, SECOND]), new Map());
});

test('time on what is no finding any more is that of none', () => {
  const time = new LesionTime();
  time.workOn(5);
  time.pass(3000);
  assert.deepEqual(time.secondsOn([FIRST]), new Map());
});

test('a change is made on the finding that it adds to, takes from, or removes', () => {
  const size = [4, 3, 2];
  const mask = (...marked) => Uint8Array.from({ length: 24 }, (_, index) => Number(marked.includes(index)));
  assert.equal(touchedVoxel([1, 2], mask(2), size), 2);
  assert.equal(touchedVoxel([1], mask(5), size), 5); // the row below
  assert.equal(touchedVoxel([1], mask(), size), 1);
  assert.equal(touchedVoxel([], mask(1), size), null);
});
