/** Guards the Run button of MONAI Label's panel. */

import { closest } from './dom.js';
import { onCapture, stop } from './guard.js';

const BUTTON = 'button[title="Run Segmentation"]';
const QUESTION =
  'Run replaces the mask, which has changes that are not submitted. Undo brings them back. Run the model?';

/**
 * Let Run wait until there is a mask for its result, and ask before it replaces edits.
 *
 * @param {import('./editor.js').Editor} editor
 */
export function guardRun(editor) {
  let waiting = false;
  onCapture('click', event => {
    if (!closest(event, BUTTON)) return;
    if (!editor.history) {
      stop(event);
      waiting = true;
      editor.say('Run starts as soon as the scan is loaded.');
    } else if (editor.running || (editor.unsaved && !confirm(QUESTION))) {
      stop(event);
    }
  });
  editor.addEventListener('change', () => {
    if (!waiting || !editor.history) return;
    waiting = false;
    /** @type {HTMLElement | null} */ (document.querySelector(BUTTON))?.click();
  });
}
