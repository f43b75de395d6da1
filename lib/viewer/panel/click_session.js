/** The clicks on a mask: which lesion each belongs to, and what the server is asked for the next one. */

import { regionOf } from './click_region.js';
import { findingsAt } from './findings.js';
import { indexOf, placeOf } from './voxel_index.js';

const LEAST_REACH_MM = 5;
const MOST_REACH_MM = 20;

/** @typedef {import('./findings.js').Size} Size */

/**
 * @typedef {'foreground' | 'background' | 'scribble' | 'box'} Kind as in the parameters of the request
 *
 * @typedef {object} Gesture what the user showed
 * @property {Kind} kind
 * @property {Size[]} points voxels, column, row, slice; one of a click, two opposite ones of a box
 *
 * @typedef {Gesture & {lesion: number, model_version: string}} Click as it is stored with a label
 *
 * @typedef {object} Session never changed, so that each step of the history has its own
 * @property {Click[]} clicks in their order
 * @property {number[][]} lesions voxels of each lesion after its last click, indices
 * @property {number} current number of the lesion that was clicked last, from 1; 0 if there is none
 *
 * @typedef {object} Plan what a gesture asks for
 * @property {Gesture} gesture
 * @property {number} lesion its number; that of a new one follows the others
 * @property {number[]} former voxels of the lesion in the mask
 * @property {object} params of the request
 *
 * @typedef {{voxels: Uint8Array, size: Size, spacing: Size}} Mask spacing in mm
 */

/** @type {Session} */
export const NO_CLICKS = { clicks: [], lesions: [], current: 0 };

/**
 * Return which lesion a gesture belongs to, and the request for its outline.
 *
 * A gesture on a finding of the mask refines that one; beside all findings, but near the lesion clicked last, it
 * refines this lesion; elsewhere it begins a new lesion.
 *
 * @param {Session} session
 * @param {Mask} mask as it is now
 * @param {Gesture} gesture
 * @returns {Plan}
 * @throws {Error} it takes away where there is nothing
 */
export function planClick(session, mask, gesture) {
  const touched = findingsAt(mask.voxels, mask.size, touchedVoxels(mask, gesture));
  const lesion = touched.length ? lesionOf(session, touched) : nearLesion(session, mask, gesture);
  const former = findingsAt(mask.voxels, mask.size, [...touched, ...(session.lesions[lesion - 1] ?? [])]);
  if (gesture.kind === 'background' && !former.length) {
    throw new Error('There is nothing to take away here. Click on a lesion first, then Shift+click beside it.');
  }
  const clicks = [...stillMeant(session.clicks.filter(click => click.lesion === lesion), mask, gesture), gesture];
  return { gesture, lesion, former, params: { ...paramsOf(clicks), ...formerOf(former, mask.size) } };
}

/**
 * Return the session after the answer to a gesture.
 *
 * @param {Session} session
 * @param {Plan} plan
 * @param {number[]} voxels of the lesion now
 * @param {string} version of the model that answered
 * @returns {Session}
 */
export function addClick(session, { gesture, lesion }, voxels, version) {
  const lesions = [...session.lesions];
  lesions[lesion - 1] = voxels;
  return { clicks: [...session.clicks, { ...gesture, lesion, model_version: version }], lesions, current: lesion };
}

/**
 * Return the clicks to store with a label: those of the lesions that are still in the mask, numbered from 1.
 *
 * @param {Session} session
 * @param {Uint8Array} voxels of the mask
 * @returns {Click[]}
 */
export function clicksOfLabel({ clicks, lesions }, voxels) {
  const kept = lesions.map((lesion, at) => (lesion.some(index => voxels[index]) ? at + 1 : 0)).filter(Boolean);
  return clicks
    .filter(click => kept.includes(click.lesion))
    .map(click => ({ ...click, lesion: kept.indexOf(click.lesion) + 1 }));
}

/**
 * Return the labelled voxels that a gesture is on. For a click, a neighbour counts: a brush and the pointer may round a
 * point between two slices to different ones, and a click on the border of a finding means that finding.
 *
 * @param {Mask} mask
 * @param {Gesture} gesture
 * @returns {number[]} indices
 */
function touchedVoxels({ voxels, size }, { kind, points }) {
  const places = kind === 'box' ? [middleOf(points)] : points;
  const on = places.map(place => indexOf(place, size)).filter(index => voxels[index]);
  if (on.length || points.length > 1) return on;
  const beside = neighboursOf(points[0], size).find(index => voxels[index]);
  return beside === undefined ? [] : [beside];
}

