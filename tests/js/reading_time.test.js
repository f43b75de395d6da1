import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ReadingTime } from '../../lib/viewer/panel/reading_time.js';

/** Return a reading and a function that lets seconds pass. */
function reading() {
  let now = Date.UTC(2026, 2, 1, 9);
  const time = new ReadingTime(() => now);
  return { time, wait: seconds => (now += 1000 * seconds) };
}

test('pauses are no part of the active time', () => {
  const { time, wait } = reading();
  for (const seconds of [10, 60, 61, 5]) {
    wait(seconds);
    time.act();
  }
  wait(2.5);
  const { opened, submitted, active_seconds, pause_seconds } = time.report();
  assert.deepEqual([active_seconds, pause_seconds], [77.5, 60]);
  assert.deepEqual([opened, submitted], ['2026-03-01T09:00:00.000Z', '2026-03-01T09:02:18.500Z']);
});

test('the study says how long a pause is', () => {
  const { time, wait } = reading();
  time.pauseSeconds = 5;
  wait(6);
  time.act();
  wait(4);
  assert.equal(time.report().active_seconds, 4);
});

test('actions are counted until another case is opened', () => {
  const { time, wait } = reading();
  wait(1);
  for (const action of ['strokes', 'strokes', 'clicks', 'undos']) time.count(action);
  const { clicks, strokes, undos } = time.report();
  assert.deepEqual([clicks, strokes, undos], [1, 2, 1]);
  time.begin();
  assert.deepEqual([time.report().strokes, time.report().active_seconds], [0, 0]);
});

test('a clock that is set back takes no time away', () => {
  const { time, wait } = reading();
  wait(10);
  time.act();
  wait(-3600);
  time.act();
  assert.equal(time.report().active_seconds, 10);
});
