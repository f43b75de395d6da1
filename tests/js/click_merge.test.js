import assert from 'node:assert/strict';
import { test } from 'node:test';

import { regionOf } from '../../lib/viewer/panel/click_region.js';
import { indexOf } from '../../lib/viewer/panel/voxel_index.js';
import { mergeOutline } from '../../lib/viewer/panel/click_merge.js';
import { mask } from './volume.js';

const SIZE = [9, 5, 4];
const at = places => places.map(place => indexOf(place, SIZE));
/** Voxels in a row of slice 1. */
const row = (first, last) => Array.from({ length: last - first + 1 }, (_, n) => [first + n, 2, 1]);

/** Merge an outline, and return the labelled columns of the row afterwards, and the merge. */
function merged({ labelled = [], outline, sent = [], now = sent }) {
  const voxels = mask(SIZE, labelled);
  const region = regionOf(at([...outline, ...sent]), SIZE);
  const only = new Set(at(outline));
  const [offset, size] = [region.offset, region.size];
  const inside = [];
  for (let z = 0; z < size[2]; z++) {
    for (let y = 0; y < size[1]; y++) {
      for (let x = 0; x < size[0]; x++) {
        inside.push(Number(only.has(indexOf([x + offset[0], y + offset[1], z + offset[2]], SIZE))));
      }
    }
  }
  region.runs = runsOf(inside);
  const merge = mergeOutline(voxels, SIZE, region, at(sent), at(now));
  merge.index.forEach((index, n) => (voxels[index] = merge.values[n]));
  const columns = [...Array(SIZE[0]).keys()].filter(x => voxels[indexOf([x, 2, 1], SIZE)]);
  return { columns, merge, voxels };
}

function runsOf(inside) {
  const runs = [0];
  let value = 0;
  for (const one of inside) {
    if (one !== value) runs.push(0);
    value = one;
    runs[runs.length - 1]++;
  }
  return runs;
}

test('a new lesion is written, and nothing else', () => {
  const { columns, merge, voxels } = merged({ labelled: [[8, 4, 3]], outline: row(2, 4) });
  assert.deepEqual(columns, [2, 3, 4]);
  assert.deepEqual(merge.index, at(row(2, 4)));
  assert.deepEqual(merge.voxels, at(row(2, 4)));
  assert.equal(merge.met, 0);
  assert.equal(voxels[indexOf([8, 4, 3], SIZE)], 1);
});

test('an outline replaces the former mask of its lesion', () => {
  const { columns, merge } = merged({ labelled: row(1, 4), sent: row(1, 4), outline: row(3, 6) });
  assert.deepEqual(columns, [3, 4, 5, 6]);
  assert.deepEqual(merge.index, at([...row(1, 2), ...row(5, 6)]), 'only what changes');
  assert.deepEqual(merge.values, [0, 0, 1, 1]);
});

test('another finding is neither erased nor grown together with', () => {
  const { columns, merge } = merged({ labelled: row(6, 7), outline: row(2, 7) });
  assert.deepEqual(columns, [2, 3, 4, 6, 7], 'a gap of one voxel stays');
  assert.equal(merge.met, 2);
  assert.deepEqual(merge.voxels, at(row(2, 4)));
});

test('another finding beside the region keeps its distance too', () => {
  const { columns } = merged({ labelled: row(6, 7), outline: row(2, 5) });
  assert.deepEqual(columns, [2, 3, 4, 6, 7]);
  const diagonal = merged({ labelled: [[5, 3, 2]], outline: row(2, 4) });
  assert.deepEqual(diagonal.columns, [2, 3], '26 neighbours');
});

test('what was painted at the lesion after the request stays', () => {
  const { columns, merge } = merged({ labelled: row(1, 5), sent: row(1, 3), now: row(1, 5), outline: row(2, 3) });
  assert.deepEqual(columns, [2, 3, 4, 5]);
  const painted = merged({ labelled: row(2, 6), sent: row(2, 3), now: row(2, 6), outline: row(1, 4) });
  assert.deepEqual(painted.columns, [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(merge.values, [0]);
});

test('what was erased after the request comes back where the outline has it', () => {
  const { columns } = merged({ labelled: row(1, 2), sent: row(1, 4), now: row(1, 2), outline: row(2, 4) });
  assert.deepEqual(columns, [2, 3, 4]);
});
