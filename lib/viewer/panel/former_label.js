/** The stored label after whose lesions the findings of a scan are numbered. */

import { fetchLabelVoxels } from './server.js';

/**
 * @typedef {object} FormerLabel
 * @property {string} series SeriesInstanceUID
 * @property {Uint8Array | null} mask null if no label is in use, such as after it was withdrawn
 * @property {import('./lesion_numbers.js').NumberedLesion[] | null} numbered its lesions; null to number them by size
 * @property {number} last the highest number that was given so far
 */

/**
 * Number the findings of a scan after the label of it that is in use.
 *
 * @param {import('./editor.js').Editor} editor
 * @param {string | null} series SeriesInstanceUID on the screen
 * @param {import('./server.js').StoredLabel | null} label in use
 * @param {number} last the highest number that was given so far
 */
export async function numberAfter(editor, series, label, last) {
  if (!series) return;
  const mask = label && (await fetchLabelVoxels(series, label.number).catch(() => null)); // made for another number of slices
  await editor.numberAfter({ series, mask, numbered: label?.lesion_numbers ?? null, last });
}
