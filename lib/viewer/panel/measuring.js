/** Keeps the rulers on the screen and the measurements of the mask's history the same: each change is a step to undo. */

import { onCapture } from './guard.js';
import { isHeld } from './labelmap.js';
import { areSame, hasLength, isSame, planeAlong } from './measurements.js';
import * as rulers from './rulers.js';
import { activeTool } from './tools.js';

/** @typedef {import('./measurements.js').Measurement} Measurement */

const MEASURES = ['length', 'bidirectional'];

export class Measuring {
  /** @type {Map<string, Measurement>} as last seen, by the id of the ruler that is finished */
  #drawn = new Map();

  /** @param {import('./editor.js').Editor} editor */
  constructor(editor) {
    this.editor = editor;
    const { ANNOTATION_COMPLETED, TOOL_ACTIVATED } = cornerstoneTools.Enums.Events;
    /** @type {(type: string, listener: (event: CustomEvent) => void) => void} */
    const on = (type, listener) => cornerstone.eventTarget.addEventListener(type, /** @type {EventListener} */ (listener));
    on(ANNOTATION_COMPLETED, ({ detail }) => this.#onDrawn(detail.annotation));
    on(TOOL_ACTIVATED, () => this.#letMove());
    // The pointer may be on a ruler that is not on the screen any more, or no longer there.
    window.addEventListener(cornerstone.Enums.Events.CAMERA_MODIFIED, rulers.unhighlight, { capture: true });
    onCapture('pointerup', () => setTimeout(() => this.#record())); // after a ruler was moved
    const { measurementService } = services;
    measurementService.subscribe(measurementService.EVENTS.MEASUREMENT_REMOVED, ({ measurement }) => this.#onRemoved(measurement));
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

  /**
   * Remove the ruler under the pointer.
   *
   * @param {CornerstoneViewport} [viewport] under the pointer; a ruler that it has left in another one stays highlighted
   * @returns {boolean} whether there is one
   */
  removePointedAt(viewport) {
    const plane = viewport && planeAlong(viewport.getCamera().viewPlaneNormal);
    const pointed = this.#finished().find(one => one.highlighted && rulers.measurementOf(one).plane === plane);
    if (pointed) this.remove(rulers.measurementOf(pointed));
    return !!pointed;
  }

  /** @param {CornerstoneAnnotation} ruler */
  #onDrawn(ruler) {
    if (!(ruler.metadata.toolName in rulers.KINDS)) return;
    this.#drawn.set(ruler.annotationUID, rulers.measurementOf(ruler));
    this.#record();
  }

  /** @param {string} id of a ruler that the user has removed in OHIF's menu of the right mouse button */
  #onRemoved(id) {
    const known = this.#drawn.get(id);
    if (known && isHeld()) this.remove(known);
  }

  /** Take over what was drawn or moved. OHIF erases rulers by itself, which is no edit: they are drawn again. */
  #record() {
    if (!isHeld()) return; // the study is left
    for (const one of this.#finished()) this.#drawn.set(one.annotationUID, rulers.measurementOf(one));
    const now = [...this.#drawn.values()];
    const problem = this.#problemOf(now);
    if (problem) this.editor.say(`Nothing is measured: ${problem}`);
    if (problem || areSame(now, this.measurements)) this.#follow();
    else this.#write(now);
  }

  /** @param {Measurement[]} measurements */
  #problemOf(measurements) {
    if (!measurements.every(one => this.#isInside(one))) return 'a line ends outside of the image.';
    return measurements.every(hasLength) ? '' : 'a line has no length.';
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
    if (drawn.length === this.#drawn.size && areSame(wanted, drawn.map(rulers.measurementOf))) return;
    this.#drawn.clear(); // they are not removed by the user
    for (const { annotationUID } of drawn) rulers.erase(annotationUID);
    this.#drawn = new Map(wanted.map((one, place) => [rulers.draw(one) || `not drawn ${place}`, one]));
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
