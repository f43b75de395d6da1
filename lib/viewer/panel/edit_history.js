/** Undo and redo of mask edits, which OHIF does not have. */

import { NO_CLICKS } from './click_session.js';
import { remarksOf } from './lesions.js';
import { NOTHING_MEASURED, areSame } from './measurements.js';
import { SliceRuns } from './runs.js';

const MOST_STATES = 100;
const WORD = Uint32Array.BYTES_PER_ELEMENT;

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
 * @property {import('./click_session.js').Session} clicks that led here
 * @property {readonly import('./measurements.js').Measurement[]} measurements
 * @property {import('./lesions.js').Said} said about the findings; shared with the next state until another label is loaded
 *
 * @typedef {object} Step
 * @property {boolean} unsaved
 * @property {string | null} [modelVersion] default: as before
 * @property {import('./ranked_findings.js').Confidences} [confidences] default: as before
 * @property {import('./click_session.js').Session} [clicks] default: as before
 * @property {readonly import('./measurements.js').Measurement[]} [measurements] default: as before
 * @property {import('./lesions.js').Said} [said] default: as before
 */

export class EditHistory {
  /** @param {import('./labelmap.js').Labelmap} labelmap as it is now: where undo ends */
  constructor(labelmap) {
    this.labelmap = labelmap;
    this.known = labelmap.read();
    this.runs = new SliceRuns(this.known, labelmap.sliceLength);
    /** voxels that are labelled */
    this.labelled = 0;
    for (const value of this.known) if (value) this.labelled += 1; // reduce() takes six times as long
    /** @type {State[]} */
    this.states = [{
      change: null,
      unsaved: false,
      modelVersion: null,
      confidences: new Map(),
      clicks: NO_CLICKS,
      measurements: NOTHING_MEASURED,
      said: remarksOf([], labelmap.size),
    }];
    this.position = 0;
    /** @type {(index: Uint32Array, values: Uint8Array) => void} is told of each change */
    this.onWrite = () => {};
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
   * Record what changed in the labelmap since the last call as one step. Without a change of it or of what is measured, there
   * is no step.
   *
   * @param {Step} step
   * @param {(index: number) => boolean} [isAllowed] whether a voxel may be marked: others are taken back
   */
  commit(step, isAllowed) {
    const change = isAllowed ? this.#within(this.#difference(), isAllowed) : this.#difference();
    const { measurements } = this.state;
    if (!change.index.length && areSame(step.measurements ?? measurements, measurements)) {
      Object.assign(this.state, this.#facts(step));
      return;
    }
    this.#push(change, step);
    this.#remember(change.index, change.after);
  }

  /**
   * Write some voxels as one step, also if none changes, without a look at all the others.
   *
   * @param {ArrayLike<number>} index of each voxel
   * @param {ArrayLike<number>} values
   * @param {Step} step
   */
  write(index, values, step) {
    const before = Uint8Array.from(index, i => this.known[i]);
    this.#push({ index: Uint32Array.from(index), before, after: Uint8Array.from(values) }, step);
    this.#remember(index, values);
    this.labelmap.writeAt(index, values);
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
      const start = number * labelmap.sliceLength;
      const places = placesThatDiffer(labelmap.slice(number), known.subarray(start, start + labelmap.sliceLength));
      for (const place of places) index.push(start + place);
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
   * Take back what was marked where it is not allowed, and return what is left of the change.
   *
   * @param {Change} change
   * @param {(index: number) => boolean} isAllowed
   * @returns {Change}
   */
  #within({ index, before, after }, isAllowed) {
    const stays = index.map((one, n) => Number(after[n] <= before[n] || isAllowed(one)));
    const taken = index.filter((_, n) => !stays[n]);
    this.labelmap.writeAt(taken, before.filter((_, n) => !stays[n]));
    const isLeft = (/** @type {number} */ _, /** @type {number} */ n) => stays[n] > 0;
    return { index: index.filter(isLeft), before: before.filter(isLeft), after: after.filter(isLeft) };
  }

  /**
   * Return what is known about the mask after a step.
   *
   * @param {Step} step
   */
  #facts({ modelVersion, confidences, clicks, measurements, said }) {
    const { state } = this;
    return {
      modelVersion: modelVersion === undefined ? state.modelVersion : modelVersion,
      confidences: confidences ?? state.confidences,
      clicks: clicks ?? state.clicks,
      measurements: measurements ?? state.measurements,
      said: said ?? state.said,
    };
  }

  /**
   * @param {Change} change
   * @param {Step} step
   */
  #push(change, step) {
    const state = { change, unsaved: step.unsaved, ...this.#facts(step) };
    this.states.length = this.position + 1;
    this.states.push(state);
    if (this.states.length > MOST_STATES) {
      this.states.shift();
      this.states[0].change = null;
    }
    this.position = this.states.length - 1;
  }

  /**
   * @param {Uint32Array} index
   * @param {Uint8Array} values
   */
  #apply(index, values) {
    this.#remember(index, values);
    this.labelmap.writeAt(index, values);
  }

  /**
   * @param {ArrayLike<number>} index
   * @param {ArrayLike<number>} values
   */
  #remember(index, values) {
    for (let n = 0; n < index.length; n++) {
      this.labelled += Number(values[n] > 0) - Number(this.known[index[n]] > 0);
      this.known[index[n]] = values[n];
    }
    this.runs.changed(index);
    this.onWrite(Uint32Array.from(index), Uint8Array.from(values));
  }
}

/**
 * Return where two arrays of the same length differ. A scan has up to a hundred million voxels, so that four at a time are
 * compared where their place in memory allows it.
 *
 * @param {Uint8Array} one
 * @param {Uint8Array} other
 */
function placesThatDiffer(one, other) {
  const isAligned = one.byteOffset % WORD === 0 && other.byteOffset % WORD === 0;
  const words = isAligned ? Math.floor(one.length / WORD) : 0;
  const [ones, others] = [one, other].map(bytes => new Uint32Array(bytes.buffer, words && bytes.byteOffset, words));
  /** @type {number[]} */
  const places = [];
  const compare = (/** @type {number} */ from, /** @type {number} */ to) => {
    for (let place = from; place < to; place++) if (one[place] !== other[place]) places.push(place);
  };
  for (let n = 0; n < words; n++) if (ones[n] !== others[n]) compare(n * WORD, (n + 1) * WORD);
  compare(words * WORD, one.length);
  return places;
}
