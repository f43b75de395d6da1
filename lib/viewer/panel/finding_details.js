/** The line below a finding: texture and a free note of the reader, and what it was in an earlier study. */

import { growthText } from './growth.js';

import { focusOn } from './kept_focus.js';

/** @typedef {import('./findings_list.js').Row} Row */

/** @type {Record<import('./remarks.js').Texture, string>} */
export const TEXTURES = { '': 'Texture …', solid: 'solid', part_solid: 'part-solid', ground_glass: 'ground glass' };
const COLUMNS = 7;

/**
 * Return the line below a finding: to be read, or to be edited for the finding that is shown; null if there is none.
 *
 * @param {Row} row
 * @param {boolean} editable
 * @param {import('./review.js').Review} review
 * @param {import('./growth.js').FormerLesion} [former]
 * @returns {HTMLTableRowElement | null}
 */
export function detailsLine(row, editable, review, former) {
  const text = [row.texture && TEXTURES[row.texture], row.note].filter(Boolean).join(' – ');
  const said = editable && row.number ? editors(row, review) : [text].filter(Boolean);
  const content = [...said, ...(former && row.number ? [growthLine(former)] : [])];
  return content.length ? line(content) : null;
}

/** @param {import('./growth.js').FormerLesion} former */
function growthLine(former) {
  return Object.assign(document.createElement('div'), { className: 'lunglabel-growth', textContent: growthText(former) });
}

/**
 * @param {Row} row
 * @param {import('./review.js').Review} review
 */
function editors(row, review) {
  const texture = document.createElement('select');
  for (const [value, name] of Object.entries(TEXTURES)) texture.add(new Option(name, value));
  texture.value = row.texture;
  texture.setAttribute('aria-label', `Texture of finding ${row.number}`);
  texture.onchange = () => {
    review.describe(row, { texture: /** @type {import('./remarks.js').Texture} */ (texture.value) });
    leave(texture, row);
  };
  const note = Object.assign(document.createElement('input'), { value: row.note, maxLength: 1000, placeholder: 'Note' });
  note.setAttribute('aria-label', `Note on finding ${row.number}`);
  note.onkeydown = key => {
    if (key.key === 'Enter') leave(note, row);
  };
  note.onblur = () => review.describe(row, { note: note.value.trim() });
  const parts = document.createElement('div');
  parts.className = 'lunglabel-details';
  parts.append(texture, note);
  return [parts];
}

/**
 * Go from a field to the button that leads to it: the keys of the panel work again, and the keyboard stays in the table.
 *
 * @param {HTMLElement} field
 * @param {Row} row
 */
function leave(field, { number }) {
  const table = field.closest('table');
  field.blur(); // which shows the list as it is now, in a task of its own
  if (table) setTimeout(() => focusOn(table, String(number), 'describe'));
}

/** @param {(Node | string)[]} content */
function line(content) {
  const made = document.createElement('tr');
  made.className = 'lunglabel-note';
  const cell = Object.assign(document.createElement('td'), { colSpan: COLUMNS });
  cell.append(...content);
  made.append(cell);
  return made;
}
