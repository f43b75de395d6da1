import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { numberFindings, numbersIn } from '../../lib/viewer/panel/lesion_numbers.js';
import { MeasuredFindings } from '../../lib/viewer/panel/measured_findings.js';
import { mask } from './volume.js';

const SIZE = [9, 3, 2];
const at = ([x, y, z]) => (z * SIZE[1] + y) * SIZE[0] + x;
const LARGE = [[0, 0, 0], [1, 0, 0], [2, 0, 0]];
const SMALL = [[7, 2, 1], [8, 2, 1]];

test('lesions are numbered after the former ones as on the server', () => {
  const { cases } = JSON.parse(readFileSync('tests/fixtures/lesion_numbers.json', 'utf-8'));
  for (const [name, { former, last, lesions, numbers: expected }] of Object.entries(cases)) {
    const numbers = new Map(Object.entries(former).flatMap(([number, voxels]) => voxels.map(index => [index, Number(number)])));
    assert.deepEqual(numberFindings(lesions, { numbers, last }), expected, name);
  }
});

test('a stored label says the numbers of its lesions; an old one has them by size', () => {
  const former = mask(SIZE, [...LARGE, ...SMALL]);
  const numbers = numbersIn(former, SIZE, [{ voxel: SMALL[1], number: 1 }, { voxel: LARGE[0], number: 5 }]);
  assert.deepEqual([numbers.get(at(LARGE[2])), numbers.get(at(SMALL[0])), numbers.size], [5, 1, 5]);
  assert.equal(numbersIn(former, SIZE, null).get(at(LARGE[2])), 1);
});

test('the list numbers findings by size, then after the label that is stored', () => {
  const findings = new MeasuredFindings({ size: SIZE, spacing: [1, 1, 1], axial: 2 }, mask(SIZE, [...LARGE, ...SMALL]));
  const numbers = () => findings.list().findings.map(one => [one.voxels.length, one.number]);
  assert.deepEqual(numbers(), [[3, 1], [2, 2]]);
  findings.follow({ mask: mask(SIZE, SMALL), numbered: [{ voxel: SMALL[0], number: 4 }], last: 6 });
  assert.deepEqual(numbers(), [[3, 7], [2, 4]]);
  findings.follow({ mask: null, numbered: null, last: 6 }); // the label was withdrawn, or is damaged
  assert.deepEqual(numbers(), [[3, 7], [2, 8]], 'as on the server');
});
