/** Joins the finding shown with another one of the list, by a thin bridge: they are one lesion then, with one number. */

import { bridgeBetween } from './lesion_parts.js';

/** @typedef {import('./findings_list.js').Row} Row */

/**
 * @param {HTMLButtonElement} button
 * @param {HTMLSelectElement} choice of the other finding
 * @param {import('./editor.js').Editor} editor
 * @param {AbortSignal} signal ends it
 */
export function offerJoining(button, choice, editor, signal) {
  const show = () => fill(button, choice, editor);
  editor.addEventListener('list', show, { signal });
  show();
  button.onclick = () => {
    const [one, other] = [editor.review.current(), editor.list?.rows.find(row => String(row.number) === choice.value)];
    if (one && other) join(editor, one, other);
  };
}

/**
 * @param {import('./editor.js').Editor} editor
 * @param {Row} one
 * @param {Row} other
 */
function join(editor, one, other) {
  const { history } = editor;
  if (!history) return;
  const bridge = bridgeBetween(one.voxels, other.voxels, history.labelmap);
  editor.write(bridge, bridge.map(() => 1), { unsaved: true });
  const volume = Math.round(bridge.length * history.labelmap.voxelVolume);
  editor.say(`Findings ${one.number} and ${other.number} are joined by a bridge of ${volume} mm³.`, '');
}

/**
 * List the other findings, the nearest to the one shown first.
 *
 * @param {HTMLButtonElement} button
 * @param {HTMLSelectElement} choice
 * @param {import('./editor.js').Editor} editor
 */
function fill(button, choice, editor) {
  if (choice === document.activeElement) return; // it is being chosen
  const shown = editor.review.current();
  const { spacing } = editor.history?.labelmap ?? {};
  const others = (editor.list?.rows ?? []).filter(row => shown && spacing && row !== shown);
  const distance = (/** @type {Row} */ row) => (
    Math.hypot(...row.centre.map((place, axis) => (place - (shown?.centre[axis] ?? 0)) * (spacing?.[axis] ?? 0)))
  );
  const before = choice.value;
  const options = others.map(row => ({ row, mm: distance(row) })).sort((one, other) => one.mm - other.mm);
  choice.replaceChildren(...options.map(({ row, mm }) => new Option(`finding ${row.number}, ${Math.round(mm)} mm away`, String(row.number))));
  if (options.some(({ row }) => String(row.number) === before)) choice.value = before;
  button.disabled = choice.disabled = !options.length;
  button.textContent = shown ? `Join ${shown.number} with` : 'Join with';
}
