/** The table of findings, with their volume and the model's confidence in each. */

import { millilitres, percent } from './ranked_findings.js';

const LIST_AFTER_MS = 200; // after the last change: a scan has millions of voxels
const MOST_ROWS = 100;

/**
 * Keep a table filled with the findings of the mask. A button in each row shows its finding.
 *
 * @param {HTMLElement} table hidden while there are none
 * @param {import('./editor.js').Editor} editor
 * @param {AbortSignal} signal ends it
 */
export function listFindingsIn(table, editor, signal) {
  /** @type {ReturnType<typeof setTimeout>} */
  let waiting;
  const list = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => fill(table, editor), LIST_AFTER_MS);
  };
  editor.addEventListener('change', list, { signal });
  signal.addEventListener('abort', () => clearTimeout(waiting));
  list();
}

/**
 * @param {HTMLElement} table
 * @param {import('./editor.js').Editor} editor
 */
function fill(table, editor) {
  const findings = editor.findings();
  const body = /** @type {HTMLTableSectionElement} */ (table.querySelector('tbody'));
  body.replaceChildren();
  findings.slice(0, MOST_ROWS).forEach((finding, index) => {
    const button = Object.assign(document.createElement('button'), { textContent: `Finding ${index + 1}` });
    button.onclick = () => editor.showFinding(finding, `Finding ${index + 1} of ${findings.length}`);
    const row = body.insertRow();
    row.insertCell().append(button);
    row.insertCell().textContent = millilitres(finding, editor.history?.labelmap.voxelVolume ?? 0);
    row.insertCell().textContent = percent(finding.confidence);
  });
  table.hidden = !findings.length;
}
