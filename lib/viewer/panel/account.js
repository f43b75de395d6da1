/** Who is logged in: shown in place of the field for the name, with log-out, or log-in after the session has ended. */

/**
 * @typedef {object} User
 * @property {string} name
 * @property {string} role
 */

const ENDED = 'Your session has ended.';

/**
 * Show who is logged in; without log-in, users type their names.
 *
 * @param {{account: HTMLElement, annotator: HTMLInputElement}} parts
 * @param {User | null} user
 */
export function showUser({ account, annotator }, user) {
  annotator.hidden = !!user;
  account.hidden = !user;
  if (!user) return;
  annotator.value = user.name;
  const [who, form, link] = /** @type {[HTMLElement, HTMLElement, HTMLElement]} */ ([...account.children]);
  who.textContent = `${user.name} (${user.role})`;
  form.hidden = false;
  link.hidden = true;
}

/**
 * Offer to log in again in another tab, so that the mask in this one is not lost.
 *
 * @param {{account: HTMLElement}} parts
 */
export function showEnded({ account }) {
  account.hidden = false;
  const [who, form, link] = /** @type {[HTMLElement, HTMLElement, HTMLElement]} */ ([...account.children]);
  who.textContent = ENDED;
  form.hidden = true;
  link.hidden = false;
}
