import assert from 'node:assert/strict';
import { test } from 'node:test';

import { describeDraft, draftOf, maskOf } from '../../lib/viewer/panel/draft.js';
import { lesionsOf, remarksOf } from '../../lib/viewer/panel/lesions.js';
import { Remarks, stateOf } from '../../lib/viewer/panel/remarks.js';
import { mask } from './volume.js';

const SIZE = [4, 3, 2];
const KNOWN = mask(SIZE, [[3, 0, 0], [0, 2, 1], [1, 2, 1]]);
const REJECTED = { voxel: [1, 1, 0], state: 'rejected', confidence: 0.2, note: '' };
const LENGTH = { kind: 'length', plane: 'axial', points: [[0, 0, 0], [1, 0, 0]] };
const row = (voxels, state, confidence, note = '') => ({ voxels: Uint32Array.from(voxels), state, confidence, texture: '', note });

function listOf() {
  const state = { modelVersion: 'v1', confidences: new Map([[3, 0.9], [8, 0.3]]), clicks: [], measurements: [LENGTH] };
  return {
    rows: [row([3], 'accepted', 0.9), row([20, 21], 'added', null, 'new')],
    rejected: [row([8], 'rejected', 0.3)],
    carried: [REJECTED],
    history: { labelmap: { size: SIZE, series: '1.2' }, known: KNOWN, state },
  };
}

test('a draft holds the mask and all that is stored with a label', () => {
  const draft = draftOf(listOf(), { session: 's', base: 2, note: 'n' });
  assert.deepEqual(maskOf(structuredClone(draft)), KNOWN);
  assert.deepEqual([draft.series, draft.modelVersion, draft.base, draft.note], ['1.2', 'v1', 2, 'n']);
  assert.deepEqual(draft.measurements, [LENGTH]);
  assert.deepEqual(draft.confidences, listOf().history.state.confidences);
  assert.deepEqual(draft.lesions.map(one => one.state), ['accepted', 'added', 'rejected'], 'the rejected one only once');
});

test('a draft says when it was painted, and whether a label was stored since', () => {
  const draft = { time: Date.now(), base: 3 };
  assert.match(describeDraft(draft, 3), /begun from label 3\.$/);
  assert.match(describeDraft(draft, 4), /begun from label 3; label 4 has been stored since\.$/);
  assert.match(describeDraft({ ...draft, base: null }, null), /begun from no label\.$/);
});

test('what was rejected earlier is stored again, unless it is in the mask now', () => {
  const list = listOf();
  assert.deepEqual(lesionsOf(list).map(one => one.state), ['accepted', 'added', 'rejected', 'rejected']);
  assert.deepEqual(lesionsOf(list)[1], { voxel: [1, 2, 1], state: 'added', confidence: null, texture: '', note: 'new' });
  list.history.known = mask(SIZE, [[1, 1, 0]]);
  assert.equal(lesionsOf(list).filter(one => one.state === 'rejected').length, 1);
});

test('a remark finds its finding again after it was edited', () => {
  const { remarks, carried } = remarksOf(lesionsOf(listOf()), SIZE);
  assert.deepEqual(carried.map(one => one.voxel), [[0, 2, 0], [1, 1, 0]]);
  assert.equal(remarks.on(Uint32Array.from([2, 3])).accepted, true);
  assert.equal(remarks.on(Uint32Array.from([21, 22])).note, 'new');
  assert.equal(remarks.on(Uint32Array.from([9])), null);
});

test('a remark is changed, not repeated', () => {
  const remarks = new Remarks();
  const voxels = Uint32Array.from([5, 6]);
  remarks.change(voxels, 5, { note: 'n' });
  remarks.change(voxels, 6, { accepted: true });
  assert.deepEqual(remarks.remarks, [{ voxel: 5, note: 'n', accepted: true }]);
  assert.deepEqual([stateOf(true, remarks.on(voxels)), stateOf(true, null), stateOf(false, null)], ['accepted', 'proposed', 'added']);
});
