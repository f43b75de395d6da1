/** The table of findings: their measures, the model's confidence, and what the reader makes of each. */

import { closest, elementsBy } from './dom.js';
import { rejectBelow } from './doubtful.js';
import { detailsLine } from './finding_details.js';
import { sizeText } from './findings_list.js';
import { keepFocus } from './kept_focus.js';
import { ORDERS, percent, volumeText } from './ranked_findings.js';

const MOST_ROWS = 200;

export const FINDINGS_TEMPLATE = `
<label class="lunglabel-row" data-findings="doubtful" title="Accepted findings and those drawn by hand stay" hidden>
  Reject below <input type="range" data-findings="threshold" min="0" max="0.95" step="0.05" value="0">
  <output data-findings="thresholdText">0 %</output>
</label>
<table data-findings="table" hidden>
  <thead>
    <tr>
      <th scope="col" title="As in the exported table; a lesion keeps it in all labels of the scan">No.</th>
      <th scope="col" data-findings="size"><button title="Longest axial diameter × the one at right angles to it, mm; sort by size">mm</button></th>
      <th scope="col">Volume</th>
      <th scope="col" title="Mean density">HU</th>
      <th scope="col" title="Side of the patient">Side</th>
      <th scope="col" data-findings="confidence"><button title="How sure the model is that it marked a lesion; it says nothing about malignancy. Sort by it">Conf.</button></th>
      <th scope="col"></th>
    </tr>
  </thead>
  <tbody></tbody>
</table>`;

/**
 * @typedef {import('./findings_list.js').Row} Row
 * @typedef {{doubtful: HTMLElement, threshold: HTMLInputElement, thresholdText: HTMLElement, table: HTMLTableElement,
 *   size: HTMLElement, confidence: HTMLElement}} Elements
 */

export class FindingsTable {
  /** First voxels of the findings that the slider has rejected. @type {Set<number>} */
  #doubtful = new Set();
  /** Whether the pointer is down on a button of the table: one that is replaced before it goes up is not clicked. */
  #pressed = false;
  /** Voxels of the finding that the panel was scrolled to. @type {Uint32Array | null} */
  #scrolledTo = null;

