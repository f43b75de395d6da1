import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { attempt } from '../../lib/viewer/panel/attempt.js';

let last;
let button;

beforeEach(() => {
  last = ['', ''];
  button = { disabled: false };
});

const say = (text, kind = '') => (last = [text, kind]);
const run = action => attempt(button, 'Loading…', action, say, () => last[0]);

test('the button is disabled while its action runs, and the result is said', async () => {
  const running = run(async () => 'Loaded.');
  assert.deepEqual([button.disabled, last], [true, ['Loading…', '']]);
  await running;
  assert.deepEqual([button.disabled, last], [false, ['Loaded.', 'success']]);
  await run(async () => '');
  assert.equal(last[0], '', 'the button does not load any more');
});

test('an error is said, and the button can be pressed again', async () => {
  await run(() => Promise.reject(new Error('It is damaged.')));
  assert.deepEqual([button.disabled, last], [false, ['It is damaged.', 'problem']]);
});

test('an action without a result leaves what another one has said meanwhile', async () => {
  const showing = run(async () => '');
  say('Difference 1 of 2: 3 ml.');
  await showing;
  assert.equal(last[0], 'Difference 1 of 2: 3 ml.');
});
