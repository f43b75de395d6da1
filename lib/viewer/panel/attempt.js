/** Runs the action of a button, and says what came of it. */

import { messageOf } from './dom.js';

/**
 * Run an action while its button is disabled, and say its result or its error. An action without a result says nothing, and
 * leaves what was said meanwhile.
 *
 * @param {{disabled: boolean}} button
 * @param {string} waiting said meanwhile
 * @param {() => Promise<string>} action
 * @param {(text: string, kind?: 'problem' | 'success' | '') => void} say
 * @param {() => string} said returns what was said last
 */
export async function attempt(button, waiting, action, say, said) {
  button.disabled = true;
  say(waiting);
  try {
    const result = await action();
    if (result || said() === waiting) say(result, 'success');
  } catch (error) {
    say(messageOf(error), 'problem');
  }
  button.disabled = false;
}
