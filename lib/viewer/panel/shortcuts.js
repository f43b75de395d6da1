/** The panel's keys. */

import { closest } from './dom.js';

const PRESSED = 'button, summary, a, input'; // by the space bar
const TYPED_INTO = 'input:not([type="range"], [type="checkbox"]), textarea, select, dialog';

/**
 * Return whether an event goes to a field that the user types into.
 *
 * @param {Event} event
 */
export function isTyping(event) {
  return !!closest(event, TYPED_INTO);
}

/**
 * Call an action when its key is pressed, before OHIF handles the key, except while the user types into a field. The space
 * bar presses what has the focus; OHIF would reset the view instead.
 *
 * @param {Record<string, () => void>} actions by key, such as "b", "ctrl+z", "ctrl+shift+z"; Cmd counts as Ctrl
 * @param {() => boolean} enabled
 * @param {AbortSignal} signal removes the listener
 */
export function listenToKeys(actions, enabled, signal) {
  /** @param {KeyboardEvent} event */
  const onKey = event => {
    const control = event.ctrlKey || event.metaKey;
    const key = `${control ? 'ctrl+' : ''}${control && event.shiftKey ? 'shift+' : ''}${event.key.toLowerCase()}`;
    if (!actions[key] || isTyping(event) || !enabled()) return;
    if (key === ' ' && closest(event, PRESSED)) {
      event.stopImmediatePropagation();
      return;
    }
    event.preventDefault();
    event.stopImmediatePropagation();
    actions[key]();
  };
  window.addEventListener('keydown', onKey, { signal, capture: true });
}
