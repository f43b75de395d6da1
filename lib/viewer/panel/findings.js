/**
 * Findings: 26-connected components of the mask (voxels that share a face, an edge or a corner), as in
 * lib/geometry/connected_components.py; both are tested against tests/fixtures/connected_components.json.
 */

/** @typedef {[columns: number, rows: number, slices: number]} Size of a volume, in voxels */

/**
 * Remove one finding from a mask, or everything else.
 *
 * @param {Uint8Array} voxels column fastest, then row, then slice
 * @param {Size} size
 * @param {number} start index of a labelled voxel of the finding
 * @param {boolean} keep whether to keep only the finding
 * @returns {Uint8Array} the mask that is left
 */
export function separateFinding(voxels, size, start, keep) {
  const rest = voxels.slice();
  const finding = collect(rest, size, start);
  if (!keep) return rest;
  const only = new Uint8Array(voxels.length);
  for (const index of finding) only[index] = voxels[index];
  return only;
}

/**
 * List the findings of a mask.
 *
 * @param {Uint8Array} voxels column fastest, then row, then slice
 * @param {Size} size
 * @returns {number[][]} voxel indices of each finding, the largest first
 */
export function listFindings(voxels, size) {
  const rest = voxels.slice();
  const findings = [];
  for (let start = rest.indexOf(1); start >= 0; start = rest.indexOf(1, start + 1)) {
    findings.push(collect(rest, size, start));
  }
  return findings.sort((one, other) => other.length - one.length || one[0] - other[0]);
}

/**
 * Return the voxels of the findings that contain some voxels.
 *
 * @param {Uint8Array} voxels column fastest, then row, then slice; the same afterwards
 * @param {Size} size
 * @param {number[]} seeds indices; those that are not labelled are ignored
 * @returns {number[]} indices
 */
export function findingsAt(voxels, size, seeds) {
  const found = [];
  for (const seed of seeds) {
    if (!voxels[seed]) continue;
    for (const index of collect(voxels, size, seed)) found.push(index);
  }
  for (const index of found) voxels[index] = 1;
  return found;
}

/**
 * Set the voxels of the connected component of `start` to 0, and return their indices.
 *
 * @param {Uint8Array} voxels changed in place
 * @param {Size} size
 * @param {number} start index of a labelled voxel
 */
function collect(voxels, [columns, rows, slices], start) {
  const found = [start];
  voxels[start] = 0;
  for (let next = 0; next < found.length; next++) {
    const index = found[next];
    const column = index % columns;
    const row = Math.floor(index / columns) % rows;
    const slice = Math.floor(index / (columns * rows));
    for (let z = Math.max(slice - 1, 0); z <= Math.min(slice + 1, slices - 1); z++) {
      for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, rows - 1); y++) {
        for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, columns - 1); x++) {
          const neighbour = (z * rows + y) * columns + x;
          if (!voxels[neighbour]) continue;
          voxels[neighbour] = 0;
          found.push(neighbour);
        }
      }
    }
  }
  return found;
}
