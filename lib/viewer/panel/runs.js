/** Ascending indices as runs, few numbers for a mask: how many are skipped, then how many follow each other, and so on. */

/**
 * @param {ArrayLike<number>} indices ascending, without repetition
 * @returns {number[]}
 */
export function runsOf(indices) {
  const runs = [];
  let end = 0;
  for (let n = 0; n < indices.length;) {
    const start = n;
    do n += 1; while (n < indices.length && indices[n] === indices[n - 1] + 1);
    runs.push(indices[start] - end, n - start);
    end = indices[n - 1] + 1;
  }
  return runs;
}

/**
 * Return the runs of the voxels of a mask that are 1.
 *
 * @param {Uint8Array} mask
 * @returns {number[]}
 */
export function runsIn(mask) {
  const runs = [];
  let end = 0;
  for (let start = mask.indexOf(1); start >= 0; start = mask.indexOf(1, end)) {
    const next = mask.indexOf(0, start);
    runs.push(start - end, (next < 0 ? mask.length : next) - start);
    if (next < 0) break;
    end = next;
  }
  return runs;
}

/**
 * @param {number[]} runs
 * @returns {number[]} indices
 */
export function indicesOf(runs) {
  const indices = [];
  let next = 0;
  for (let n = 0; n + 1 < runs.length; n += 2) {
    next += runs[n];
    for (const end = next + runs[n + 1]; next < end; next++) indices.push(next);
  }
  return indices;
}
