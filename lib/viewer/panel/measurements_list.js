/** The list of measurements in the panel. */

import { measurementText, samplesOf } from './measurements.js';
import { indexOf } from './voxel_index.js';

const NAMES = { length: 'Length', bidirectional: 'Long × short axis' };

/**
 * Show the measurements of the mask on the screen.
 *
 * @param {HTMLElement} element to fill
 * @param {import('./editor.js').Editor} editor
 */
export function listMeasurements(element, editor) {
  const { measurements } = editor.measuring;
  element.hidden = !measurements.length;
  element.replaceChildren(...measurements.map(one => line(one, editor)));
}

/**
 * @param {import('./measurements.js').Measurement} measurement
 * @param {import('./editor.js').Editor} editor
 */
function line(measurement, editor) {
  const what = `${NAMES[measurement.kind]} ${measurementText(measurement)}`;
  const number = lesionAt(measurement, editor);
  const item = document.createElement('li');
  const show = button(what, `Show this measurement, ${measurement.plane}`, () => editor.review.showMeasurement(measurement));
  const remove = button('✗', `Remove: ${what}`, () => editor.measuring.remove(measurement));
  item.append(show, Object.assign(document.createElement('span'), { textContent: number ? `of finding ${number}` : '' }), remove);
  return item;
}

/**
 * Return the number of the finding that most of a measurement is in, as in the exported tables; 0 if it is in none.
 *
 * @param {import('./measurements.js').Measurement} measurement
 * @param {Pick<import('./editor.js').Editor, 'history' | 'list'>} editor
 */
export function lesionAt(measurement, { history, list }) {
  /** @type {Map<number, number>} points on the measurement by labelled voxel */
  const points = new Map();
  for (const point of samplesOf(measurement)) {
    const voxel = history?.labelmap.voxelAt(point);
    const index = history && voxel ? indexOf(voxel, history.labelmap.size) : -1;
    if (history?.known[index]) points.set(index, (points.get(index) ?? 0) + 1);
  }
  let [number, most] = [0, 0];
  for (const row of points.size ? (list?.rows ?? []) : []) {
    const inside = row.voxels.reduce((sum, index) => sum + (points.get(index) ?? 0), 0);
    if (inside > most || (inside === most && inside && row.number < number)) [number, most] = [row.number, inside];
  }
  return number;
}

/**
 * @param {string} text
 * @param {string} title
 * @param {() => void} action
 */
function button(text, title, action) {
  const made = Object.assign(document.createElement('button'), { textContent: text, title, onclick: action });
  if (text === '✗') made.setAttribute('aria-label', title);
  return made;
}
