/**
 * Keeps stored results from being opened like images: hidden parts of MONAI Label's panel fail on a mask that they have not
 * made, and the page stays black until it is loaded again.
 */

import { closest } from './dom.js';
import { onCapture, stop } from './guard.js';

const THUMBNAIL = '[data-cy^="study-browser-thumbnail"]';
const RESULT = /\b(SEG|RTSTRUCT|SR)\b/;

/** @param {import('./editor.js').Editor} editor */
export function guardResults(editor) {
  for (const type of /** @type {const} */ (['dblclick', 'dragstart'])) {
    onCapture(type, event => {
      const thumbnail = closest(event, THUMBNAIL);
      if (!thumbnail || !isResult(thumbnail)) return;
      stop(event);
      editor.say('A stored result is not opened like an image. Load label puts it into the mask.');
    });
  }
}

/**
 * Return whether a thumbnail stands for a SEG, RTSTRUCT or SR.
 *
 * @param {{textContent: string | null, innerText?: string}} thumbnail
 */
export function isResult(thumbnail) {
  const lines = (thumbnail.innerText ?? thumbnail.textContent ?? '').split('\n');
  return RESULT.test(lines[0] ?? '');
}
