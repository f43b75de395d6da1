import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { openSample, takeNotice } from '../../lib/viewer/panel/next_sample.js';

beforeEach(() => {
  const kept = new Map();
  globalThis.sessionStorage = {
    getItem: key => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, value),
    removeItem: key => kept.delete(key),
  };
  globalThis.location = { search: '' };
});

test('a sample opens with its study and series', () => {
  openSample({ StudyInstanceUID: '1.2', SeriesInstanceUID: '1.2.3' });
  assert.equal(globalThis.location.search, 'StudyInstanceUIDs=1.2&SeriesInstanceUIDs=1.2.3');
  assert.equal(takeNotice('1.2.3'), '');
});

test('a review is announced once, on its own series, with the agreement if known', () => {
  openSample({ StudyInstanceUID: '1.2', SeriesInstanceUID: '1.2.3', review: true, disagreement: 0.25 });
  assert.equal(takeNotice('9'), '');
  assert.match(takeNotice('1.2.3'), /Dice of label and model: 0\.75\./);
  assert.equal(takeNotice('1.2.3'), '');
  openSample({ StudyInstanceUID: '1.2', SeriesInstanceUID: '1.2.3', review: true });
  assert.doesNotMatch(takeNotice('1.2.3'), /Dice/);
  openSample({ StudyInstanceUID: '1.2', SeriesInstanceUID: '1.2.3', review_state: 'sent back' });
  assert.match(takeNotice('1.2.3'), /was sent back/);
});
