/** What is stored with a label about each of its findings. */

import { Remarks } from './remarks.js';
import { indexOf, placeOf } from './voxel_index.js';

const MOST_LESIONS = 500; // as the server allows

/**
 * @typedef {object} Lesion
 * @property {[column: number, row: number, slice: number]} voxel in it
 * @property {import('./remarks.js').State} state
 * @property {number | null} confidence of the model that it is a lesion; null if it was not judged, or was drawn
 * @property {import('./remarks.js').Texture} [texture]
 * @property {string} note
 * @property {number} [active_seconds] time spent on it, without pauses
 *
 * @typedef {object} Said about the findings of a mask
 * @property {Remarks} remarks
 * @property {Lesion[]} carried findings that were rejected before the label was loaded
 */

/**
 * Return what is stored about the findings of a mask, those that were rejected included.
 *
 * @param {import('./findings_list.js').FindingsList} list
 * @param {import('./lesion_time.js').LesionTime} [time] spent on them
 * @returns {Lesion[]}
 */
export function lesionsOf({ rows, rejected, history }, time) {
  const seconds = time?.secondsOn([...rows, ...rejected]);
  const { labelmap: { size }, known, state: { said: { carried } } } = history;
  const earlier = carried.filter(one => !known[indexOf(one.voxel, size)]);
  const listed = [...rows, ...rejected].map(row => {
    const { voxels, state, confidence, texture, note } = row;
    const spent = seconds && { active_seconds: Math.round(10 * (seconds.get(row) ?? 0)) / 10 };
    return { voxel: placeOf(middle(voxels), size), state, confidence, texture, note, ...spent };
  });
  return [...listed, ...earlier].slice(0, MOST_LESIONS);
}

/**
 * Return the remarks of a stored label, and what was rejected in it.
 *
 * @param {Lesion[]} lesions
 * @param {import('./findings.js').Size} size
 * @returns {Said}
 */
export function remarksOf(lesions, size) {
  const stored = lesions.filter(one => one.state !== 'rejected');
  const remarks = stored.map(({ voxel, state, texture, note }) => (
    { voxel: indexOf(voxel, size), accepted: state === 'accepted', texture, note }
  ));
  return { remarks: new Remarks(remarks), carried: lesions.filter(one => one.state === 'rejected') };
}

/** @param {Uint32Array} voxels */
export function middle(voxels) {
  return voxels[voxels.length >> 1];
}
