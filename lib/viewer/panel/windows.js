/** The grey-level windows of the chest, on the keys that OHIF has for them. */

import { allViewports } from './viewports.js';

const KEY = 'lunglabel.window';

/**
 * @typedef {object} Window
 * @property {string} key that chooses it; in OHIF it does so for one viewport
 * @property {number} width HU
 * @property {number} centre HU
 */

/** @type {Record<string, Window>} */
export const WINDOWS = {
  Lung: { key: '2', width: 1500, centre: -600 },
  Mediastinum: { key: '1', width: 400, centre: 40 },
  Bone: { key: '4', width: 2500, centre: 480 },
};

/** Return the name of the window that was chosen last in this browser, or of the lung window. */
export function chosenWindow() {
  const name = localStorage.getItem(KEY) ?? '';
  return name in WINDOWS ? name : 'Lung';
}

/**
 * Show all planes in a window, from now on and in the scans that are opened later.
 *
 * @param {string} name
 */
export function chooseWindow(name) {
  localStorage.setItem(KEY, name);
  const { width, centre } = WINDOWS[name];
  const lower = centre - width / 2; // DICOM PS3.3 C.11.2.1.2.1: both ends are in the window
  for (const viewport of allViewports()) {
    viewport.setProperties({ voiRange: { lower, upper: lower + width - 1 } });
    viewport.render();
  }
}
