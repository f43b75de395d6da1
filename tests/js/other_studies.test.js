import assert from 'node:assert/strict';
import { test } from 'node:test';

import { growthText } from '../../lib/viewer/panel/growth.js';
import { LinkedPlanes, moved, SAME_POSITION } from '../../lib/viewer/panel/linked_planes.js';
import { nameOf } from '../../lib/viewer/panel/other_studies.js';
import { OTHER_VIEWPORT } from '../../lib/viewer/panel/viewports.js';

const QUARTER_TURN = [[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, -5], [0, 0, 0, 1]];

const former = {
  date: '2026-01-05', number: 1, volume: 1500, change_percent: 190.4, change: 'grown',
  doubling_days: 58.6, shortest_days: 36.2, longest_days: 154.1,
};

test('growth is told with the interval of the doubling time', () => {
  assert.equal(growthText(former), '2026-01-05: 1.5 ml, now +190 %; doubles in 59 days (95 %: 36 to 154)');
  const slow = { ...former, doubling_days: 1500, shortest_days: 1300, longest_days: null };
  assert.equal(growthText(slow), '2026-01-05: 1.5 ml, now +190 %; doubles in 49 months (95 %: 43 to ∞)');
});

test('a change that may be an error of measurement has no doubling time', () => {
  const change = 'no change beyond measurement error';
  assert.equal(growthText({ ...former, change, change_percent: -3.2 }), `2026-01-05: 1.5 ml, now −3 %; ${change}`);
  assert.match(growthText({ ...former, change: 'shrunk', doubling_days: null, change_percent: -70 }), /now −70 %; shrunk$/);
});

test('a point of the scan is found in the other study', () => {
  assert.deepEqual(moved(SAME_POSITION, [1, 2, 3]), [1, 2, 3]);
  assert.deepEqual(moved(QUARTER_TURN, [1, 2, 3]), [8, 21, -2]);
});

test('a series is named by what tells it apart', () => {
  const series = { date: '2026-01-05', days: 90, slice_thickness: 2.5, kernel: 'B40f', description: 'Chest', labelled: true };
  assert.equal(nameOf(series), '2026-01-05 · 2.5 mm · B40f · Chest · labelled');
  const unknown = { ...series, days: -3, slice_thickness: null, kernel: '', labelled: false };
  assert.equal(nameOf(unknown), '2026-01-05 (later) · Chest · no label');
  assert.equal(nameOf({ ...unknown, date: null, days: null }), 'no date · Chest · no label');
});

test('the other plane shows the same place at the same scale, and is drawn only if it did not', () => {
  const camera = at => ({ focalPoint: at, position: [at[0], at[1], at[2] - 100], parallelScale: 50 });
  const cameras = { axial: { ...camera([1, 2, 3]), parallelScale: 20 }, [OTHER_VIEWPORT]: camera([0, 0, 0]) };
  let drawn = 0;
  const viewportOf = id => ({
    getVolumeId: () => id,
    getCamera: () => cameras[id],
    setCamera: change => Object.assign(cameras[id], change),
    render: () => drawn++,
  });
  globalThis.window = new EventTarget();
  globalThis.cornerstone = { Enums: { Events: { CAMERA_MODIFIED: 'camera', IMAGE_RENDERED: 'rendered' } } };
  globalThis.services = { cornerstoneViewportService: { getCornerstoneViewport: viewportOf } };
  const linked = new LinkedPlanes('axial', new AbortController().signal);
  linked.matrix = QUARTER_TURN;
  const rendered = Object.assign(new Event('rendered'), { detail: { viewportId: 'axial' } });
  window.dispatchEvent(rendered);
  window.dispatchEvent(Object.assign(new Event('rendered'), { detail: { viewportId: OTHER_VIEWPORT } }));
  assert.deepEqual(cameras[OTHER_VIEWPORT], { focalPoint: [8, 21, -2], position: [8, 21, -102], parallelScale: 20 });
  assert.equal(drawn, 1);
});
