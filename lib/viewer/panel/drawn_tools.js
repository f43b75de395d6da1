/**
 * The tools Lasso and Cut, in every plane along the slices, rows or columns.
 *
 * Lasso: marks what is inside of a line drawn around it, or with Shift takes it away. Cut: a straight line across a finding
 * divides it, through all sections.
 */

import { Drag, isDrag, LEFT } from './drag.js';
import { findingsAt } from './findings.js';
import { cutOf } from './lesion_parts.js';
import { axisAcross } from './outline.js';
import { pixelsInside } from './polygon.js';
import { activeTool } from './tools.js';
import { indexOf } from './voxel_index.js';

const DRAWN = ['lasso', 'cut'];

/**
 * @typedef {import('./findings.js').Size} Size
 *
 * @typedef {object} Section of the volume that a line was drawn in
 * @property {[number, number]} axes in it
 * @property {(x: number, y: number) => Size} placeOf returns the place in the volume of a pixel
 * @property {[number, number][]} line pixels, fractional
 */

export class DrawnTools {
  /** @param {import('./editor.js').Editor} editor */
  constructor(editor) {
    this.editor = editor;
    new Drag({
      buttons: [LEFT],
      isReady: () => !!editor.history && !editor.running && DRAWN.includes(activeTool() ?? ''),
      line: ({ trail }) => (activeTool() === 'cut' ? [trail[0], trail[trail.length - 1]] : [...trail, trail[0]]),
      onEnd: press => this.#onEnd(press),
    });
  }

  /** @param {import('./drag.js').Press} press */
  #onEnd(press) {
    const labelmap = this.editor.history?.labelmap;
    if (!labelmap || !isDrag(press)) return;
    this.editor.say('', ''); // what was wrong before
    const section = sectionOf(press, labelmap);
    if (!section) this.editor.say('Draw in a plane along the slices, not in an oblique one, and over the image.');
    else if (activeTool() === 'cut') this.#cut(section);
    else this.#lasso(section, !press.shift);
  }

  /**
   * @param {Section} section
   * @param {boolean} marks
   */
  #lasso({ axes: [u, v], line, placeOf }, marks) {
    const { history, onlyLungs } = this.editor;
    if (!history) return;
    const { size } = history.labelmap;
    const allowed = (marks && onlyLungs.limit()) || (() => true);
    const index = pixelsInside(line, [size[u], size[v]])
      .map(([x, y]) => indexOf(placeOf(x, y), size))
      .filter(one => !history.known[one] === marks && allowed(one));
    if (index.length) this.editor.write(index, index.map(() => Number(marks)), { unsaved: true });
    else this.editor.say(marks ? 'Nothing to mark there.' : 'Nothing to take away there.', '');
  }

  /** @param {Section} section */
  #cut({ axes: [u, v], line, placeOf }) {
    const { history } = this.editor;
    if (!history) return;
    const { labelmap: { size, voxelVolume }, known } = history;
    const [[x0, y0], [x1, y1]] = [line[0], line[line.length - 1]];
    const touched = pointsAlong([x0, y0], [x1, y1], [size[u], size[v]]).map(([x, y]) => indexOf(placeOf(x, y), size));
    const finding = findingsAt(known, size, touched);
    const index = cutOf(finding, size, place => (x1 - x0) * (place[v] - y0) > (y1 - y0) * (place[u] - x0));
    if (!index.length) {
      this.editor.say('Draw the line across a finding: it divides it in two.');
      return;
    }
    this.editor.write(index, index.map(() => 0), { unsaved: true });
    this.editor.say(`Divided; ${Math.round(index.length * voxelVolume)} mm³ between the parts are gone.`, '');
  }
}

/**
 * Return the section of the volume that a line was drawn in.
 *
 * @param {import('./drag.js').Press} press
 * @param {import('./labelmap.js').Labelmap} labelmap
 * @returns {Section | null} null in an oblique plane, or beside the volume
 */
function sectionOf({ viewport, trail }, { imageData, size }) {
  const across = axisAcross(imageData, viewport.getCamera().viewPlaneNormal);
  const places = trail.map(pixel => imageData.worldToIndex(viewport.canvasToWorld(pixel)));
  const number = Math.round(places[0][across]);
  if (across < 0 || number < 0 || number >= size[across]) return null;
  const [u, v] = [0, 1, 2].filter(axis => axis !== across);
  return {
    axes: [u, v],
    line: places.map(place => [place[u], place[v]]),
    placeOf: (x, y) => {
      /** @type {Size} */
      const place = [0, 0, 0];
      [place[u], place[v], place[across]] = [x, y, number];
      return place;
    },
  };
}

/**
 * Return the pixels along a straight line, in half steps.
 *
 * @param {[number, number]} from
 * @param {[number, number]} to
 * @param {[number, number]} size of the image
 * @returns {[number, number][]}
 */
function pointsAlong([x0, y0], [x1, y1], [width, height]) {
  const steps = Math.ceil(2 * Math.hypot(x1 - x0, y1 - y0));
  /** @type {[number, number][]} */
  const points = Array.from({ length: steps + 1 }, (_, n) => (
    [Math.round(x0 + (n / steps) * (x1 - x0)), Math.round(y0 + (n / steps) * (y1 - y0))]
  ));
  return points.filter(([x, y]) => x >= 0 && y >= 0 && x < width && y < height);
}
