import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Labelmap } from '../../lib/viewer/panel/labelmap.js';
import { holdVolume, mask } from './volume.js';

const SIZE = [4, 3, 2];
const at = ([x, y, z]) => (z * SIZE[1] + y) * SIZE[0] + x;

test('voxels are read and written in the order column, row, slice', () => {
  const voxels = mask(SIZE, [[3, 0, 0], [0, 2, 1]]);
  const { volume, slices } = holdVolume(SIZE, voxels, [0.7, 0.7, 2]);
  const labelmap = new Labelmap(volume);
  assert.deepEqual(labelmap.read(), voxels);
  assert.equal(labelmap.length, 24);
  assert.equal(labelmap.series, 'series of ct:0');
  assert.ok(Math.abs(labelmap.voxelVolume - 0.98) < 1e-12);
  const other = mask(SIZE, [[1, 2, 0]]);
  labelmap.write(other);
  assert.equal(slices[0][9], 1);
  assert.deepEqual(labelmap.read(), other);
});

test('read() returns a copy, slice() a view', () => {
  const labelmap = new Labelmap(holdVolume(SIZE, mask(SIZE, [])).volume);
  labelmap.read()[0] = 1;
  assert.equal(labelmap.slice(0)[0], 0);
  labelmap.slice(1)[0] = 1;
  assert.equal(labelmap.read()[12], 1);
});

test('the place of a finding is its voxel closest to the centroid, and its longest side, in mm', () => {
  const { volume } = holdVolume(SIZE, mask(SIZE, []), [0.5, 2, 5]);
  const labelmap = new Labelmap(volume);
  const row = [[0, 1, 1], [1, 1, 1], [2, 1, 1]].map(at);
  assert.deepEqual(labelmap.placeOf(row), { point: [0.5, 2, 5], extent: 5 });
  const bow = [[0, 0, 0], [0, 1, 0], [1, 2, 0], [2, 2, 0], [3, 1, 0], [3, 0, 0]].map(at); // its centroid is outside
  assert.deepEqual(labelmap.placeOf(bow), { point: [0, 2, 0], extent: 6 });
});

test('a labelled voxel is found at a point or next to it, but not farther away', () => {
  const { volume } = holdVolume(SIZE, mask(SIZE, [[3, 2, 1]]), [2, 2, 2]);
  const labelmap = new Labelmap(volume);
  assert.equal(labelmap.labelledAt([6, 4, 2]), at([3, 2, 1]));
  assert.equal(labelmap.labelledAt([4, 2, 0]), at([3, 2, 1]), 'at a corner');
  assert.equal(labelmap.labelledAt([2, 4, 2]), null);
  assert.equal(labelmap.labelledAt([8, 6, 4]), at([3, 2, 1]), 'rounded to a voxel outside');
  assert.equal(labelmap.labelledAt([-20, 0, 0]), null);
});

test('the voxel at the point takes precedence over its neighbours', () => {
  const { volume } = holdVolume(SIZE, mask(SIZE, [[1, 1, 0], [2, 1, 0]]));
  assert.equal(new Labelmap(volume).labelledAt([2, 1, 0]), at([2, 1, 0]));
});
