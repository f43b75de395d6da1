import assert from 'node:assert/strict';
import { test } from 'node:test';

import { confidencesIn, indexAfter, percent, rankFindings, volumeText } from '../../lib/viewer/panel/ranked_findings.js';
import { mask } from './volume.js';

const SIZE = [9, 3, 2]; // all sides different
const at = ([x, y, z]) => (z * SIZE[1] + y) * SIZE[0] + x;
const LARGE = [[0, 0, 0], [1, 0, 0], [2, 0, 0]];
const SMALL = [[7, 2, 1], [8, 2, 1]];

const propose = (voxel, confidence) => ({ voxel, confidence });
const shown = (voxels, confidences) =>
  rankFindings(voxels, SIZE, confidences).map(one => [one.voxels[0], one.voxels.length, one.confidence]);

test('each finding has the confidence of the proposal in it; the most confident is first', () => {
  const voxels = mask(SIZE, [...LARGE, ...SMALL]);
  const confidences = confidencesIn(voxels, SIZE, [propose([1, 0, 0], 0.4), propose([8, 2, 1], 0.93)]);
  assert.deepEqual(shown(voxels, confidences), [[at(SMALL[0]), 2, 0.93], [at(LARGE[0]), 3, 0.4]]);
});

test('a finding without a confidence comes last, even if it is larger', () => {
  const voxels = mask(SIZE, [...LARGE, ...SMALL]);
  for (const proposals of [[propose([8, 2, 1], 0)], [propose([8, 2, 1], 0), propose([0, 0, 0], null)]]) {
    const found = shown(voxels, confidencesIn(voxels, SIZE, proposals));
    assert.deepEqual(found, [[at(SMALL[0]), 2, 0], [at(LARGE[0]), 3, null]]);
  }
});

test('without proposals the largest finding is first', () => {
  const voxels = mask(SIZE, [...SMALL, ...LARGE]);
  assert.deepEqual(shown(voxels, confidencesIn(voxels, SIZE, [])).map(([, length]) => length), [3, 2]);
});

test('the largest of several confidences counts, and a proposal outside the mask is ignored', () => {
  const voxels = mask(SIZE, LARGE);
  const proposals = [propose([0, 0, 0], 0.9), propose([2, 0, 0], 0.2), propose([0, 0, 0], 0.1), propose([5, 1, 1], 1)];
  assert.deepEqual(shown(voxels, confidencesIn(voxels, SIZE, proposals)), [[at(LARGE[0]), 3, 0.9]]);
});

test('an edited finding keeps its confidence while any of its voxels are left; a new one has none', () => {
  const predicted = mask(SIZE, LARGE);
  const confidences = confidencesIn(predicted, SIZE, [propose([0, 0, 0], 0.7)]);
  const edited = mask(SIZE, [[2, 0, 0], [3, 0, 0], ...SMALL]); // the proposed voxel is erased
  assert.deepEqual(shown(edited, confidences), [[at([2, 0, 0]), 2, 0.7], [at(SMALL[0]), 2, null]]);
});

test('the next finding is the one that follows in the table; none follows the last', () => {
  const finding = (voxels, confidence = null) => ({ voxels, confidence });
  const findings = [finding([3], 0.9), finding([5, 6, 7]), finding([1, 2]), finding([8, 9])];
  assert.equal(indexAfter(findings, null), 0);
  assert.equal(indexAfter(findings, findings[0]), 1);
  assert.equal(indexAfter(findings, findings[1]), 2);
  assert.equal(indexAfter(findings, findings[2]), 3, 'same size: ordered by first voxel');
  assert.equal(indexAfter(findings, findings[3]), 4);
  assert.equal(indexAfter([], null), 0);
  assert.equal(indexAfter(findings, finding([4, 5, 6, 7])), 1, 'a finding that no longer exists');
});

test('confidence and volume are shown as text', () => {
  assert.deepEqual([0.934, 0, 1, 0.999, null].map(percent), ['93 %', '1 %', '99 %', '99 %', '–']);
  assert.deepEqual([0.4, 99, 99.6, 510, 994, 1040, 29_390].map(volumeText), ['0 mm³', '99 mm³', '0.10 ml', '0.51 ml', '0.99 ml', '1.0 ml', '29.4 ml']);
});
