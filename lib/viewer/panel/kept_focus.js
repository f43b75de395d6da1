/** Keeps the keyboard focus in a list whose rows are made anew: on the same control of the same row, or of the next one. */

/**
 * Make the rows of a table anew, and focus what was focused before.
 *
 * Rows that are the same have the same `data-key`, and controls the same `data-control`.
 *
 * @param {HTMLTableSectionElement} body
 * @param {() => void} renew
 */
export function keepFocus(body, renew) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const line = body.contains(focused) ? focused?.closest('tr') : null;
  const place = line ? [...body.rows].indexOf(line) : -1;
  renew();
  if (!line) return;
  const same = [...body.rows].find(one => line.dataset.key && one.dataset.key === line.dataset.key);
  const row = same ?? body.rows[Math.min(place, body.rows.length - 1)];
  const control = row?.querySelector(`[data-control="${focused?.dataset.control}"]`) ?? row?.querySelector('button');
  /** @type {HTMLElement | null} */ (control)?.focus({ preventScroll: true });
}

/**
 * Focus a control of a row.
 *
 * @param {HTMLTableElement} table
 * @param {string} key of the row
 * @param {string} control
 */
export function focusOn(table, key, control) {
  /** @type {HTMLElement | null} */ (table.querySelector(`[data-key="${key}"] [data-control="${control}"]`))?.focus();
}
