/** Asks before anything would drop a mask that is not submitted. */

const QUESTION = 'The mask has changes that are not submitted. Drop them?';

/** What takes the mask from the screen: an event and, for one of the mouse, where. */
const LEAVING = {
  click: '[data-cy="return-to-work-list"]',
  dblclick: '[data-cy="study-browser-thumbnail"]',
  drop: '[data-cy="viewport-grid"]',
};
const LEAVING_KEYS = ['PageUp', 'PageDown']; // the study's previous and next series

/** @param {() => boolean} isUnsaved */
export function guardUnsaved(isUnsaved) {
  const mayLeave = () => !isUnsaved() || confirm(QUESTION);
  for (const [type, selector] of Object.entries(LEAVING)) {
    onCapture(type, event => event.target.closest(selector) && !mayLeave() && stop(event));
  }
  onCapture('keydown', event => LEAVING_KEYS.includes(event.key) && !mayLeave() && stop(event));
  onCapture('beforeunload', event => isUnsaved() && event.preventDefault());
  guardBackButton(mayLeave);
}

/** Listen before the viewer does. */
export function onCapture(type, listener) {
  window.addEventListener(type, event => void listener(event), { capture: true });
}

/** Keep an event from the viewer. */
export function stop(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}

/** The browser's own Back: the page has gone back already when it is told, so it is sent forth again. */
function guardBackButton(mayLeave) {
  let returning = false;
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
