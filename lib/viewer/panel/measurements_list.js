/** The list of measurements in the panel. */

import { measurementText, middleOf } from './measurements.js';
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
 * Return the number of the finding that the middle of a measurement is in; 0 if it is in none.
 *
 * @param {import('./measurements.js').Measurement} measurement
 * @param {import('./editor.js').Editor} editor
 */
function lesionAt(measurement, { history, list }) {
  const voxel = history?.labelmap.voxelAt(middleOf(measurement));
  const index = history && voxel ? indexOf(voxel, history.labelmap.size) : -1;
  return list?.rows.find(row => row.voxels.includes(index))?.number ?? 0;
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
