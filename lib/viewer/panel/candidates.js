/** The list of masks of other programs for a scan, and of the stored label, from which the user chooses. */

/**
 * Fill a list with the masks that can be loaded; hide it if there is no choice.
 *
 * @param {HTMLSelectElement} list
 * @param {import('./server.js').StoredLabel | null} stored the label in use
 * @param {import('./server.js').Candidate[]} candidates
 */
export function offerCandidates(list, stored, candidates) {
  const others = candidates.filter(one => one.number !== stored?.number);
  list.replaceChildren();
  if (stored) list.add(new Option(`Label ${stored.number}, in use`, String(stored.number)));
  for (const one of others) list.add(new Option(describeCandidate(one), String(one.number)));
  list.hidden = !others.length;
}

/**
 * Describe a candidate: regions, volume in ml, kind of object and its creator, date, description.
 *
 * @param {Omit<import('./server.js').Candidate, 'number'>} candidate
 * @returns {string} the known properties, separated by commas
 */
export function describeCandidate({ kind, creator, when, description, regions, ml }) {
  const volume = ml === null || ml === undefined ? '' : `${ml.toFixed(2)} ml`;
  return [regions?.join(' + '), volume, [kind, creator].filter(Boolean).join(' of '), when, description]
    .filter(Boolean)
    .join(', ');
}
