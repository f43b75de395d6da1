/** Elements of the page. */

/**
 * Return the element around an event's target that matches a selector, itself included.
 *
 * @param {Event} event
 * @param {string} selector
 * @returns {HTMLElement | null} null if there is none, or the target is not an element
 */
export function closest(event, selector) {
  const target = /** @type {HTMLElement | null} */ (event.target);
  return target?.closest?.(selector) ?? null;
}

/**
 * Return the elements of a template by the value of one of their data attributes.
 *
 * @param {Element} root
 * @param {string} name of the attribute, without "data-"
 * @returns {Record<string, HTMLElement>}
 */
export function elementsBy(root, name) {
  const found = /** @type {HTMLElement[]} */ ([...root.querySelectorAll(`[data-${name}]`)]);
  return Object.fromEntries(found.map(element => [element.dataset[name], element]));
}

/**
 * Return the message of a thrown value.
 *
 * @param {unknown} error
 */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
