/** Opens the next sample, with a notice if it is offered for review. */

const NOTICE_KEY = 'lunglabel.notice';
const NOTICES = {
  'sent back': 'Your label of this scan was sent back. Load it, correct it, and submit it again.',
  'waiting for review': 'The label of this scan waits for your review.',
};

/** @param {import('./server.js').Sample} sample */
export function openSample(sample) {
  const { StudyInstanceUID, SeriesInstanceUID } = sample;
  const notice = sample.review_state ? NOTICES[sample.review_state] : sample.review ? reviewNotice(sample) : '';
  sessionStorage.setItem(NOTICE_KEY, JSON.stringify({ series: SeriesInstanceUID, notice }));
  location.search = new URLSearchParams({
    StudyInstanceUIDs: StudyInstanceUID,
    SeriesInstanceUIDs: SeriesInstanceUID, // without it, OHIF shows the first of the study
  }).toString();
}

/**
 * Return the notice for a series that was just opened, once.
 *
 * @param {string | null} series SeriesInstanceUID
 * @returns {string} empty if there is none
 */
export function takeNotice(series) {
  const kept = JSON.parse(sessionStorage.getItem(NOTICE_KEY) ?? 'null');
  if (!kept || kept.series !== series) return '';
  sessionStorage.removeItem(NOTICE_KEY);
  return kept.notice;
}

/** @param {{disagreement?: number}} sample one minus the Dice of label and model, where that is known */
function reviewNotice({ disagreement }) {
  const agreement = disagreement === undefined ? '' : ` Dice of label and model: ${(1 - disagreement).toFixed(2)}.`;
  return `Every scan is labelled; this one is offered for review.${agreement} Load its label, and submit it if you change it.`;
}
