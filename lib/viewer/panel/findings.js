/** Findings: parts of the mask whose voxels touch face to face. A weak model marks many that are vessels. */

/**
 * Take one finding out of a mask, or everything else.
 *
 * @param {Uint8Array} voxels column fastest, then row, then slice
 * @param {[number, number, number]} size columns, rows, slices
 * @param {number} start a labelled voxel of the finding
 * @param {boolean} keep keeps only the finding
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
 * @param {Uint8Array} voxels as above
 * @param {[number, number, number]} size columns, rows, slices
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

/** Zero the voxels that hang together with `start`; returns their indices. */
function collect(voxels, [columns, rows, slices], start) {
  const found = [start];
  voxels[start] = 0;
  const visit = index => {
    if (!voxels[index]) return;
    voxels[index] = 0;
    found.push(index);
  };
  for (let next = 0; next < found.length; next++) {
    const index = found[next];
    const column = index % columns;
    const row = Math.floor(index / columns) % rows;
    const slice = Math.floor(index / (columns * rows));
    if (column > 0) visit(index - 1);
    if (column < columns - 1) visit(index + 1);
    if (row > 0) visit(index - columns);
    if (row < rows - 1) visit(index + columns);
    if (slice > 0) visit(index - columns * rows);
    if (slice < slices - 1) visit(index + columns * rows);
  }
  return found;
}
