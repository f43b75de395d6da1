import assert from 'node:assert/strict';
import { test } from 'node:test';

import { listFindings, separateFinding } from '../../lib/viewer/panel/findings.js';
import { mask } from './volume.js';

const SIZE = [5, 3, 2]; // all sides different
const at = ([x, y, z]) => (z * SIZE[1] + y) * SIZE[0] + x;

test('voxels that touch at a corner are one finding', () => {
  const voxels = mask(SIZE, [[0, 0, 0], [1, 1, 1], [2, 0, 0], [4, 2, 1]]);
  const findings = listFindings(voxels, SIZE);
  assert.deepEqual(findings.map(one => one.length), [3, 1]);
  assert.deepEqual(findings[1], [at([4, 2, 1])]);
});

test('each of the 26 neighbours belongs to the same finding', () => {
  const size = [3, 4, 5];
  for (let n = 0; n < 27; n++) {
    const neighbour = [n % 3, Math.floor(n / 3) % 3, Math.floor(n / 9)];
    const findings = listFindings(mask(size, [[1, 1, 1], neighbour]), size);
    assert.equal(findings.length, 1, `neighbour ${neighbour}`);
  }
});

test('the ends of rows and slices do not touch the next ones', () => {
  assert.equal(listFindings(mask(SIZE, [[4, 0, 0], [0, 1, 0]]), SIZE).length, 2);
  assert.equal(listFindings(mask(SIZE, [[4, 2, 0], [0, 0, 1]]), SIZE).length, 2);
});

test('findings are sorted by size, then by first voxel', () => {
  const findings = listFindings(mask(SIZE, [[0, 0, 0], [2, 2, 0], [4, 0, 1], [4, 1, 1]]), SIZE);
  assert.deepEqual(findings.map(one => one[0]), [at([4, 0, 1]), at([0, 0, 0]), at([2, 2, 0])]);
});

test('an empty mask has no finding, a full one has one', () => {
  assert.deepEqual(listFindings(mask(SIZE, []), SIZE), []);
  assert.deepEqual(listFindings(new Uint8Array(30).fill(1), SIZE).map(one => one.length), [30]);
});

test('a finding is removed or kept without changing the input mask', () => {
  const voxels = mask(SIZE, [[0, 0, 0], [1, 1, 1], [4, 2, 1]]);
  const before = voxels.slice();
  assert.deepEqual(separateFinding(voxels, SIZE, at([1, 1, 1]), false), mask(SIZE, [[4, 2, 1]]));
  assert.deepEqual(separateFinding(voxels, SIZE, at([1, 1, 1]), true), mask(SIZE, [[0, 0, 0], [1, 1, 1]]));
  assert.deepEqual(voxels, before);
});
