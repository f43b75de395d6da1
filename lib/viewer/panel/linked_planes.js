/** Two axial planes side by side that show the same place: that of the scan, and that of another study. */

import { onCapture, stop } from './guard.js';
import { isOverOther } from './tools.js';
import { OTHER_VIEWPORT } from './viewports.js';

const EXACT_MM = 1e-3;
/** Events by which the viewer would select, edit or scroll a viewport. */
/** @type {(keyof WindowEventMap)[]} */
const KEPT_AWAY = ['pointerdown', 'mousedown', 'pointermove', 'mousemove', 'pointerup', 'mouseup', 'click', 'dblclick', 'contextmenu', 'touchstart'];

/** @typedef {number[][]} Matrix 4×4, from LPS mm of the scan to LPS mm of the other study */

/** @type {Matrix} the same position of the table */
export const SAME_POSITION = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]];

export class LinkedPlanes {
  /** @type {Matrix} */
  matrix = SAME_POSITION;

  /**
   * @param {string} viewportId of the plane of the scan
   * @param {AbortSignal} signal ends it
   */
  constructor(viewportId, signal) {
    this.viewportId = viewportId;
    const { CAMERA_MODIFIED, IMAGE_RENDERED } = cornerstone.Enums.Events;
    for (const type of [CAMERA_MODIFIED, IMAGE_RENDERED]) {
      const onShown = (/** @type {Event} */ event) => {
        const id = /** @type {CustomEvent} */ (event).detail.viewportId;
        if (id === viewportId || id === OTHER_VIEWPORT) this.align();
      };
      window.addEventListener(type, onShown, { capture: true, signal });
    }
    for (const type of KEPT_AWAY) onCapture(type, event => isOverOther(event) && stop(event), signal);
    onCapture('wheel', event => isOverOther(event) && this.#scroll(event), signal);
  }

  /** Show the same place in the other plane, at the same scale. */
  align() {
    const [own, other] = [this.viewportId, OTHER_VIEWPORT].map(id => services.cornerstoneViewportService.getCornerstoneViewport(id));
    if (!own?.getVolumeId?.() || !other?.getVolumeId?.()) return;
    const { focalPoint, parallelScale } = own.getCamera();
    const camera = other.getCamera();
    const point = moved(this.matrix, focalPoint);
    const off = Math.max(...point.map((mm, axis) => Math.abs(mm - camera.focalPoint[axis])), Math.abs(parallelScale - camera.parallelScale));
    if (off < EXACT_MM) return;
    const position = /** @type {Point3} */ (point.map((mm, axis) => mm + camera.position[axis] - camera.focalPoint[axis]));
    other.setCamera({ focalPoint: point, position, parallelScale });
    other.render();
  }

  /**
   * Scroll the plane of the scan, which the other one follows.
   *
   * @param {WheelEvent} event on the other plane
   */
  #scroll(event) {
    stop(event);
    const own = services.cornerstoneViewportService.getCornerstoneViewport(this.viewportId);
    if (!event.ctrlKey) cornerstone.utilities.scroll(own, { delta: Math.sign(event.deltaY), volumeId: own.getVolumeId?.() });
  }
}

/**
 * Return where a point of the scan is in the other study.
 *
 * @param {Matrix} matrix
 * @param {Point3} point LPS mm
 * @returns {Point3}
 */
export function moved(matrix, point) {
  const at = (/** @type {number} */ row) => point.reduce((sum, mm, axis) => sum + matrix[row][axis] * mm, matrix[row][3]);
  return [at(0), at(1), at(2)];
}
