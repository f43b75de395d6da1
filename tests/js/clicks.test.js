import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { regionOf } from '../../lib/viewer/panel/click_region.js';
import { Clicks } from '../../lib/viewer/panel/clicks.js';
import { EditHistory } from '../../lib/viewer/panel/edit_history.js';
import { Labelmap } from '../../lib/viewer/panel/labelmap.js';
import { indexOf } from '../../lib/viewer/panel/voxel_index.js';
import { holdVolume, mask } from './volume.js';

const SIZE = [30, 10, 4];
const at = places => places.map(place => indexOf(place, SIZE));
const click = (column, kind = 'foreground') => ({ kind, points: [[column, 5, 1]] });

let editor;
let clicks;
let requests;
let redrawn;

/** The part of the editor that clicks use. */
class Editor {
  said = [];

  constructor(labelmap) {
    this.history = new EditHistory(labelmap);
  }

  say(sentence, kind = 'problem') {
    this.said.push([sentence, kind]);
  }

  write(...step) {
    this.history.write(...step);
  }
}

function soon() {
  return new Promise(done => {
    setTimeout(done);
  });
}

async function reply(status, body) {
  await soon();
  requests.find(one => !one.done && (one.done = true)).respond(new Response(JSON.stringify(body), { status }));
  await soon();
}

/** Answer the oldest request that waits by the voxels around a column. */
function answer(column, fields = {}) {
  const region = regionOf(at([[column, 5, 1], [column + 1, 5, 1]]), SIZE);
  return reply(200, { region, voxels: 2, model_version: 'v1', warnings: [], ...fields });
}

const labelled = () => [...Array(SIZE[0]).keys()].filter(x => editor.history.labelmap.read()[indexOf([x, 5, 1], SIZE)]);

beforeEach(() => {
  const held = holdVolume(SIZE, mask(SIZE, []));
  redrawn = held.redrawn;
  editor = new Editor(new Labelmap(held.volume));
  clicks = new Clicks(editor);
  requests = [];
  globalThis.fetch = (_path, { body, signal }) =>
    new Promise((respond, reject) => {
      requests.push({ params: JSON.parse(body.get('params')), respond, done: false });
      signal.addEventListener('abort', () => reject(signal.reason));
    });
});

test('a click is one step to undo, with its points, and redraws its slices only', async () => {
  clicks.add(click(3));
  assert.equal(clicks.waiting, true);
  await answer(3);
  assert.deepEqual(labelled(), [3, 4]);
  assert.deepEqual(redrawn, [[1]]);
  assert.equal(clicks.waiting, false);
  clicks.add(click(5));
  await answer(5);
  editor.history.undo();
  assert.deepEqual(labelled(), [3, 4]);
  assert.deepEqual(editor.history.state.clicks.clicks.map(one => one.points), [[[3, 5, 1]]]);
  editor.history.undo();
  assert.deepEqual([labelled(), editor.history.state.clicks.clicks], [[], []]);
});

test('a click while another one runs is queued, and refines its answer', async () => {
  clicks.add(click(3));
  clicks.add(click(5));
  await soon();
  assert.equal(requests.length, 1);
  await answer(3);
  assert.equal(requests.length, 2);
  assert.deepEqual(requests[1].params.foreground, [[3, 5, 1], [5, 5, 1]]);
  assert.deepEqual(requests[1].params.former.offset, [3, 5, 1]);
  await answer(4);
  await clicks.settled();
  assert.deepEqual(labelled(), [3, 4, 5]);
});

test('a problem is a sentence, changes nothing, and does not keep the next click', async () => {
  clicks.add(click(3));
  clicks.add(click(20));
  await reply(503, { detail: '64 clicks are waiting, and no more are accepted. Try again in 9 s.' });
  assert.deepEqual(editor.said.find(([, kind]) => kind === 'problem')[0].slice(0, 21), '64 clicks are waiting');
  assert.equal(editor.history.canUndo, false);
  await answer(20);
  assert.deepEqual(labelled(), [20, 21]);
  clicks.add(click(29, 'background'));
  await soon();
  assert.match(editor.said.at(-1)[0], /nothing to take away/);
  clicks.add(click(9));
  await answer(9, { voxels: 0, warnings: ['Nothing was found at these points.'] });
  assert.equal(editor.said.at(-1)[0], 'Nothing was found at these points.');
  assert.deepEqual(labelled(), [20, 21]);
});

test('the last click can be dropped before it is answered', async () => {
  assert.equal(clicks.dropLast(), false);
  clicks.add(click(3));
  clicks.add(click(20));
  await soon();
  assert.equal(clicks.dropLast(), true);
  await answer(3);
  await clicks.settled();
  assert.deepEqual([labelled(), requests.length], [[3, 4], 1]);
  clicks.add(click(20));
  await soon();
  clicks.dropLast();
  await clicks.settled();
  assert.equal(editor.said.at(-1)[0], 'The click is dropped.');
  assert.deepEqual(labelled(), [3, 4]);
});

test('an answer for a series that is no longer shown is dropped', async () => {
  clicks.add(click(3));
  await soon();
  const before = editor.history;
  editor.history = new EditHistory(before.labelmap);
  await answer(3);
  assert.deepEqual([labelled(), before.canUndo], [[], false]);
});

test('a new lesion that meets another one says so', async () => {
  clicks.add(click(3));
  await answer(3);
  clicks.add(click(12));
  await answer(12, { region: regionOf(at([[4, 5, 1], [5, 5, 1], [12, 5, 1]]), SIZE), voxels: 3 });
  assert.match(editor.said.at(-1)[0], /^Outlined: \d+ mm³\. It meets another finding/);
  assert.deepEqual(labelled(), [3, 4, 12]);
});
