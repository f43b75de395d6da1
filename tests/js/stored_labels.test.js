import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { compare, differences } from '../../lib/viewer/panel/comparison.js';
import { sectionOf } from '../../lib/viewer/panel/click_region.js';
import { borderIn } from '../../lib/viewer/panel/outline.js';
import { SparseMask } from '../../lib/viewer/panel/sparse_mask.js';
import { StoredLabels } from '../../lib/viewer/panel/stored_labels.js';
import { detailsOf, nameOf } from '../../lib/viewer/panel/stored_list.js';
import { mask } from './volume.js';

const SIZE = [5, 4, 3];
const LABEL = { number: 7, tag: 'final', time: 0, annotator: 'Dr. Reader', voxels: 1 };

/** @type {Record<string, () => object | Uint8Array>} answers of the server by path and image */
let answers;
let parts;
let editor;
let labels;

beforeEach(() => {
  const element = () => ({ replaceChildren: () => {}, querySelectorAll: () => [], add: () => {}, classList: { toggle: () => {} } });
  const names = ['stored', 'storedText', 'load', 'storedCount', 'storedList', 'storedRows', 'difference', 'comparison', 'skip',
    'presence', 'labelReview', 'labelReviewText', 'labelReviewForm', 'reviewNote', 'approve', 'sendBack'];
  parts = Object.fromEntries(names.map(name => [name, element()]));
  Object.assign(globalThis, {
    window: { addEventListener: () => {} },
    cornerstone: { Enums: { Events: {} } },
    services: { viewportGridService: { getState: () => ({ viewports: new Map() }) } },
    document: { createElement: () => ({ dataset: {}, querySelectorAll: () => [] }) },
    Option: class {},
    fetch: async path => {
      const { pathname, searchParams } = new URL(path, 'http://localhost');
      const found = answers[`${pathname} ${searchParams.get('image')}`]?.();
      if (!found) return new Response('{"detail": "The server is away."}', { status: 500 });
      return new Response(found instanceof Uint8Array ? found : JSON.stringify(found));
    },
  });
  editor = Object.assign(new EventTarget(), {
    history: { labelmap: { series: 'first', size: SIZE, length: 60 } },
    load: async () => {},
  });
  const attempt = (button, _waiting, action) => (button.attempted = action());
  labels = new StoredLabels(parts, editor, attempt, new AbortController().signal);
  answers = { '/viewer/case first': () => ({ label: LABEL, stored: [], refused: [], damaged: [], skipped: null, review: null, others: [] }) };
});

test('the label of the former scan is not offered for the next one, also if the server does not say what that has', async () => {
  await labels.lookUp('first');
  assert.deepEqual([labels.current.number, parts.load.hidden], [7, false]);
  await assert.rejects(labels.lookUp('second'), /The server is away/);
  assert.deepEqual([labels.current, parts.load.hidden], [null, true]);
});

test('a label of another number of voxels than the scan on the screen is not loaded', async () => {
  await labels.lookUp('first');
  answers['/viewer/label first'] = () => new Uint8Array(80);
  parts.load.onclick();
  await assert.rejects(parts.load.attempted, /another number of slices than when it was opened/);
  answers['/viewer/label first'] = () => new Uint8Array(60);
  parts.load.onclick();
  assert.equal(await parts.load.attempted, 'Label 7 is loaded.');
});

test('the panel tells who else works on the scan and what a reviewer said, and a mask goes on from the label that was seen', async () => {
  const review = { state: 'sent back', by: 'rhea', time: 5, note: 'hilum', may_review: false };
  const others = [{ name: 'ben', sign: 'open' }, { name: 'cara', sign: 'draft' }, { name: 'dan', sign: 'open' }];
  answers['/viewer/case first'] = () => ({ label: LABEL, stored: [], refused: [], damaged: [], skipped: null, review, others });
  await labels.lookUp('first');
  assert.equal(parts.presence.textContent, 'ben and dan have this scan open. cara has a draft of this scan.');
  assert.match(parts.labelReviewText.textContent, /^Sent back by rhea, .*1970.*: hilum$/);
  assert.deepEqual([parts.labelReview.hidden, parts.labelReviewForm.hidden, labels.seen], [false, true, 7]);
  answers['/viewer/case first'] = () => ({
    label: { ...LABEL, number: 8 }, stored: [], refused: [], damaged: [], skipped: null, review: { ...review, state: null, may_review: true }, others: [],
  });
  await labels.renew();
  assert.deepEqual([labels.current.number, labels.seen, parts.presence.hidden], [8, 7, true]);
  assert.deepEqual([parts.labelReview.hidden, parts.labelReviewForm.hidden], [false, false]);
  parts.reviewNote = Object.assign(parts.reviewNote, { value: ' ', focus: () => {} });
  parts.sendBack.onclick();
  await assert.rejects(parts.sendBack.attempted, /what is to be corrected/);
});

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
  const pixels = [[1, 2], [2, 2]];
  const lines = borderIn(() => pixels, imageData, viewport, [0, 0, 1]);
  assert.equal(lines.length, 6);
  const moved = { ...viewport, worldToCanvas: ([x, y]) => [10 * x + 3, 20 * y] };
  assert.deepEqual(borderIn(() => pixels, imageData, moved, [0, 0, 1]), lines.map(line => line.map(([x, y]) => [x + 3, y])));
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
