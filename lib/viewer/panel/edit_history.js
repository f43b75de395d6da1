/** Undo and redo of mask edits, which OHIF does not have. */

const MOST_STATES = 100;

/**
 * @typedef {object} Change voxel by voxel
 * @property {Uint32Array} index of each voxel that changed
 * @property {Uint8Array} before
 * @property {Uint8Array} after
 *
 * @typedef {object} State
 * @property {Change | null} change that led here; null for the oldest state
 * @property {boolean} unsaved holds edits that the server does not have
 * @property {string | null} modelVersion version of the model whose mask was edited
 * @property {import('./ranked_findings.js').Confidences} confidences of that model
 *
 * @typedef {object} Step
 * @property {boolean} unsaved
 * @property {string | null} [modelVersion] default: as before
 * @property {import('./ranked_findings.js').Confidences} [confidences] default: as before
 */

export class EditHistory {
  /** @param {import('./labelmap.js').Labelmap} labelmap as it is now: where undo ends */
  constructor(labelmap) {
    this.labelmap = labelmap;
    this.known = labelmap.read();
    /** voxels that are labelled */
    this.labelled = this.known.reduce((count, value) => count + Number(value > 0), 0);
    /** @type {State[]} */
    this.states = [{ change: null, unsaved: false, modelVersion: null, confidences: new Map() }];
    this.position = 0;
  }

  get state() {
    return this.states[this.position];
  }

  get canUndo() {
    return this.position > 0;
  }

  get canRedo() {
    return this.position < this.states.length - 1;
  }

  /**
   * Record what changed in the labelmap since the last call as one step. Without a change, there is no step.
   *
   * @param {Step} step
   */
  commit({ unsaved, modelVersion = this.state.modelVersion, confidences = this.state.confidences }) {
    const change = this.#difference();
    if (!change.index.length) {
      Object.assign(this.state, { modelVersion, confidences });
      return;
    }
    this.states.length = this.position + 1;
    this.states.push({ change, unsaved, modelVersion, confidences });
    if (this.states.length > MOST_STATES) {
      this.states.shift();
      this.states[0].change = null;
    }
    this.position = this.states.length - 1;
    this.#remember(change.index, change.after);
  }

  undo() {
    const { change } = this.state;
    if (!this.canUndo || !change) return;
    this.position -= 1;
    this.#apply(change.index, change.before);
  }

  redo() {
    if (!this.canRedo) return;
    this.position += 1;
    const { change } = this.state;
    if (change) this.#apply(change.index, change.after);
  }

  /** @returns {Change} */
  #difference() {
    const { labelmap, known } = this;
    /** @type {number[]} */
    const index = [];
    for (let number = 0; number < labelmap.imageIds.length; number++) {
      const slice = labelmap.slice(number);
      const start = number * labelmap.sliceLength;
      for (let i = 0; i < slice.length; i++) if (slice[i] !== known[start + i]) index.push(start + i);
    }
    /** @param {number} i */
    const now = i => labelmap.slice(Math.floor(i / labelmap.sliceLength))[i % labelmap.sliceLength];
    return {
      index: Uint32Array.from(index),
      before: Uint8Array.from(index, i => known[i]),
      after: Uint8Array.from(index, now),
    };
  }

  /**
   * @param {Uint32Array} index
   * @param {Uint8Array} values
   */
  #apply(index, values) {
    const { labelmap } = this;
    /** @type {Map<number, Uint8Array>} */
    const slices = new Map();
    index.forEach((i, n) => {
      const number = Math.floor(i / labelmap.sliceLength);
      const slice = slices.get(number) ?? labelmap.slice(number);
      slices.set(number, slice);
      slice[i % labelmap.sliceLength] = values[n];
    });
    this.#remember(index, values);
    labelmap.redraw([...slices.keys()]);
  }

  /**
   * @param {Uint32Array} index
   * @param {Uint8Array} values
   */
  #remember(index, values) {
    index.forEach((i, n) => {
      this.labelled += Number(values[n] > 0) - Number(this.known[i] > 0);
      this.known[i] = values[n];
    });
  }
}
