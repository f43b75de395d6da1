import assert from 'node:assert/strict';
import { test } from 'node:test';

import { compare, differences } from '../../lib/viewer/panel/comparison.js';
import { sectionOf } from '../../lib/viewer/panel/click_region.js';
import { borderIn } from '../../lib/viewer/panel/outline.js';
import { SparseMask } from '../../lib/viewer/panel/sparse_mask.js';
import { detailsOf, nameOf } from '../../lib/viewer/panel/stored_list.js';
import { mask } from './volume.js';

const SIZE = [5, 4, 3];

test('a stored mask is compared with the one on the screen', () => {
  const stored = new SparseMask(mask(SIZE, [[1, 1, 0], [2, 1, 0], [2, 1, 1], [2, 1, 2]]), SIZE);
  const known = mask(SIZE, [[2, 1, 0], [2, 1, 1], [4, 3, 2]]);
  assert.deepEqual(compare(stored.index, { known, labelled: 3 }), { dice: 4 / 7, onlyStored: 2, onlyMask: 1 });
  const empty = new SparseMask(mask(SIZE, []), SIZE);
  assert.equal(compare(empty.index, { known: mask(SIZE, []), labelled: 0 }).dice, 1);
  assert.equal(compare(empty.index, { known, labelled: 3 }).dice, 0);
});

test('the places where masks differ are listed, the largest first, and nothing is changed', () => {
  const stored = new SparseMask(mask(SIZE, [[0, 0, 0], [1, 0, 0], [4, 3, 2]]), SIZE);
  const known = mask(SIZE, [[4, 3, 2], [4, 0, 2]]);
  assert.deepEqual(differences(stored.index, known, SIZE).map(one => one.sort((a, b) => a - b)), [[0, 1], [44]]);
  assert.deepEqual(known, mask(SIZE, [[4, 3, 2], [4, 0, 2]]));
});

test('a section of a mask is cut across each axis', () => {
  const stored = new SparseMask(mask(SIZE, [[1, 2, 0], [3, 2, 1]]), SIZE);
  assert.deepEqual(stored.section(2, 1), [[3, 2]]);
  assert.deepEqual(stored.section(1, 2), [[1, 0], [3, 1]]);
  assert.deepEqual(stored.section(0, 3), [[2, 1]]);
  assert.deepEqual(stored.section(0, 0), []);
  const region = { offset: [1, 2, 0], size: [3, 1, 2], runs: [0, 1, 4, 1] };
  assert.deepEqual(sectionOf(region, 2, 1), [[3, 2]]);
  assert.deepEqual(sectionOf(region, 1, 2), [[1, 0], [3, 1]]);
});

test('the outline of two neighbouring pixels has six sides, on their corners', () => {
  const viewport = { getCamera: () => ({ viewPlaneNormal: [0, 0, 1] }), worldToCanvas: ([x, y]) => [10 * x, 20 * y] };
  const imageData = { indexToWorld: index => index };
  const lines = borderIn(() => [[1, 2], [2, 2]], imageData, viewport, [0, 0, 1]);
  assert.equal(lines.length, 6);
  const corners = lines.flat();
  assert.deepEqual([Math.min(...corners.map(([x]) => x)), Math.max(...corners.map(([x]) => x))], [5, 25]);
  assert.deepEqual([Math.min(...corners.map(([, y]) => y)), Math.max(...corners.map(([, y]) => y))], [30, 50]);
  const oblique = { ...viewport, getCamera: () => ({ viewPlaneNormal: [0, Math.SQRT1_2, Math.SQRT1_2] }) };
  assert.deepEqual(borderIn(() => [[1, 2]], imageData, oblique, [0, 0, 1]), []);
});

test('a label is named by its origin, and described by author or object', () => {
  const source = { kind: 'SEG', creator: 'Doe^J', when: '2015-02-03 17:51', description: 'reader a', regions: ['GTV', 'GTV 2'] };
  assert.equal(nameOf({ number: 3, tag: 'candidate', source }), 'Label 3, SEG of Doe^J');
  assert.equal(nameOf({ number: 1, tag: 'initial', source: { kind: 'LIDC XML', when: '', file: '069.xml' } }), 'Label 1, LIDC XML 069.xml');
  assert.equal(nameOf({ number: 2, tag: 'original' }), 'Label 2, mask of the model');
  assert.equal(detailsOf({ number: 3, tag: 'candidate', source }, false), '2015-02-03 17:51 · GTV + GTV 2 · reader a');
  assert.match(detailsOf({ number: 3, tag: 'initial', source }, true), /^in use, not yet reviewed · 2015/);
  assert.match(detailsOf({ number: 4, tag: 'final', time: 0, annotator: 'Dr. Reader', note: 'calcified' }, true),
    /^in use · Dr. Reader · .*1970.* · calcified$/);
});
