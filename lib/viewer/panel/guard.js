/** Asks before anything discards a mask that is not submitted. */

import { closest } from './dom.js';

const QUESTION = 'The mask has changes that are not submitted; they are kept as a draft. Leave it?';

/** Events that close the mask, and the elements on which they do so. */
/** @type {[keyof WindowEventMap, string][]} */
const LEAVING = [
  ['click', '[data-cy="return-to-work-list"]'],
  ['dblclick', '[data-cy="study-browser-thumbnail"]'],
  ['drop', '[data-cy="viewport-grid"]'],
];
const LEAVING_KEYS = ['PageUp', 'PageDown']; // the study's previous and next series

/** @param {() => boolean} isUnsaved */
export function guardUnsaved(isUnsaved) {
  const mayLeave = () => !isUnsaved() || confirm(QUESTION);
  for (const [type, selector] of LEAVING) {
    onCapture(type, event => closest(event, selector) && !mayLeave() && stop(event));
  }
  onCapture('keydown', event => LEAVING_KEYS.includes(event.key) && !mayLeave() && stop(event));
  onCapture('beforeunload', event => isUnsaved() && event.preventDefault());
  guardBackButton(mayLeave);
}

/**
 * Listen to an event of the window before the viewer does.
 *
 * @template {keyof WindowEventMap} Type
 * @param {Type} type
 * @param {(event: WindowEventMap[Type]) => unknown} listener
 * @param {AbortSignal} [signal] removes the listener
 */
export function onCapture(type, listener, signal) {
  window.addEventListener(type, event => void listener(event), { capture: true, passive: false, signal });
}

/**
 * Keep an event from the viewer.
 *
 * @param {Event} event
 */
export function stop(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}

/**
 * Guard the browser's Back button: the event comes after the browser has gone back, so it has to go forward again.
 *
 * @param {() => boolean} mayLeave
 */
function guardBackButton(mayLeave) {
  let returning = false;
  /** @param {Event} event */
  const onBack = event => {
    if (returning) {
      returning = false;
      stop(event);
    } else if (!mayLeave()) {
      returning = true;
      stop(event);
      history.forward();
    }
  };
  window.lunglabel = { onBack }; // app-config.js calls it
}