  /**
   * @param {HTMLElement} element to fill
   * @param {import('./editor.js').Editor} editor
   * @param {AbortSignal} signal ends it
   */
  constructor(element, editor, signal) {
    element.innerHTML = FINDINGS_TEMPLATE;
    this.editor = editor;
    this.elements = /** @type {Elements} */ (/** @type {unknown} */ (elementsBy(element, 'findings')));
    const { threshold, table } = this.elements;
    threshold.oninput = () => this.#showThreshold();
    threshold.onchange = () => this.#rejectBelow(threshold.valueAsNumber);
    for (const order of /** @type {(keyof typeof ORDERS)[]} */ (Object.keys(ORDERS))) {
      const button = /** @type {HTMLElement} */ (this.elements[order].firstElementChild);
      button.onclick = () => editor.list?.sortBy(order);
    }
    table.addEventListener('focusout', event => {
      if (isField(event.target)) setTimeout(() => this.show()); // what was not shown while it was edited
    }, { signal });
    table.addEventListener('pointerdown', event => (this.#pressed = !!closest(event, 'button')), { signal });
    for (const end of ['pointerup', 'pointercancel']) {
      window.addEventListener(end, () => this.#release(), { signal, capture: true });
    }
    editor.addEventListener('list', () => this.show(), { signal });
    this.show();
  }

  /** Show the list as it is now, unless a finding is being described or a button is being pressed. */
  show() {
    const { table, doubtful } = this.elements;
    const body = table.tBodies[0];
    if (this.#pressed || (body.contains(document.activeElement) && isField(document.activeElement))) return;
    const { rows = [], rejected = [], order = 'confidence' } = this.editor.list ?? {};
    for (const name of /** @type {const} */ (['size', 'confidence'])) {
      this.elements[name].setAttribute('aria-sort', name === order ? 'descending' : 'none');
    }
    const listed = [...rows, ...rejected].slice(0, MOST_ROWS);
    keepFocus(body, () => body.replaceChildren(...listed.flatMap(row => this.#rowsOf(row))));
    this.#scrollToShown(body);
    table.hidden = !rows.length && !rejected.length;
    doubtful.hidden = ![...rows, ...rejected].some(row => row.confidence !== null);
  }

  /**
   * Scroll to the finding that is shown and the line below it, once for each.
   *
   * @param {HTMLElement} body of the table
   */
  #scrollToShown(body) {
    const { shown } = this.editor.review;
    if (shown === this.#scrolledTo) return;
    this.#scrolledTo = shown;
    const line = body.querySelector('[aria-current]');
    if (line?.nextElementSibling?.matches('.lunglabel-note')) line.nextElementSibling.scrollIntoView({ block: 'nearest' });
    line?.scrollIntoView({ block: 'nearest' });
  }

  #release() {
    if (!this.#pressed) return;
    this.#pressed = false;
    setTimeout(() => this.show()); // after the click
  }

  /**
   * @param {Row} row
   * @returns {HTMLTableRowElement[]}
   */
  #rowsOf(row) {
    const line = document.createElement('tr');
    line.className = `lunglabel-${row.state}`;
    line.dataset.key = row.number ? String(row.number) : '';
    const isShown = this.editor.review.isShown(row);
    if (isShown) line.setAttribute('aria-current', 'true');
    line.insertCell().append(this.#button('show', String(row.number || '✗'), showTitle(row), () => this.editor.review.show(row)));
    const cells = [sizeText(row).replace(' mm', ''), volumeText(row.volume), density(row), sideOf(row), judged(row)];
    for (const cell of cells) line.insertCell().append(cell);
    line.insertCell().append(...this.#actions(row));
    const details = detailsLine(row, isShown, this.editor.review, this.editor.former.get(row.number));
    return details ? [line, details] : [line];
  }

  /** @param {Row} row */
  #actions(row) {
    const { review } = this.editor;
    if (row.state === 'rejected') return [this.#button('restore', 'Restore', 'Put it back into the mask', () => review.mark([row], []))];
    const note = this.#button('describe', '✎', `Describe finding ${row.number}: texture and note`, () => this.#describe(row));
    const reject = this.#button('reject', '✗', `Reject finding ${row.number} (Delete)`, () => review.mark([], [row]));
    if (row.state === 'added') return [note, reject];
    const accept = this.#button('accept', '✓', `Accept finding ${row.number} (A)`, () => review.accept(row));
    accept.setAttribute('aria-pressed', String(row.state === 'accepted'));
    return [accept, note, reject];
  }

  /**
   * @param {string} control
   * @param {string} text
   * @param {string} title
   * @param {(event: MouseEvent) => void} action
   */
  #button(control, text, title, action) {
    const button = Object.assign(document.createElement('button'), { textContent: text, title, onclick: action });
    button.dataset.control = control;
    button.setAttribute('aria-label', title);
    return button;
  }

  /** @param {Row} row */
  #describe(row) {
    this.editor.review.show(row);
    /** @type {HTMLElement | null} */ (this.elements.table.querySelector('.lunglabel-details input'))?.focus();
  }

  /** @param {number} threshold */
  #rejectBelow(threshold) {
    const { list } = this.editor;
    if (!list) return;
    const { reject, restore, now } = rejectBelow(list, threshold, this.#doubtful);
    this.#doubtful = now;
    this.editor.review.mark(restore, reject);
  }

  #showThreshold() {
    const { threshold, thresholdText } = this.elements;
    thresholdText.textContent = `${Math.round(100 * threshold.valueAsNumber)} %`;
  }
}

/** @param {EventTarget | null} element */
function isField(element) {
  return /INPUT|SELECT/.test(/** @type {Element | null} */ (element)?.tagName ?? '');
}

/** @param {Row} row */
function showTitle(row) {
  return row.number ? `Show finding ${row.number}: ${row.state} (F shows the next)` : 'Show a rejected finding';
}

/** @param {Row} row */
function density(row) {
  return row.density === null ? '' : String(Math.round(row.density)).replace('-', '−');
}

/** @param {Row} row */
function sideOf({ side }) {
  const short = side === 'mid' ? side : side.charAt(0).toUpperCase();
  return Object.assign(document.createElement('abbr'), { textContent: short, title: side });
}

/** @param {Row} row */
function judged(row) {
  return row.state === 'added' ? 'added' : percent(row.confidence);
}
