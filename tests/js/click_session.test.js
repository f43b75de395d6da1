import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { regionOf } from '../../lib/viewer/panel/click_region.js';
import { indexOf } from '../../lib/viewer/panel/voxel_index.js';
import { NO_CLICKS, addClick, clicksOfLabel, planClick } from '../../lib/viewer/panel/click_session.js';
import { mask } from './volume.js';

const SIZE = [40, 20, 10];
const SPACING = [1, 1, 2.5];
const LESION = [[10, 10, 5], [11, 10, 5], [12, 10, 5]];
const at = places => places.map(place => indexOf(place, SIZE));
const click = (...point) => ({ kind: 'foreground', points: [point] });
const away = (...point) => ({ kind: 'background', points: [point] });

const pointsOf = ({ params: { foreground, background } }) => [foreground, background];

let session;
let voxels;

/** Plan a gesture on the present mask. */
const plan = gesture => planClick(session, { voxels, size: SIZE, spacing: SPACING }, gesture);

/** Answer a gesture by an outline. */
function answer(gesture, outline) {
  const planned = plan(gesture);
  for (const index of planned.former) voxels[index] = 0;
  for (const index of at(outline)) voxels[index] = 1;
  session = addClick(session, planned, at(outline), 'v1');
  return planned;
}

beforeEach(() => {
  session = NO_CLICKS;
  voxels = mask(SIZE, []);
});

test('a first click asks for a new lesion, without a former mask', () => {
  assert.deepEqual(plan(click(10, 10, 5)).params, {
    foreground: [[10, 10, 5]], background: [], scribble: [], region: true,
  });
  assert.equal(answer(click(10, 10, 5), LESION).lesion, 1);
  assert.equal(NO_CLICKS.clicks.length, 0, 'sessions do not change');
});

test('a click near the lesion clicked last refines it, with its points and its mask', () => {
  answer(click(10, 10, 5), LESION);
  const { lesion, former, params } = plan(click(16, 10, 5));
  assert.equal(lesion, 1);
  assert.deepEqual(former, at(LESION));
  assert.deepEqual(params.foreground, [[10, 10, 5], [16, 10, 5]]);
  assert.deepEqual(params.former, regionOf(at(LESION), SIZE));
});

test('a click elsewhere begins another lesion, and one back on the first refines that', () => {
  answer(click(10, 10, 5), LESION);
  assert.equal(plan(click(18, 10, 5)).lesion, 2, '6 mm away in the plane');
  assert.equal(plan(click(10, 10, 8)).lesion, 2, '7.5 mm across it');
  answer(click(30, 10, 5), [[30, 10, 5]]);
  const back = plan(click(11, 10, 5));
  assert.equal(back.lesion, 1);
  assert.deepEqual(back.params.foreground, [[10, 10, 5], [11, 10, 5]]);
  assert.equal(plan(click(16, 10, 5)).lesion, 3, 'near a lesion that was not clicked last');
});

test('a larger lesion has a longer reach', () => {
  const row = Array.from({ length: 20 }, (_, n) => [n, 10, 5]);
  answer(click(10, 10, 5), row);
  assert.equal(plan(click(29, 10, 5)).lesion, 1);
  assert.equal(plan(click(30, 10, 5)).lesion, 2);
});

test('what was painted at the lesion or erased from it is the former mask', () => {
  answer(click(10, 10, 5), LESION);
  voxels[indexOf([13, 11, 6], SIZE)] = 1; // painted, touches a corner
  voxels[indexOf([10, 10, 5], SIZE)] = 0; // erased
  voxels[indexOf([30, 10, 5], SIZE)] = 1; // painted elsewhere
  const { former } = plan(click(12, 10, 5));
  assert.deepEqual([...former].sort((a, b) => a - b), at([[11, 10, 5], [12, 10, 5], [13, 11, 6]]));
});

test('a click on a finding of the model or of a brush refines that one', () => {
  voxels = mask(SIZE, LESION);
  const on = plan(click(11, 10, 5));
  assert.deepEqual([on.lesion, [...on.former].sort()], [1, at(LESION)]);
  assert.deepEqual([...plan(click(13, 11, 6)).former].sort(), at(LESION), 'a neighbour of the border is on it');
  assert.deepEqual(plan(click(14, 10, 5)).former, []);
});

