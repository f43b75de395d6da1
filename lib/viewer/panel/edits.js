/** Operations on whole findings, each one step to undo: fill, smooth, grow, shrink, drop what is small. */

import { elementsBy, messageOf } from './dom.js';
import { offerJoining } from './join.js';
import { volumeText } from './ranked_findings.js';

export const EDITS_TEMPLATE = `
<summary>Edit: fill, smooth, join, grow, drop</summary>
<div class="lunglabel-row">
  <button data-edit="between" title="Complete a lesion that is painted on some slices only, in the plane under the pointer (I)">Fill between slices</button>
  <button data-edit="holes" title="Of the finding shown, or of all while the whole image is shown">Fill holes</button>
  <button data-edit="smooth" title="The finding shown, or all while the whole image is shown">Smooth</button>
</div>
<div class="lunglabel-row">
  <button data-edit="join" title="Make one lesion of the finding shown and another one, by a bridge one voxel thick">Join with</button>
  <select data-edit="joined" aria-label="Finding to join with"></select>
</div>
<div class="lunglabel-row">
  <button data-edit="grow" title="The finding shown, or all, by about 1 mm">Grow</button>
  <button data-edit="shrink" title="The finding shown, or all, by about 1 mm">Shrink</button>
  <button data-edit="drop" title="Remove all findings whose longest diameter is smaller">Drop under</button>
  <input type="number" data-edit="limit" min="1" max="50" value="4" aria-label="Smallest diameter to keep, mm"> mm
</div>`;

/** @type {Record<string, string>} */
const DONE = {
  between: 'Filled between slices',
  holes: 'Filled holes',
  smooth: 'Smoothed',
  grow: 'Grown by about 1 mm',
  shrink: 'Shrunk by about 1 mm',
};

/**
 * Fill an element with the buttons of the operations.
 *
 * @param {Element} element
 * @param {import('./editor.js').Editor} editor
 * @param {AbortSignal} signal ends it
 * @returns {Record<string, () => void>} actions by key
 */
export function offerEdits(element, editor, signal) {
  element.innerHTML = EDITS_TEMPLATE;
  const { limit, drop, join, joined, ...buttons } = elementsBy(element, 'edit');
  const run = (/** @type {string} */ name) => () => {
    edit(editor, /** @type {import('./measured_findings.js').Edit['name']} */ (name))
      .then(sentence => editor.say(sentence, ''), error => editor.say(messageOf(error)));
  };
  for (const [name, button] of Object.entries(buttons)) button.onclick = run(name);
  offerJoining(/** @type {HTMLButtonElement} */ (join), /** @type {HTMLSelectElement} */ (joined), editor, signal);
  drop.onclick = () => dropUnder(editor, /** @type {HTMLInputElement} */ (limit).valueAsNumber);
  return { i: run('between') };
}

/**
 * @param {import('./editor.js').Editor} editor
 * @param {import('./measured_findings.js').Edit['name']} name
 * @returns {Promise<string>} what to tell the user
 */
async function edit(editor, name) {
  const { history, list } = editor;
  if (!history || !list) return '';
  const row = name === 'between' ? undefined : editor.review.current();
  const before = history.state;
  const { index, values } = await list.edit({ name, axis: axisOfView(history.labelmap), voxels: row?.voxels ?? null });
  if (editor.history?.state !== before) throw new Error('The mask was changed meanwhile. Try again.');
  if (!index.length) return 'Nothing to change.';
  editor.write(index, values, { unsaved: true });
  const changed = volumeText(index.length * history.labelmap.voxelVolume);
  return `${DONE[name]}${row ? `: finding ${row.number}` : ''} (${changed} changed).`;
}

/**
 * @param {import('./editor.js').Editor} editor
 * @param {number} limit mm
 */
function dropUnder(editor, limit) {
  const small = (editor.list?.rows ?? []).filter(row => row.longest < limit && row.state !== 'accepted');
  editor.review.mark([], small);
  editor.say(small.length ? `${small.length} removed that are smaller than ${limit} mm.` : `None is smaller than ${limit} mm.`, '');
}

/**
 * Return the axis of the volume that the active plane looks along.
 *
 * @param {import('./labelmap.js').Labelmap} labelmap
 */
function axisOfView({ direction }) {
  const { activeViewportId } = services.viewportGridService.getState();
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport(activeViewportId);
  const normal = viewport.getCamera().viewPlaneNormal;
  const along = [0, 3, 6].map(start => Math.abs(normal.reduce((sum, one, axis) => sum + one * direction[start + axis], 0)));
  return along.indexOf(Math.max(...along));
}
