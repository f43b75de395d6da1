import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { FindingsTable } from '../../lib/viewer/panel/findings_table.js';
import { keepFocus } from '../../lib/viewer/panel/kept_focus.js';

let table;
let shown;
let editor;

const settled = () => new Promise(done => {
  setTimeout(done);
});

/** Dispatch an event of an element in the table, or of the window. */
const dispatch = (target, type, element) => target.dispatchEvent(Object.defineProperty(new Event(type), 'target', { value: element }));

beforeEach(() => {
  shown = 0;
  const body = { contains: () => false, rows: [], replaceChildren: () => (shown += 1) };
  table = Object.assign(new EventTarget(), { tBodies: [body], dataset: { findings: 'table' } });
  const part = findings => ({ dataset: { findings }, setAttribute: () => {}, firstElementChild: {} });
  const parts = [table, ...['doubtful', 'threshold', 'thresholdText', 'size', 'confidence'].map(part)];
  globalThis.window = new EventTarget();
  globalThis.document = { activeElement: { tagName: 'BODY' } };
  editor = Object.assign(new EventTarget(), { review: { shown: null } });
  new FindingsTable({ querySelectorAll: () => parts }, editor, new AbortController().signal);
  shown = 0;
});

test('a button is not replaced while it is pressed, but afterwards', async () => {
  dispatch(table, 'pointerdown', { tagName: 'BUTTON', closest: () => ({}) });
  dispatch(table, 'focusout', { tagName: 'INPUT' }); // a note, which ends with the press
  editor.dispatchEvent(new Event('list'));
  await settled();
  assert.equal(shown, 0);
  window.dispatchEvent(new Event('pointerup'));
  await settled();
  assert.equal(shown, 1);
});

test('the Tab key goes on from button to button: they stay', async () => {
  dispatch(table, 'focusout', { tagName: 'BUTTON' });
  await settled();
  assert.equal(shown, 0);
});

test('nothing is replaced while a finding is being described', async () => {
  table.tBodies[0].contains = element => element.tagName === 'INPUT';
  document.activeElement = { tagName: 'INPUT' };
  editor.dispatchEvent(new Event('list'));
  assert.equal(shown, 0);
  document.activeElement = { tagName: 'BODY' };
  dispatch(table, 'focusout', { tagName: 'INPUT' });
  await settled();
  assert.equal(shown, 1);
});

test('the panel scrolls to the finding that is shown, once', () => {
  const scrolled = [];
  const line = (name, next) => ({ nextElementSibling: next, matches: () => true, scrollIntoView: () => scrolled.push(name) });
  table.tBodies[0].querySelector = () => line('finding', line('its note'));
  editor.review.shown = Uint32Array.of(7);
  for (let n = 0; n < 2; n++) editor.dispatchEvent(new Event('list'));
  assert.deepEqual(scrolled, ['its note', 'finding']);
});

test('the focus stays on the control of the same finding, or of the one that takes its place', () => {
  const focused = [];
  const control = (row, name) => ({ dataset: { control: name }, closest: () => row, focus: () => focused.push(`${row.dataset.key} ${name}`) });
  const rowOf = key => {
    const row = { dataset: { key } };
    row.controls = ['show', 'reject'].map(name => control(row, name));
    row.querySelector = selector => row.controls.find(one => selector === 'button' || selector.includes(one.dataset.control));
    return row;
  };
  const body = { rows: ['1', '2', '3'].map(rowOf), contains: () => true };
  document.activeElement = body.rows[1].controls[1];
  keepFocus(body, () => (body.rows = ['3', '2'].map(rowOf)));
  document.activeElement = body.rows[0].controls[1];
  keepFocus(body, () => (body.rows = ['2', ''].map(rowOf)));
  keepFocus(body, () => (body.rows = []));
  assert.deepEqual(focused, ['2 reject', '2 reject']);
});
