/** What the reader says about single findings: that one is accepted, textures, and free notes. */

/**
 * @typedef {object} Remark
 * @property {number} voxel index of a voxel in the finding: it finds the finding again after it was edited
 * @property {boolean} [accepted]
 * @property {Texture} [texture]
 * @property {string} [note]
 *
 * @typedef {'' | 'solid' | 'part_solid' | 'ground_glass'} Texture of a finding; empty if nobody has said
 *
 * @typedef {'proposed' | 'accepted' | 'added' | 'rejected'} State of a finding
 */

export class Remarks {
  /** @param {Remark[]} remarks of the label that was loaded */
  constructor(remarks = []) {
    this.remarks = remarks.map(one => ({ ...one }));
  }

  /**
   * Return the remark on a finding.
   *
   * @param {Uint32Array} voxels of the finding
   * @returns {Remark | null}
   */
  on(voxels) {
    return this.remarks.find(one => voxels.includes(one.voxel)) ?? null;
  }

  /**
   * @param {Uint32Array} voxels of the finding
   * @param {number} voxel in its middle
   * @param {Omit<Remark, 'voxel'>} change
   */
  change(voxels, voxel, change) {
    const known = this.on(voxels);
    if (known) Object.assign(known, change);
    else this.remarks.push({ voxel, ...change });
  }
}

/**
 * Return the state of a finding in the mask.
 *
 * @param {boolean} proposed whether the model marked any of it
 * @param {Remark | null} remark
 * @returns {State}
 */
export function stateOf(proposed, remark) {
  if (!proposed) return 'added';
  return remark?.accepted ? 'accepted' : 'proposed';
}
