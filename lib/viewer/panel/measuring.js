/** Keeps the rulers on the screen and the measurements of the mask's history the same: each change is a step to undo. */

import { onCapture } from './guard.js';
import { areSame, isSame } from './measurements.js';
import * as rulers from './rulers.js';
import { activeTool } from './tools.js';

/** @typedef {import('./measurements.js').Measurement} Measurement */

const MEASURES = ['length', 'bidirectional'];

export class Measuring {
  /** @type {Set<string>} ids of the rulers that are finished */
  #drawn = new Set();

  /** @param {import('./editor.js').Editor} editor */
  constructor(editor) {
    this.editor = editor;
    const { ANNOTATION_COMPLETED, TOOL_ACTIVATED } = cornerstoneTools.Enums.Events;
    /** @type {(type: string, listener: (event: CustomEvent) => void) => void} */
    const on = (type, listener) => cornerstone.eventTarget.addEventListener(type, /** @type {EventListener} */ (listener));
    on(ANNOTATION_COMPLETED, ({ detail }) => this.#onDrawn(detail.annotation));
    on(TOOL_ACTIVATED, () => this.#letMove());
    onCapture('pointerup', () => setTimeout(() => this.#record())); // after a ruler was moved
    editor.addEventListener('change', () => this.#follow());
  }

  /** @returns {readonly Measurement[]} */
  get measurements() {
    return this.editor.history?.state.measurements ?? [];
  }

  /** @param {Measurement} measurement */
  remove(measurement) {
    this.#write(this.measurements.filter(one => !isSame(one, measurement)));
  }

  /** Remove the ruler under the pointer. @returns {boolean} whether there is one */
  removePointedAt() {
    const pointed = rulers.rulers().find(one => one.highlighted && this.#drawn.has(one.annotationUID));
    if (pointed) this.remove(rulers.measurementOf(pointed));
    return !!pointed;
  }

  /** @param {CornerstoneAnnotation} ruler */
  #onDrawn(ruler) {
    if (!(ruler.metadata.toolName in rulers.KINDS)) return;
    this.#drawn.add(ruler.annotationUID);
    this.#record();
  }

  /** Take over what was drawn or moved; OHIF itself erases all rulers when a study is left, which is no edit. */
  #record() {
    const now = this.#finished().map(rulers.measurementOf);
    if (now.length < this.measurements.length || areSame(now, this.measurements)) return;
    if (now.every(one => this.#isInside(one))) {
      this.#write(now);
      return;
    }
    this.#follow();
    this.editor.say('Nothing is measured: a line ends outside of the image.');
  }

  /** @param {Measurement} measurement */
  #isInside({ points }) {
    const labelmap = this.editor.history?.labelmap;
    return !!labelmap && points.every(point => labelmap.voxelAt(point));
  }

  /** @param {readonly Measurement[]} measurements */
  #write(measurements) {
    if (this.editor.history) this.editor.write([], [], { unsaved: true, measurements });
  }

  /** Draw what the history has, and erase everything else. */
  #follow() {
    rulers.addRulers();
    const wanted = this.measurements;
    const drawn = this.#finished();
    if (areSame(wanted, drawn.map(rulers.measurementOf))) return;
    for (const { annotationUID } of drawn) {
      rulers.erase(annotationUID);
      this.#drawn.delete(annotationUID);
    }
    for (const one of wanted) this.#drawn.add(rulers.draw(one));
    this.#letMove();
    rulers.redrawRulers();
  }

  #finished() {
    return rulers.rulers().filter(one => this.#drawn.has(one.annotationUID));
  }

  #letMove() {
    const tool = activeTool();
    const group = services.toolGroupService.getToolGroup('mpr');
    rulers.letMove(!tool || MEASURES.includes(tool), group?.getActivePrimaryMouseButtonTool());
  }
}
