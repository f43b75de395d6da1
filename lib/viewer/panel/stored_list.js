/** The list of everything that is stored for a scan, each with buttons; and what could not be used, with the reason. */

import { elementsBy } from './dom.js';
import { volumeText } from './ranked_findings.js';

/**
 * @typedef {import('./server.js').StoredLabel} StoredLabel
 * @typedef {'load' | 'show' | 'compare'} Action
 * @typedef {(action: Action, label: StoredLabel, button: HTMLButtonElement) => void} OnAction
 */

const ROW = `
<p><b data-row="title"></b> <span data-row="volume"></span></p>
<p data-row="details"></p>
<div class="lunglabel-row" data-row="buttons">
  <button data-row="load">Load</button>
  <button data-row="show" aria-pressed="false">Show</button>
  <button data-row="compare">Compare</button>
</div>`;

const TITLES = {
  load: 'Put this label into the mask, as one step to undo',
  show: 'Draw the outline of this label over the images; two at once',
  compare: 'How much this label and the mask agree, and where they differ',
};

/**
 * Fill the list.
 *
 * @param {HTMLElement} list
 * @param {{stored: StoredLabel[], refused: import('./server.js').RefusedObject[], current: StoredLabel | null}} found
 * @param {number} voxelVolume mm³
 * @param {OnAction} onAction
 */
export function fillList(list, { stored, refused, current }, voxelVolume, onAction) {
  const rows = stored.map(label => labelRow(label, label.number === current?.number, voxelVolume, onAction));
  list.replaceChildren(...rows, ...refused.map(refusedRow));
}

/**
 * Mark in the list which labels are shown.
 *
 * @param {HTMLElement} list
 * @param {(number: number) => number} styleOf returns how a label is drawn, 0 if it is not
 */
export function markShown(list, styleOf) {
  for (const row of /** @type {HTMLElement[]} */ ([...list.querySelectorAll('[data-label]')])) {
    const style = styleOf(Number(row.dataset.label));
    const { show } = elementsBy(row, 'row');
    show.setAttribute('aria-pressed', String(style > 0));
    row.dataset.style = String(style);
  }
}

/**
 * @param {StoredLabel} label
 * @param {boolean} inUse
 * @param {number} voxelVolume mm³
 * @param {OnAction} onAction
 */
function labelRow(label, inUse, voxelVolume, onAction) {
  const row = Object.assign(document.createElement('li'), { innerHTML: ROW });
  row.dataset.label = String(label.number);
  const { title, volume, details, buttons, ...actions } = elementsBy(row, 'row');
  title.textContent = nameOf(label);
  volume.textContent = label.voxels ? volumeText(label.voxels * voxelVolume) : 'empty';
  details.textContent = label.problem ?? detailsOf(label, inUse);
  details.classList.toggle('problem', !!label.problem);
  buttons.hidden = !!label.problem;
  for (const action of /** @type {Action[]} */ (Object.keys(actions))) {
    const button = /** @type {HTMLButtonElement} */ (actions[action]);
    button.title = TITLES[action];
    button.setAttribute('aria-label', `${button.textContent} ${nameOf(label)}`);
    button.onclick = () => onAction(action, label, button);
  }
  return row;
}

/** @param {import('./server.js').RefusedObject} refused */
function refusedRow({ reason, ...source }) {
  const row = document.createElement('li');
  const title = Object.assign(document.createElement('b'), { textContent: originOf(source) });
  const why = Object.assign(document.createElement('p'), { className: 'problem', textContent: `Not usable here: ${reason}` });
  row.append(title, ` ${source.when}`, why);
  return row;
}

/**
 * Name a label.
 *
 * @param {Pick<StoredLabel, 'number' | 'source' | 'tag'>} label
 */
export function nameOf({ number, source, tag }) {
  if (source) return `Label ${number}, ${originOf(source)}`;
  /** @type {Record<string, string>} */
  const kinds = { original: ', mask of the model', incomplete: ', incomplete' };
  return tag === 'A' || tag === 'B' ? `Outline ${tag}` : `Label ${number}${kinds[tag] ?? ''}`;
}

/**
 * Describe a label: whether it is in use, its author, when it was made, regions, description or note.
 *
 * @param {StoredLabel} label
 * @param {boolean} inUse
 */
export function detailsOf({ source, annotator, time, note, tag }, inUse) {
  const state = inUse ? (tag === 'initial' ? 'in use, not yet reviewed' : 'in use') : '';
  const known = source
    ? [source.when, source.regions?.join(' + '), source.description]
    : [annotator, new Date(time * 1000).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' }), note];
  return [state, ...known].filter(Boolean).join(' · ');
}

/** @param {import('./server.js').Source} source */
function originOf({ kind, creator, file }) {
  return [kind, creator && `of ${creator}`, file].filter(Boolean).join(' ');
}
