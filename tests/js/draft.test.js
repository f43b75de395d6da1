import assert from 'node:assert/strict';
import { test } from 'node:test';

import { contentOf, describeDraft, draftOf } from '../../lib/viewer/panel/draft.js';
import { DraftOutbox } from '../../lib/viewer/panel/draft_outbox.js';
import { compressed } from '../../lib/viewer/panel/draft_requests.js';
import { lesionsOf, remarksOf } from '../../lib/viewer/panel/lesions.js';
import { Remarks, stateOf } from '../../lib/viewer/panel/remarks.js';
import { SliceRuns, indicesOf, runsIn, runsOf } from '../../lib/viewer/panel/runs.js';
import { mask } from './volume.js';

const SIZE = [4, 3, 2];
const KNOWN = mask(SIZE, [[3, 0, 0], [0, 2, 1], [1, 2, 1]]);
const REJECTED = { voxel: [1, 1, 0], state: 'rejected', confidence: 0.2, note: '' };
const LENGTH = { kind: 'length', plane: 'axial', points: [[0, 0, 0], [1, 0, 0]] };
const row = (voxels, state, confidence, note = '') => ({ voxels: Uint32Array.from(voxels), state, confidence, texture: '', note });

function listOf() {
  const clicks = { clicks: [{ kind: 'foreground', points: [[0, 0, 1]], lesion: 2 }], lesions: [undefined, [21, 3, 20]], current: 2 };
  const said = { remarks: new Remarks(), carried: [REJECTED] };
  const state = { said, modelVersion: 'v1', confidences: new Map([[3, 0.9], [8, null], [9, 0.9]]), clicks, measurements: [LENGTH] };
  return {
    rows: [row([3], 'accepted', 0.9), row([20, 21], 'added', null, 'new')],
    rejected: [row([8], 'rejected', 0.3)],
    history: { labelmap: { size: SIZE, series: '1.2' }, known: KNOWN, runs: new SliceRuns(KNOWN, SIZE[0] * SIZE[1]), state },
  };
}

test('ascending indices are written as runs', () => {
  assert.deepEqual(runsOf([0, 1, 2, 9, 20, 21]), [0, 3, 6, 1, 10, 2]);
  for (const indices of [[], [0], [7, 8], [1, 3, 4, 5]]) assert.deepEqual(indicesOf(runsOf(indices)), indices);
  for (const labelled of [[], [0], [0, 1, 5], [4, 5]]) {
    const voxels = Uint8Array.from({ length: 6 }, (_, index) => Number(labelled.includes(index)));
    assert.deepEqual(runsIn(voxels), runsOf(labelled));
  }
});

test('the runs of a mask that is edited are those of the mask as it is', () => {
  const voxels = new Uint8Array(12);
  const runs = new SliceRuns(voxels, 4);
  for (const [indices, value] of [[[0], 1], [[2, 3, 4, 5], 1], [[6, 7, 8], 1], [[11], 1], [[4, 11], 0], [[0, 1, 2, 3], 0]]) {
    for (const index of indices) voxels[index] = value;
    runs.changed(indices);
    assert.deepEqual(runs.all(), runsIn(voxels));
  }
});

test('a draft holds the mask and all that is stored with a label, through JSON and gzip', async () => {
  const draft = draftOf(listOf(), { session: 's', base: 2, note: 'n', annotator: 'A' });
  const sent = (await compressed(draft)).stream().pipeThrough(new DecompressionStream('gzip'));
  const received = contentOf(await new Response(sent).json());
  assert.deepEqual(received.voxels, KNOWN);
  assert.deepEqual([received.series, received.modelVersion, received.base, received.note], ['1.2', 'v1', 2, 'n']);
  assert.deepEqual(received.measurements, [LENGTH]);
  const { confidences, clicks } = listOf().history.state;
  assert.deepEqual(new Map([...received.confidences].sort(([one], [other]) => one - other)), confidences);
  assert.deepEqual(received.clicks, { ...clicks, lesions: [[], [3, 20, 21]] });
  assert.deepEqual(received.lesions.map(one => one.state), ['accepted', 'added', 'rejected'], 'the rejected one only once');
});

test('a draft says what it was begun from, and whether a label was submitted since', () => {
  const draft = { time: Date.now(), base: 3, annotator: '', modelVersion: null };
  assert.match(describeDraft(draft, 3), /your draft of .* begun from label 3\.$/);
  assert.match(describeDraft({ ...draft, annotator: 'Dr. A' }, 4), /draft by Dr. A of .* label 3; label 4 was submitted since\.$/);
  assert.match(describeDraft({ ...draft, base: null, modelVersion: 'v1' }, null), /begun from no label and the mask of model v1\.$/);
});

/** A server and a browser that keep drafts by series and page. */
function stores() {
  const key = ({ series, session }) => `${series} ${session}`;
  const [server, browser] = [new Map(), new Map()];
  const at = { server, browser, away: false, said: [] };
  const reach = () => {
    if (at.away) throw new Error('The server does not respond.');
  };
  at.outbox = new DraftOutbox((where, why) => at.said.push([where, why]), {
    putDraft: async draft => (reach(), server.set(key(draft), draft), 'A'),
    deleteDraft: async draft => (reach(), server.delete(key(draft))),
    fetchDraft: async () => (reach(), { user: 'A', draft: [...server.values()].at(-1) ?? null, problems: [] }),
  }, {
    keepUnsent: async draft => browser.set(key(draft), draft),
    dropUnsent: async draft => browser.delete(key(draft)),
    unsentDrafts: async user => [...browser.values()].filter(one => one.user === user),
  });
  return at;
}

const settled = () => new Promise(resolve => {
  setTimeout(resolve, 5);
});

test('a draft stays in the browser until the server has it, and is dropped from both', async () => {
  const at = stores();
  await at.outbox.find('1', 'new');
  at.away = true;
  for (const time of [1, 2]) at.outbox.keep({ series: '1', session: 's', time });
  at.outbox.send();
  await settled();
  assert.equal(at.server.size, 0);
  assert.deepEqual([...at.browser.values()].map(one => [one.time, one.user]), [[2, 'A']]);
  assert.deepEqual(at.said, [['draft in this browser only', 'The server does not respond.']]);
  at.away = false;
  assert.equal((await at.outbox.find('1', 'new')).draft.time, 2);
  at.outbox.send();
  await settled();
  assert.deepEqual([[...at.server.values()].map(one => one.time), at.browser.size], [[2], 0]);
  assert.deepEqual(at.said.at(-1), ['', '']);
  at.outbox.drop({ series: '1', session: 's' });
  await settled();
  assert.equal(at.server.size, 0);
});

test('another user of this browser is not offered what it keeps', async () => {
  const at = stores();
  at.browser.set('1 s', { series: '1', session: 's', time: 1, user: 'B' });
  assert.equal((await at.outbox.find('1', 'new')).draft, null);
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
