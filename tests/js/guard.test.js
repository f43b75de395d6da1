import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { guardUnsaved } from '../../lib/viewer/panel/guard.js';

let unsaved;
let answers;
let forwards;

/** Fire an event whose target is inside the element of a selector; return whether it reaches the viewer. */
function fire(type, selector = null, fields = {}) {
  const event = Object.assign(new Event(type, { cancelable: true }), fields);
  Object.defineProperty(event, 'target', { value: { closest: asked => (asked === selector ? {} : null) } });
  let seen = false;
  const see = () => (seen = true);
  globalThis.window.addEventListener(type, see);
  globalThis.window.dispatchEvent(event);
  globalThis.window.removeEventListener(type, see);
  return { seen, prevented: event.defaultPrevented };
}

beforeEach(() => {
  [unsaved, answers, forwards] = [true, [], 0];
  globalThis.window = new EventTarget();
  globalThis.confirm = () => answers.shift();
  globalThis.history = { forward: () => (forwards += 1) };
  guardUnsaved(() => unsaved);
});

test('actions that discard the mask ask for confirmation and are blocked if it is declined', () => {
  for (const [type, selector] of [
    ['click', '[data-cy="return-to-work-list"]'],
    ['dblclick', '[data-cy="study-browser-thumbnail"]'],
    ['drop', '[data-cy="viewport-grid"]'],
  ]) {
    answers = [false, true];
    assert.deepEqual(fire(type, selector), { seen: false, prevented: true }, type);
    assert.deepEqual(fire(type, selector), { seen: true, prevented: false }, type);
  }
});

test('other elements, other keys and unchanged masks need no confirmation', () => {
  assert.equal(fire('click', '.other').seen, true);
  assert.equal(fire('keydown', null, { key: 'ArrowUp' }).seen, true);
  unsaved = false;
  assert.equal(fire('click', '[data-cy="return-to-work-list"]').seen, true);
  assert.equal(fire('beforeunload').prevented, false);
});

test('keys that change the series and closing the page ask for confirmation', () => {
  answers = [false];
  assert.equal(fire('keydown', null, { key: 'PageDown' }).seen, false);
  assert.equal(fire('beforeunload').prevented, true);
});

test('the Back button is reverted once if the confirmation is declined', () => {
  answers = [false, true];
  const back = () => {
    const event = new Event('popstate', { cancelable: true });
    globalThis.window.lunglabel.onBack(event);
    return event.defaultPrevented;
  };
  assert.equal(back(), true);
  assert.equal(back(), true, 'the popstate event of going forward');
  assert.equal(forwards, 1);
  assert.equal(back(), false);
});