/**
 * Return the number of the lesion that a finding belongs to, the one clicked last first; of a new one if to none.
 *
 * @param {Session} session
 * @param {number[]} finding
 */
function lesionOf({ lesions, current }, finding) {
  const voxels = new Set(finding);
  const belongs = (/** @type {number} */ number) => lesions[number - 1]?.some(index => voxels.has(index));
  if (current && belongs(current)) return current;
  return lesions.findIndex((_, at) => belongs(at + 1)) + 1 || lesions.length + 1;
}

/**
 * Return the number of the lesion clicked last if a gesture is near it, or else that of a new one.
 *
 * Near is half the lesion's longest side, but at least 5 mm and at most 20 mm; a box has to contain a part of it.
 *
 * @param {Session} session
 * @param {Mask} mask
 * @param {Gesture} gesture
 */
function nearLesion({ lesions, current }, { voxels, size, spacing }, { kind, points }) {
  const places = (lesions[current - 1] ?? []).filter(index => voxels[index]).map(index => placeOf(index, size));
  const isNear = kind === 'box' ? isWithin(points) : isAround(points, reachOf(places, spacing), spacing);
  return places.some(isNear) ? current : lesions.length + 1;
}

/**
 * @param {Size[]} places
 * @param {Size} spacing mm
 */
function reachOf(places, spacing) {
  const sides = spacing.map((mm, axis) => {
    const [low, high] = places.reduce(([a, b], p) => [Math.min(a, p[axis]), Math.max(b, p[axis])], [Infinity, 0]);
    return mm * (high - low + 1);
  });
  return Math.min(Math.max(Math.max(...sides) / 2, LEAST_REACH_MM), MOST_REACH_MM);
}

/**
 * @param {Size[]} points
 * @param {number} reach mm
 * @param {Size} spacing mm
 * @returns {(place: Size) => boolean}
 */
function isAround(points, reach, spacing) {
  return place => points.some(point => Math.hypot(...point.map((p, k) => (p - place[k]) * spacing[k])) <= reach);
}

/**
 * @param {Size[]} corners
 * @returns {(place: Size) => boolean}
 */
function isWithin([one, other]) {
  return place => place.every((p, k) => p >= Math.min(one[k], other[k]) && p <= Math.max(one[k], other[k]));
}

/**
 * Return the earlier gestures on a lesion without the points that the user has taken back since, because the server
 * follows every point it gets: those at the voxels of the new gesture, and those where the user painted or erased.
 * Points that began the lesion stay where they are not marked: they may have been beside it from the start.
 *
 * @param {Gesture[]} gestures in their order
 * @param {Mask} mask
 * @param {Gesture} latest
 * @returns {Gesture[]}
 */
function stillMeant(gestures, { voxels, size }, latest) {
  const anew = new Set(latest.kind === 'box' ? [] : latest.points.map(point => indexOf(point, size)));
  return gestures.map(({ kind, points }, number) => {
    const isMeant = (/** @type {number} */ index) => (
      !anew.has(index) && (kind === 'background' ? !voxels[index] : !number || !!voxels[index])
    );
    return { kind, points: kind === 'box' ? points : points.filter(point => isMeant(indexOf(point, size))) };
  });
}

/** @param {Gesture[]} gestures of one lesion */
function paramsOf(gestures) {
  const pointsOf = (/** @type {Kind} */ kind) => gestures.filter(one => one.kind === kind).flatMap(one => one.points);
  const [foreground, background, scribble] = [pointsOf('foreground'), pointsOf('background'), pointsOf('scribble')];
  const box = pointsOf('box').slice(-2);
  // A click outside of the box says that the lesion is larger than the box.
  const fits = box.length && [...foreground, ...scribble].every(isWithin(box));
  return { foreground, background, scribble, ...(fits ? { box } : {}), region: true };
}

/**
 * @param {number[]} former
 * @param {Size} size
 */
function formerOf(former, size) {
  return former.length ? { former: regionOf(former, size) } : {};
}

/**
 * @param {Size[]} corners
 * @returns {Size}
 */
function middleOf([one, other]) {
  return /** @type {Size} */ (one.map((p, k) => Math.round((p + other[k]) / 2)));
}

/**
 * @param {Size} place
 * @param {Size} size
 * @returns {number[]} indices
 */
function neighboursOf([column, row, slice], size) {
  const found = [];
  for (const z of [slice, slice - 1, slice + 1]) {
    for (const y of [row, row - 1, row + 1]) {
      for (const x of [column, column - 1, column + 1]) {
        if ([x, y, z].every((p, axis) => p >= 0 && p < size[axis])) found.push(indexOf([x, y, z], size));
      }
    }
  }
  return found;
}
