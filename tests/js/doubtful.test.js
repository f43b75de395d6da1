import assert from 'node:assert/strict';
import { test } from 'node:test';

import { rejectBelow } from '../../lib/viewer/panel/doubtful.js';

const row = (first, confidence, state = 'proposed') => ({ voxels: Uint32Array.from([first + 1, first]), confidence, state });
const firsts = rows => rows.map(one => Math.min(...one.voxels));

test('findings below the threshold are rejected, except accepted ones and those without a confidence', () => {
  const rows = [row(0, 0.9), row(10, 0.2), row(20, 0.1, 'accepted'), row(30, null, 'added')];
  const { reject, restore, now } = rejectBelow({ rows, rejected: [] }, 0.5, new Set());
  assert.deepEqual([firsts(reject), restore, [...now]], [[10], [], [10]]);
});

test('a lower threshold restores what a higher one rejected, but not what was rejected one by one', () => {
  const rejected = [row(10, 0.2, 'rejected'), row(40, 0.3, 'rejected'), row(50, 0.4, 'rejected')];
  const { reject, restore, now } = rejectBelow({ rows: [row(0, 0.9)], rejected }, 0.25, new Set([10, 40]));
  assert.deepEqual([reject, firsts(restore), [...now]], [[], [40], [10]]);
});
