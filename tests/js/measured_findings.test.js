import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { axialAxis, diameters } from '../../lib/viewer/panel/diameters.js';
import { MeasuredFindings } from '../../lib/viewer/panel/measured_findings.js';
import { mask } from './volume.js';

const SIZE = [9, 3, 2];
const GRID = { size: SIZE, spacing: [1, 1, 2], axial: 2 };
const at = ([x, y, z]) => (z * SIZE[1] + y) * SIZE[0] + x;
const LARGE = [[0, 0, 0], [1, 0, 0], [2, 0, 0]];
const SMALL = [[7, 2, 1], [8, 2, 1]];

test('diameters are those of the lesion table on the server', () => {
  const { size, spacing, cases } = JSON.parse(readFileSync('tests/fixtures/diameters.json', 'utf-8'));
  for (const [name, { axial, voxels, longest, perpendicular }] of Object.entries(cases)) {
    const found = diameters(voxels, { size, spacing, axial });
    assert.deepEqual(
      [found.longest.toFixed(2), found.perpendicular.toFixed(2)],
      [longest.toFixed(2), perpendicular.toFixed(2)],
      name,
    );
  }
});

test('the axial axis is the one closest to the long axis of the patient', () => {
  assert.equal(axialAxis([1, 0, 0, 0, 1, 0, 0, 0, 1]), 2);
  assert.equal(axialAxis([0, 1, 0, 0, 0, -1, 1, 0, 0]), 1, 'sagittal slices');
  assert.equal(axialAxis([1, 0, 0, 0, 0.96, 0.28, 0, -0.28, 0.96]), 2, 'tilted');
});

test('the list follows the changes of the mask', () => {
  const findings = new MeasuredFindings(GRID, mask(SIZE, LARGE));
  assert.deepEqual(findings.list().findings.map(one => [...one.voxels]), [LARGE.map(at)]);
  findings.change(Uint32Array.from([...LARGE.slice(1), ...SMALL].map(at)), Uint8Array.from([0, 0, 1, 1]));
  assert.deepEqual(findings.list().findings.map(one => one.voxels.length), [2, 1]);
});

test('a finding of the model is proposed while any of it is left, then rejected; what was drawn is neither', () => {
  const findings = new MeasuredFindings(GRID, mask(SIZE, [...LARGE, ...SMALL]));
  findings.judge(new Map([...LARGE.map(voxel => [at(voxel), 0.4]), ...SMALL.map(voxel => [at(voxel), null])]));
  const shown = list => list.map(one => [one.voxels.length, one.confidence, one.proposed]);
  assert.deepEqual(shown(findings.list().findings), [[3, 0.4, true], [2, null, true]]);
  findings.change(Uint32Array.from([0, 1, at([4, 2, 0])]), Uint8Array.from([0, 0, 1]));
  assert.deepEqual(shown(findings.list().findings), [[1, 0.4, true], [2, null, true], [1, null, false]]);
  assert.deepEqual(findings.list().rejected, []);
  findings.change(Uint32Array.from([2]), Uint8Array.from([0]));
  const { rejected } = findings.list();
  assert.deepEqual(shown(rejected), [[3, 0.4, true]]);
  assert.deepEqual([...rejected[0].voxels], LARGE.map(at), 'all of what the model marked');
});
