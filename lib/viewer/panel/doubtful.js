/** Rejects the findings of which the model is not sure enough, all at once. */

/** @typedef {import('./findings_list.js').Row} Row */

/**
 * Return what changes when all findings of the model below a confidence are rejected.
 *
 * Accepted findings and those that the model did not judge stay. What was rejected one by one stays rejected.
 *
 * @param {{rows: Row[], rejected: Row[]}} list
 * @param {number} threshold from 0 to 1
 * @param {Set<number>} before first voxels of the findings that an earlier threshold rejected
 * @returns {{reject: Row[], restore: Row[], now: Set<number>}} with `now` in place of `before`
 */
export function rejectBelow({ rows, rejected }, threshold, before) {
  const isBelow = (/** @type {Row} */ row) => row.confidence !== null && row.confidence < threshold;
  const reject = rows.filter(row => isBelow(row) && row.state !== 'accepted');
  const ours = rejected.filter(row => before.has(first(row)));
  const restore = ours.filter(row => !isBelow(row));
  const still = ours.filter(isBelow);
  return { reject, restore, now: new Set([...reject, ...still].map(first)) };
}

/** @param {Row} row */
function first({ voxels }) {
  return voxels.reduce((least, one) => Math.min(least, one), Infinity);
}
