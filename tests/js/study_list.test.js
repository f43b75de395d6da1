import assert from 'node:assert/strict';
import { test } from 'node:test';

import { summaryOf } from '../../lib/viewer/panel/study_list.js';
import { describe } from '../../lib/viewer/panel/versions.js';

const one = (state, description = '', reason = null) => ({ series: '1.2', description, state, reason });

test('a study shows the state of its series, or how many are labelled', () => {
  assert.deepEqual(summaryOf([one('to do')]), { state: 'to do', text: 'to do', title: '1.2: to do' });
  assert.equal(summaryOf([one('skipped', 'Thorax', 'not a chest')]).text, 'skipped: not a chest');
  const mixed = summaryOf([one('labelled', 'B40f'), one('to do', 'B70f'), one('imported', '5 mm')]);
  assert.deepEqual([mixed.state, mixed.text], ['imported', '1 of 3 labelled']);
  assert.equal(mixed.title, 'B40f: labelled\nB70f: to do\n5 mm: imported');
  assert.equal(summaryOf([one('to do'), one('in work')]).text, 'in work');
  assert.equal(summaryOf([one('labelled'), one('labelled')]).text, 'labelled');
  assert.deepEqual(summaryOf([one('approved'), one('labelled')]).text, '2 of 2 labelled');
  const back = summaryOf([one('approved', 'B40f'), one('sent back', 'B70f', 'hilum')]);
  assert.deepEqual([back.state, back.text, back.title], ['sent back', 'sent back', 'B40f: approved\nB70f: sent back: hilum']);
});

test('versions of other models name their model', () => {
  const kept = { version: '00002-20260101-120000', verdict: 'you decide' };
  assert.equal(describe({ model: 'lung_tumor', in_use: 'pretrained', kept, previous: null }),
    'Kept, not in use: 00002-20260101-120000 (you decide)');
  assert.equal(describe({ model: 'lung_tumor_click', in_use: '00002', kept: null, previous: 'pretrained' }),
    'lung_tumor_click, in use: 00002. ');
});
