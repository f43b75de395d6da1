import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { listenToKeys } from '../../lib/viewer/panel/shortcuts.js';

let called;
let enabled;
let closing;

beforeEach(() => {
  [called, enabled, closing] = [[], true, new AbortController()];
  globalThis.window = new EventTarget();
  const actions = Object.fromEntries(['b', ' ', 'ctrl+z', 'ctrl+shift+z'].map(key => [key, () => called.push(key)]));
  listenToKeys(actions, () => enabled, closing.signal);
});

function press(key, fields = {}, target = 'body') {
  const event = Object.assign(new Event('keydown', { cancelable: true }), { key, ...fields });
  Object.defineProperty(event, 'target', { value: { closest: selector => (selector.split(/[ :,]+/).includes(target) ? {} : null) } });
  globalThis.window.dispatchEvent(event);
  return event.defaultPrevented;
}

test('a key calls its action and does not reach the viewer; Cmd counts as Ctrl', () => {
  assert.equal(press('B'), true);
  press('z', { ctrlKey: true });
  press('Z', { metaKey: true, shiftKey: true });
  assert.deepEqual(called, ['b', 'ctrl+z', 'ctrl+shift+z']);
});

test('other keys, keys typed into a field, and keys without a mask reach the page', () => {
  assert.equal(press('q'), false);
  assert.equal(press('b', {}, 'textarea'), false);
  enabled = false;
  assert.equal(press('b'), false);
  closing.abort();
  enabled = true;
  press('b');
  assert.deepEqual(called, []);
});

test('the space bar presses the button that has the focus, and the viewer does not see it', () => {
  const seen = [];
  globalThis.window.addEventListener('keydown', event => seen.push(event.key));
  assert.equal(press(' ', {}, 'button'), false);
  assert.deepEqual([called, seen], [[], []]);
  assert.equal(press(' '), true);
  assert.deepEqual(called, [' ']);
});