test('Shift+click takes away from a finding, or from the lesion clicked last', () => {
  assert.throws(() => plan(away(10, 10, 5)), /nothing to take away/);
  answer(click(10, 10, 5), LESION);
  const { lesion, params } = plan(away(14, 10, 5));
  assert.equal(lesion, 1);
  assert.deepEqual([params.foreground, params.background], [[[10, 10, 5]], [[14, 10, 5]]]);
  assert.throws(() => plan(away(30, 10, 5)), /nothing to take away/);
  session = NO_CLICKS;
  assert.deepEqual(plan(away(11, 10, 5)).params.background, [[11, 10, 5]], 'on a finding that was never clicked');
});

test('of two opposite clicks on one voxel, the later one counts', () => {
  answer(click(10, 10, 5), LESION);
  assert.deepEqual(pointsOf(plan(away(10, 10, 5))), [[], [[10, 10, 5]]]);
  answer(away(10, 10, 5), LESION.slice(1));
  assert.deepEqual(pointsOf(plan(click(10, 10, 5))), [[[10, 10, 5]], []]);
});

test('clicks do not count where the user has painted or erased since', () => {
  answer(click(10, 10, 5), LESION);
  answer(click(13, 10, 5), [...LESION, [13, 10, 5]]);
  answer(away(12, 10, 5), [...LESION.slice(0, 2), [13, 10, 5]]);
  assert.deepEqual(pointsOf(plan(click(11, 10, 5))), [[[10, 10, 5], [13, 10, 5], [11, 10, 5]], [[12, 10, 5]]]);
  voxels[indexOf([12, 10, 5], SIZE)] = 1; // painted
  voxels[indexOf([13, 10, 5], SIZE)] = 0; // erased
  assert.deepEqual(pointsOf(plan(click(11, 10, 5))), [[[10, 10, 5], [11, 10, 5]], []]);
});

test('a first click beside the lesion still counts', () => {
  answer(click(9, 10, 5), LESION);
  assert.deepEqual(pointsOf(plan(click(11, 10, 5))), [[[9, 10, 5], [11, 10, 5]], []]);
});

test('a lesion that was erased is over', () => {
  answer(click(10, 10, 5), LESION);
  voxels.fill(0);
  const { lesion, params } = plan(click(10, 10, 5));
  assert.deepEqual([lesion, params.foreground], [2, [[10, 10, 5]]]);
});

test('a scribble over two findings makes them one lesion', () => {
  voxels = mask(SIZE, [[5, 5, 5], [9, 5, 5], [20, 5, 5]]);
  const scribble = { kind: 'scribble', points: [[5, 5, 5], [7, 5, 5], [9, 5, 5]] };
  const { former, params } = plan(scribble);
  assert.deepEqual(former, at([[5, 5, 5], [9, 5, 5]]));
  assert.deepEqual(params.scribble, scribble.points);
});

test('a box refines the lesion in it, and is given up when a click is outside of it', () => {
  answer(click(10, 10, 5), LESION);
  const box = { kind: 'box', points: [[8, 8, 4], [14, 12, 6]] };
  assert.equal(answer(box, LESION).lesion, 1);
  assert.deepEqual(plan(click(12, 10, 5)).params.box, box.points);
  assert.equal(plan(click(16, 10, 5)).params.box, undefined);
  assert.equal(plan({ kind: 'box', points: [[20, 8, 4], [30, 12, 6]] }).lesion, 2);
});

test('the clicks of lesions that are still there are stored with a label, in their order', () => {
  answer(click(10, 10, 5), LESION);
  answer(click(30, 10, 5), [[30, 10, 5]]);
  answer(away(12, 10, 5), LESION.slice(0, 2));
  voxels[indexOf([30, 10, 5], SIZE)] = 0;
  answer(click(35, 2, 2), [[35, 2, 2]]);
  assert.deepEqual(clicksOfLabel(session, voxels), [
    { lesion: 1, kind: 'foreground', points: [[10, 10, 5]], model_version: 'v1' },
    { lesion: 1, kind: 'background', points: [[12, 10, 5]], model_version: 'v1' },
    { lesion: 2, kind: 'foreground', points: [[35, 2, 2]], model_version: 'v1' },
  ]);
});
