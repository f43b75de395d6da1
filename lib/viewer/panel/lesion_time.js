/**
 * How long a reader worked on each finding of a case. A finding is worked on from when it is shown, or from the beginning of the
 * gesture that changes it, until another one is, or the reader looks elsewhere. The rest of the time is that of no finding.
 */

/** @typedef {{voxels: Uint32Array}} Finding */

export class LesionTime {
  /** Voxel of the finding that is worked on. @type {number | null} */
  #current = null;
  /** Time since the last gesture began, or another finding was worked on. */
  #recentMs = 0;
  /** @type {Map<number, number>} milliseconds by a voxel of the finding */
  #spent = new Map();

  /** Start anew, for a case that was just opened. */
  begin() {
    this.#current = null;
    this.#recentMs = 0;
    this.#spent.clear();
  }

  /** @param {number} ms active time that has passed */
  pass(ms) {
    this.#recentMs += ms;
  }

  /** A gesture begins: it belongs to the finding that it will change, what was before to the one so far. */
  startGesture() {
    this.#settle(this.#current);
  }

  /** @param {number} voxel index of a voxel of the finding that is worked on now, also in the gesture that led to it */
  workOn(voxel) {
    this.#settle(voxel);
    this.#current = voxel;
  }

  /** The reader looks elsewhere. */
  leave() {
    this.#settle(this.#current);
    this.#current = null;
  }

  /**
   * Return the time spent on each of some findings.
   *
   * @template {Finding} One
   * @param {One[]} findings
   * @returns {Map<One, number>} seconds, of those with any
   */
  secondsOn(findings) {
    this.#settle(this.#current);
    const found = new Map();
    for (const [voxel, ms] of this.#spent) {
      const finding = findings.find(one => one.voxels.includes(voxel));
      if (finding) found.set(finding, (found.get(finding) ?? 0) + ms / 1000);
    }
    return found;
  }

  /** @param {number | null} voxel of the finding that the recent time belongs to; null for none */
  #settle(voxel) {
    if (voxel !== null && this.#recentMs) this.#spent.set(voxel, (this.#spent.get(voxel) ?? 0) + this.#recentMs);
    this.#recentMs = 0;
  }
}

/**
 * Return a voxel of the finding that a change of the mask was made on.
 *
 * @param {ArrayLike<number>} index of each voxel that changed
 * @param {Uint8Array} known the mask after it
 * @param {import('./findings.js').Size} size
 * @returns {number | null} one that was marked, or else next to one that was taken away, or else that was; null without a change
 */
export function touchedVoxel(index, known, [columns, rows]) {
  const offsets = [0, 1, -1, columns, -columns, columns * rows, -columns * rows];
  for (const offset of offsets) for (const one of Array.from(index)) if (known[one + offset]) return one + offset;
  return index.length ? index[0] : null;
}
