import assert from 'node:assert/strict';
import { test } from 'node:test';

import { areSame, lengthsOf, measurementText, middleOf, planeAlong, samplesOf } from '../../lib/viewer/panel/measurements.js';
import { lesionAt } from '../../lib/viewer/panel/measurements_list.js';

const LENGTH = { kind: 'length', plane: 'axial', points: [[0, 0, 0], [3, 4, 0]] };
const AXES = { kind: 'bidirectional', plane: 'axial', points: [[0, 0, 9], [2, 0, 9], [1, -4, 9], [1, 4.5, 9]] };

test('lengths are in mm, the long axis first', () => {
  assert.deepEqual(lengthsOf(LENGTH), [5]);
  assert.deepEqual(lengthsOf(AXES), [8.5, 2]);
  assert.equal(measurementText(LENGTH), '5.0 mm');
  assert.equal(measurementText(AXES), '8.5 × 2.0 mm');
  assert.deepEqual(middleOf(LENGTH), [1.5, 2, 0]);
  assert.deepEqual(middleOf(AXES), [1, 0.25, 9]);
});

test('a plane is named by the axis of the patient that it looks along', () => {
  assert.equal(planeAlong([0, 0, -1]), 'axial');
  assert.equal(planeAlong(Float32Array.from([1, 0, 0])), 'sagittal');
  assert.equal(planeAlong([0, 0.9, 0.4]), 'coronal');
});

test('lists are the same if all their points are', () => {
  const moved = { ...LENGTH, points: [[0, 0, 0], [3, 4, 1]] };
  assert.ok(areSame([LENGTH, AXES], structuredClone([LENGTH, AXES])));
  assert.ok(!areSame([LENGTH], [moved]));
  assert.ok(!areSame([LENGTH], []));
  assert.ok(areSame([LENGTH, AXES], [AXES, LENGTH]), 'in any order');
});

test('a measurement is of the finding that most of it is in, though its middle is in none', () => {
  const size = [11, 1, 1];
  const known = Uint8Array.from({ length: 11 }, (_, x) => Number(x !== 5 && x !== 1));
  const labelmap = { size, voxelAt: ([x]) => [Math.round(x), 0, 0] };
  const rows = [{ number: 4, voxels: Uint32Array.from([0]) }, { number: 2, voxels: Uint32Array.from([2, 3, 4, 6, 7, 8, 9, 10]) }];
  const across = { kind: 'length', plane: 'axial', points: [[0, 0, 0], [10, 0, 0]] };
  assert.equal(lesionAt(across, { history: { known, labelmap }, list: { rows } }), 2);
  assert.equal(lesionAt({ ...across, points: [[1, 0, 0], [1, 0, 0.3]] }, { history: { known, labelmap }, list: { rows } }), 0);
  assert.deepEqual(samplesOf(AXES)[0], [1, -4, 9], 'of the axis that is longer');
  assert.deepEqual(samplesOf(across).at(-1), [10, 0, 0]);
});
