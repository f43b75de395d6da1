/** Stands before the Run button of MONAI Label's panel. */

import { onCapture, stop } from './guard.js';

const BUTTON = 'button[title="Run Segmentation"]';
const QUESTION =
  'Run replaces the mask, which has changes that are not submitted. Undo brings them back. Run the model?';

/** Run waits until there is a mask to put its result in, and asks before it replaces a person's work. */
export function guardRun(editor) {
  let waiting = false;
  onCapture('click', event => {
    const button = event.target.closest(BUTTON);
    if (!button) return;
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
    document.querySelector(BUTTON)?.click();
  });
}
