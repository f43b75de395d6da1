import assert from 'node:assert/strict';
import { test } from 'node:test';

import { describeCandidate, offerCandidates } from '../../lib/viewer/panel/candidates.js';

globalThis.Option = class {
  constructor(text, value) {
    Object.assign(this, { text, value });
  }
};

function newList() {
  const options = [];
  return { options, hidden: null, add: one => options.push(one), replaceChildren: () => (options.length = 0) };
}

test('a candidate is described by its known properties', () => {
  const all = { kind: 'RTSTRUCT', creator: 'Eclipse', when: '2024-05-01', description: 'plan 1', regions: ['GTV', 'GTV-2'] };
  assert.equal(describeCandidate({ ...all, ml: 1.234 }), 'GTV + GTV-2, 1.23 ml, RTSTRUCT of Eclipse, 2024-05-01, plan 1');
  assert.equal(describeCandidate({ kind: 'SEG', creator: null, when: '', ml: 0 }), '0.00 ml, SEG');
  assert.equal(describeCandidate({ ml: null }), '');
});

test('the label in use is listed first and only once', () => {
  const list = newList();
  offerCandidates(list, { number: 2 }, [{ number: 1, kind: 'SEG' }, { number: 2, kind: 'SEG' }]);
  assert.deepEqual(list.options.map(one => [one.text, one.value]), [['Label 2, in use', '2'], ['SEG', '1']]);
  assert.equal(list.hidden, false);
});

test('the list is cleared and hidden without a choice', () => {
  const list = newList();
  offerCandidates(list, null, [{ number: 1 }]);
  offerCandidates(list, { number: 2 }, [{ number: 2 }]);
  assert.equal(list.options.length, 1);
  assert.equal(list.hidden, true);
});
