import assert from 'node:assert/strict';
import { test } from 'node:test';

import { areSame, lengthsOf, measurementText, middleOf, planeAlong } from '../../lib/viewer/panel/measurements.js';

const LENGTH = { kind: 'length', plane: 'axial', points: [[0, 0, 0], [3, 4, 0]] };
const AXES = { kind: 'bidirectional', plane: 'axial', points: [[0, 0, 9], [2, 0, 9], [1, -4, 9], [1, 4.5, 9]] };

test('lengths are in mm, the long axis first', () => {
  assert.deepEqual(lengthsOf(LENGTH), [5]);
  assert.deepEqual(lengthsOf(AXES), [8.5, 2]);
  assert.equal(measurementText(LENGTH), '5.0 mm');
  assert.equal(measurementText(AXES), '8.5 × 2.0 mm');
  assert.deepEqual(middleOf(LENGTH), [1.5, 2, 0]);
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
