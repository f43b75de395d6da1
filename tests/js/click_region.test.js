import assert from 'node:assert/strict';
import { test } from 'node:test';

import { maskOf, regionOf } from '../../lib/viewer/panel/click_region.js';
import { indexOf, placeOf } from '../../lib/viewer/panel/voxel_index.js';

const SIZE = [7, 6, 5];

test('a region is the smallest box around its voxels, with runs column fastest', () => {
  const voxels = [[2, 1, 1], [3, 1, 1], [3, 2, 1], [4, 2, 2]].map(place => indexOf(place, SIZE));
  const region = regionOf(voxels, SIZE);
  assert.deepEqual(region, { offset: [2, 1, 1], size: [3, 2, 2], runs: [0, 2, 2, 1, 6, 1] });
  const mask = maskOf(region);
  assert.deepEqual([...mask], [1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
});

test('a mask as the server sends it: first outside, empty or full', () => {
  assert.deepEqual([...maskOf({ offset: [0, 0, 0], size: [2, 2, 1], runs: [4] })], [0, 0, 0, 0]);
  assert.deepEqual([...maskOf({ offset: [0, 0, 0], size: [2, 2, 1], runs: [0, 4] })], [1, 1, 1, 1]);
  assert.deepEqual([...maskOf({ offset: [0, 0, 0], size: [2, 2, 1], runs: [1, 2, 1] })], [0, 1, 1, 0]);
});

test('places and indices of voxels', () => {
  for (const place of [[0, 0, 0], [6, 5, 4], [3, 2, 1]]) assert.deepEqual(placeOf(indexOf(place, SIZE), SIZE), place);
});
