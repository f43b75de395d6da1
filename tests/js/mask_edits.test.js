import assert from 'node:assert/strict';
import { test } from 'node:test';

import { MeasuredFindings } from '../../lib/viewer/panel/measured_findings.js';
import { listFindings } from '../../lib/viewer/panel/findings.js';
import { mask } from './volume.js';

const SIZE = [24, 20, 12]; // all sides different
const GRID = { size: SIZE, spacing: [1, 1, 2.5], axial: 2 };
const at = ([x, y, z]) => (z * SIZE[1] + y) * SIZE[0] + x;

/** Return the voxels of a disk in a slice. */
function disk([x, y], radius, z) {
  const found = [];
  for (let j = 0; j < SIZE[1]; j++) {
    for (let i = 0; i < SIZE[0]; i++) if (Math.hypot(i - x, j - y) <= radius) found.push([i, j, z]);
  }
  return found;
}

/** Apply an operation, and return the mask. */
function edited(voxels, name, { axis = 2, grid = GRID } = {}) {
  const before = mask(SIZE, voxels);
  const { index, values } = new MeasuredFindings(grid, before.slice()).edit({ name, axis, voxels: null });
  index.forEach((i, n) => {
    assert.notEqual(before[i], values[n], 'only what changes is returned');
    before[i] = values[n];
  });
  return before;
}

const count = voxels => voxels.reduce((sum, one) => sum + one, 0);
const inSlice = (voxels, z) => count(voxels.subarray(at([0, 0, z]), at([0, 0, z]) + SIZE[0] * SIZE[1]));

test('slices between two painted ones are filled with what changes evenly', () => {
  const filled = edited([...disk([8, 9], 3, 2), ...disk([12, 9], 6, 6)], 'between');
  assert.equal(listFindings(filled, SIZE).length, 1);
  const areas = [2, 3, 4, 5, 6].map(z => inSlice(filled, z));
  assert.deepEqual([...areas].sort((a, b) => a - b), areas, 'each is larger than the one before');
  assert.equal(inSlice(filled, 1) + inSlice(filled, 7), 0, 'nothing beyond the painted ones');
  const middle = disk([10, 9], 4.5, 4).map(at);
  const overlap = middle.filter(index => filled[index]).length;
  assert.ok((2 * overlap) / (middle.length + areas[2]) > 0.9, 'the middle one is a disk between the two');
});

test('the same in another plane', () => {
  const swap = ([x, y, z]) => [z, y, x]; // sections along the columns
  const voxels = [...disk([4, 9], 3, 2), ...disk([5, 9], 3, 9)].filter(([x]) => x < SIZE[2]).map(swap);
  const filled = edited(voxels, 'between', { axis: 0 });
  assert.equal(listFindings(filled, SIZE).length, 1);
});

test('complete lesions behind each other, and patches beside each other, are not joined', () => {
  const thick = z => [z, z + 1, z + 2].flatMap(one => disk([8, 9], 3, one));
  for (const voxels of [[...thick(1), ...thick(7)], [...disk([4, 9], 2, 2), ...disk([18, 9], 2, 5)]]) {
    assert.deepEqual(edited(voxels, 'between'), mask(SIZE, voxels));
  }
});

test('holes are filled in axial sections, notches are not', () => {
  const full = disk([10, 9], 6, 4);
  const ring = full.filter(([x, y]) => Math.hypot(x - 10, y - 9) > 3);
  assert.deepEqual(edited(ring, 'holes'), mask(SIZE, full));
  const open = ring.filter(([x, y]) => !(x > 10 && y === 9));
  assert.deepEqual(edited(open, 'holes'), mask(SIZE, open));
});

test('smoothing removes a spike and fills a dent, and keeps the volume', () => {
  const ball = [3, 4, 5, 6, 7].flatMap(z => disk([10, 9], 6, z));
  const spike = [17, 18, 19, 20].map(x => [x, 9, 5]);
  const dented = [...ball.filter(([x, y, z]) => !(x === 5 && y === 9 && z === 5)), ...spike];
  const smooth = edited(dented, 'smooth');
  assert.equal(smooth[at([20, 9, 5])], 0);
  assert.equal(smooth[at([5, 9, 5])], 1);
  assert.ok(Math.abs(count(smooth) / ball.length - 1) < 0.1);
});

test('a finding of one voxel is neither smoothed nor shrunk away', () => {
  for (const name of ['smooth', 'shrink']) assert.equal(count(edited([[5, 5, 5]], name)), 1, name);
});

test('growing and shrinking move the border by a voxel in thick slices, also at the border of the volume', () => {
  const small = disk([10, 9], 4, 4);
  const grown = edited(small, 'grow');
  assert.ok(inSlice(grown, 4) > small.length);
  assert.equal(grown[at([15, 9, 4])], 1);
  assert.equal(inSlice(grown, 3) + inSlice(grown, 5), 0);
  const shrunk = edited(small, 'shrink');
  assert.equal(shrunk[at([14, 9, 4])], 0);
  assert.equal(shrunk[at([13, 9, 4])], 1);
  assert.equal(count(edited([[0, 0, 0]], 'grow')), 3);
});

test('only the given finding is changed', () => {
  const [one, other] = [disk([5, 9], 3, 4), disk([16, 9], 3, 4)];
  const voxels = mask(SIZE, [...one, ...other]);
  const findings = new MeasuredFindings(GRID, voxels);
  const { index } = findings.edit({ name: 'grow', axis: 2, voxels: Uint32Array.from(one.map(at)) });
  assert.ok(index.length > 0 && index.every(i => i % SIZE[0] < 11));
});
