/** Undo and redo. OHIF has none for masks. */

const MOST_STATES = 100;

/**
 * @typedef {object} State
 * @property {{index: Uint32Array, before: Uint8Array, after: Uint8Array} | null} change that led here, voxel by voxel
 * @property {boolean} unsaved holds a person's work that the server has not got
 * @property {string | null} modelVersion version of the model that the mask began with
 */

export class EditHistory {
  /** @param {import('./labelmap.js').Labelmap} labelmap as it is now: what undo ends at */
  constructor(labelmap) {
    this.labelmap = labelmap;
    this.known = labelmap.read();
    /** voxels that are labelled */
    this.labelled = 0;
    for (const value of this.known) if (value) this.labelled += 1;
    /** @type {State[]} */
    this.states = [{ change: null, unsaved: false, modelVersion: null }];
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

  /** Note what changed in the labelmap since the last time as one step. Without a change, there is no step. */
  commit({ unsaved, modelVersion = this.state.modelVersion }) {
    const change = this.#difference();
    if (!change.index.length) {
      this.state.modelVersion = modelVersion;
      return;
    }
    this.states.length = this.position + 1;
    this.states.push({ change, unsaved, modelVersion });
    if (this.states.length > MOST_STATES) {
      this.states.shift();
      this.states[0].change = null;
    }
    this.position = this.states.length - 1;
    this.#remember(change.index, change.after);
  }

  undo() {
    if (!this.canUndo) return;
    const { index, before } = this.state.change;
    this.position -= 1;
    this.#apply(index, before);
  }

  redo() {
    if (!this.canRedo) return;
    this.position += 1;
    const { index, after } = this.state.change;
    this.#apply(index, after);
  }

  #difference() {
    const { labelmap, known } = this;
    const index = [];
    for (let number = 0; number < labelmap.imageIds.length; number++) {
      const slice = labelmap.slice(number);
      const start = number * labelmap.sliceLength;
      for (let i = 0; i < slice.length; i++) if (slice[i] !== known[start + i]) index.push(start + i);
    }
    const now = i => labelmap.slice(Math.floor(i / labelmap.sliceLength))[i % labelmap.sliceLength];
    return {
      index: Uint32Array.from(index),
      before: Uint8Array.from(index, i => known[i]),
      after: Uint8Array.from(index, now),
    };
  }

  #apply(index, values) {
    const slices = new Map();
    index.forEach((i, n) => {
      const number = Math.floor(i / this.labelmap.sliceLength);
      if (!slices.has(number)) slices.set(number, this.labelmap.slice(number));
      slices.get(number)[i % this.labelmap.sliceLength] = values[n];
    });
    this.#remember(index, values);
    this.labelmap.redraw([...slices.keys()]);
  }

  #remember(index, values) {
    index.forEach((i, n) => {
      this.labelled += (values[n] > 0) - (this.known[i] > 0);
      this.known[i] = values[n];
    });
  }
}
