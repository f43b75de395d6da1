import assert from 'node:assert/strict';
import { test } from 'node:test';

import { boxAround, strokeOf } from '../../lib/viewer/panel/click_shapes.js';

test('a scribble has each voxel once, and not too many', () => {
  assert.deepEqual(strokeOf([[1, 1, 1], [1, 1, 1], null, [2, 1, 1]]), [[1, 1, 1], [2, 1, 1]]);
  const long = strokeOf(Array.from({ length: 1000 }, (_, n) => [n, 0, 0]));
  assert.ok(long.length <= 64 && long.length > 30);
});

test('a box is as deep as the longer side of its rectangle, within the volume', () => {
  const volume = { size: [100, 100, 40], spacing: [1, 1, 2.5] };
  assert.deepEqual(boxAround([30, 20, 10], [10, 30, 10], volume), [[10, 20, 6], [30, 30, 14]]);
  assert.deepEqual(boxAround([30, 50, 10], [30, 40, 14], volume), [[25, 40, 10], [35, 50, 14]]);
  assert.deepEqual(boxAround([10, 20, 1], [30, 30, 1], volume), [[10, 20, 0], [30, 30, 5]]);
});
