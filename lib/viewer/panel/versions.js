/** The model versions that could be used instead of those in use: a line and two buttons for each model. */

import { elementsBy } from './dom.js';

const AUTOMATIC = 'lung_tumor';
const ROW = `
<span data-version="kept"></span>
<button data-version="use">Use it</button>
<button data-version="back">Go back</button>`;

/** @typedef {(button: HTMLButtonElement, model: string, version: string) => void} OnChoice */

/**
 * Show what can be chosen. Rows stay the same elements, so that a button keeps the focus while the status is renewed.
 *
 * @param {HTMLElement} place
 * @param {import('./server.js').Versions[]} versions of each model
 * @param {OnChoice} onChoice
 */
export function showVersions(place, versions, onChoice) {
  for (const one of versions) {
    const row = /** @type {HTMLElement | null} */ (place.querySelector(`[data-model="${one.model}"]`)) ?? addRow(place, one.model, onChoice);
    const { kept, use, back } = elementsBy(row, 'version');
    row.hidden = !one.kept && !one.previous;
    kept.textContent = describe(one);
    offer(/** @type {HTMLButtonElement} */ (use), one.kept?.version);
    offer(/** @type {HTMLButtonElement} */ (back), one.previous);
  }
}

/**
 * Describe the version that is kept; of other models than the automatic one, also the version in use.
 *
 * @param {import('./server.js').Versions} versions
 */
export function describe({ model, in_use: inUse, kept }) {
  const name = model === AUTOMATIC ? '' : `${model}, in use: ${inUse ?? 'none'}. `;
  return name + (kept ? `Kept, not in use: ${kept.version} (${kept.verdict})` : '');
}

/**
 * @param {HTMLElement} place
 * @param {string} model
 * @param {OnChoice} onChoice
 */
function addRow(place, model, onChoice) {
  const row = Object.assign(document.createElement('div'), { innerHTML: ROW });
  row.dataset.model = model;
  for (const button of row.querySelectorAll('button')) button.onclick = () => onChoice(button, model, button.value);
  place.append(row);
  return row;
}

/**
 * @param {HTMLButtonElement} button
 * @param {string | null} [version] that it would put in use
 */
function offer(button, version) {
  button.hidden = !version;
  button.value = version ?? '';
  button.title = version ? `Use version ${version} from now on` : '';
}
