/** Offers what several objects of others mark on a scan, beside the label that is stored: a person chooses. */

/**
 * Fill a list with what can be loaded; it is hidden where there is no choice.
 *
 * @param {HTMLSelectElement} list
 * @param {{number: number} | null} stored the label in use
 * @param {object[]} candidates as `/viewer/case` lists them
 */
export function offerCandidates(list, stored, candidates) {
  const others = candidates.filter(one => one.number !== stored?.number);
  list.replaceChildren();
  if (stored) list.add(new Option(`Label ${stored.number}, in use`, stored.number));
  for (const one of others) list.add(new Option(describeCandidate(one), one.number));
  list.hidden = !others.length;
}

/** @returns {string} region, volume, who made it of what and when, what its maker says */
export function describeCandidate({ kind, creator, when, description, regions, ml }) {
  const volume = ml === null || ml === undefined ? '' : `${ml.toFixed(2)} ml`;
  return [regions?.join(' + '), volume, [kind, creator].filter(Boolean).join(' of '), when, description]
    .filter(Boolean)
    .join(', ');
}
