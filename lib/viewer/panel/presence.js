/** Tells which other users work on the scan. */

/** @typedef {import('./server.js').OtherUser} OtherUser */

/** @type {Record<OtherUser['sign'], (names: string, many: boolean) => string>} */
const SENTENCES = {
  open: (names, many) => `${names} ${many ? 'have' : 'has'} this scan open.`,
  draft: (names, many) => `${names} ${many ? 'have drafts' : 'has a draft'} of this scan.`,
  offered: names => `This scan was offered to ${names}.`,
};

/**
 * Describe which other users work on a scan, in one line; empty if there are none.
 *
 * @param {OtherUser[]} others
 */
export function describeOthers(others) {
  const signs = /** @type {OtherUser['sign'][]} */ (Object.keys(SENTENCES));
  return signs.flatMap(sign => {
    const names = others.filter(one => one.sign === sign).map(one => one.name);
    return names.length ? [SENTENCES[sign](listOf(names), names.length > 1)] : [];
  }).join(' ');
}

/** @param {string[]} names at least one */
function listOf(names) {
  return names.length > 1 ? `${names.slice(0, -1).join(', ')} and ${names[names.length - 1]}` : names[0];
}
