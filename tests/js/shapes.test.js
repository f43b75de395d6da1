import assert from 'node:assert/strict';
import { test } from 'node:test';

import { listFindings } from '../../lib/viewer/panel/findings.js';
import { bridgeBetween, cutOf } from '../../lib/viewer/panel/lesion_parts.js';
import { Lungs } from '../../lib/viewer/panel/lungs.js';
import { pixelsInside } from '../../lib/viewer/panel/polygon.js';
import { indexOf } from '../../lib/viewer/panel/voxel_index.js';
import { mask } from './volume.js';

const SIZE = [12, 10, 6];
const box = ([x0, y0, z0], [x1, y1, z1]) => {
  const voxels = [];
  for (let z = z0; z <= z1; z++) for (let y = y0; y <= y1; y++) for (let x = x0; x <= x1; x++) voxels.push([x, y, z]);
  return voxels;
};
const indices = places => places.map(place => indexOf(place, SIZE));
const findings = voxels => listFindings(voxels, SIZE);

test('a polygon has the pixels whose centre is in it', () => {
  assert.deepEqual(pixelsInside([[0.5, 0.5], [3.5, 0.5], [3.5, 2.5], [0.5, 2.5]], [9, 9]), [[1, 1], [2, 1], [3, 1], [1, 2], [2, 2], [3, 2]]);
  const triangle = pixelsInside([[-0.5, -0.5], [8, -0.5], [-0.5, 8]], [20, 20]);
  assert.ok(triangle.every(([x, y]) => x + y <= 7));
  assert.equal(triangle.length, 36);
});

test('a polygon that leaves the image is cut off, and what it encloses twice is outside', () => {
  assert.deepEqual(pixelsInside([[-5, -5], [1.5, -5], [1.5, 0.5], [-5, 0.5]], [9, 9]), [[0, 0], [1, 0]]);
  assert.deepEqual(pixelsInside([[20, 20], [30, 20], [30, 30]], [9, 9]), []);
  const twice = [[0.5, 0.5], [4.5, 0.5], [4.5, 4.5], [0.5, 4.5]];
  assert.deepEqual(pixelsInside([...twice, ...twice], [9, 9]), []);
  assert.deepEqual(pixelsInside([[1, 1]], [9, 9]), []);
});

test('a cut parts a finding in two in three dimensions, at the cost of a layer of the smaller part', () => {
  const places = box([1, 1, 1], [8, 6, 4]);
  const isBeyond = ([x, y]) => x + y / 2 > 8; // oblique
  const gone = cutOf(indices(places), SIZE, isBeyond);
  const voxels = mask(SIZE, places);
  for (const index of gone) voxels[index] = 0;
  assert.equal(findings(voxels).length, 2);
  assert.ok(gone.every(index => isBeyond([index % 12, Math.floor(index / 12) % 10])), 'the larger part is whole');
  assert.ok(gone.length < places.length / 4);
  assert.deepEqual(cutOf(indices(places), SIZE, () => true), []);
});

test('two findings are joined between their nearest voxels', () => {
  const parts = [box([0, 0, 0], [2, 2, 1]), box([7, 5, 3], [10, 9, 5])];
  const bridge = bridgeBetween(indices(parts[0]), indices(parts[1]), { size: SIZE, spacing: [1, 1, 2] });
  assert.equal(bridge.length, 4, 'as many steps as columns between them');
  const voxels = mask(SIZE, parts.flat());
  assert.equal(findings(voxels).length, 2);
  for (const index of bridge) voxels[index] = 1;
  assert.equal(findings(voxels).length, 1);
});

test('the lungs are interpolated between the voxels that the server sends', () => {
  const region = { size: [3, 2, 1], start: [1, 0, 2], steps: [4, 4, 1], runs: [1, 2, 1, 2] }; // columns 1 and 2 of both rows
  const lungs = new Lungs({ midline: 3, region });
  const inside = x => lungs.contains([x, 2, 2]);
  assert.deepEqual([0, 1, 2, 3, 5, 9, 11].map(inside), [false, false, false, true, true, true, true]);
  assert.equal(new Lungs({ midline: null, region: null }).contains([0, 0, 0]), true);
});
