/** The list from which a scan is put aside with a reason, or offered again. */

import { skipImage } from './server.js';

const REASONS = ['not a chest', 'poor quality', 'later']; // as on the server
const NONE = 'none';

/**
 * Fill the list for a scan.
 *
 * @param {HTMLSelectElement} list
 * @param {import('./server.js').Skipped | null} skipped
 */
export function offerSkipping(list, skipped) {
  list.replaceChildren(new Option(skipped ? `Skipped: ${skipped.reason}` : 'Skip…', ''));
  for (const reason of REASONS) if (reason !== skipped?.reason) list.add(new Option(reason, reason));
  if (skipped) list.add(new Option('do not skip', NONE));
  list.value = '';
  list.title = skipped ? `Skipped by ${skipped.by}` : 'Put this scan aside, with a reason, and open the next';
}

/**
 * Put a scan aside as chosen in the list, or offer it again.
 *
 * @param {HTMLSelectElement} list
 * @param {string} series SeriesInstanceUID
 * @param {string} by name of the user
 * @returns {Promise<import('./server.js').Skipped | null>} null if it is offered again
 */
export async function skip(list, series, by) {
  const reason = list.value === NONE ? '' : list.value;
  const skipped = await skipImage(series, reason, by);
  offerSkipping(list, skipped);
  return skipped;
}
