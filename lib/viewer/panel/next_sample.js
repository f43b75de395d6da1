/** Opens the sample that is offered, and says there if it is offered for review. */

const NOTICE_KEY = 'lunglabel.notice';

/** @param {object} sample as the server offers it */
export function openSample(sample) {
  const { StudyInstanceUID, SeriesInstanceUID } = sample;
  const notice = sample.review ? reviewNotice(sample) : '';
  sessionStorage.setItem(NOTICE_KEY, JSON.stringify({ series: SeriesInstanceUID, notice }));
  location.search = new URLSearchParams({
    StudyInstanceUIDs: StudyInstanceUID,
    SeriesInstanceUIDs: SeriesInstanceUID, // without it, OHIF shows the first of the study
  });
}

/** @returns {string} what is to be said of a series that was just opened */
export function takeNotice(series) {
  const kept = JSON.parse(sessionStorage.getItem(NOTICE_KEY));
  if (!kept || kept.series !== series) return '';
  sessionStorage.removeItem(NOTICE_KEY);
  return kept.notice;
}

/** @param {{disagreement?: number}} sample one minus the Dice of label and model, where that is known */
function reviewNotice({ disagreement }) {
  const agreement = disagreement === undefined ? '' : ` Dice of label and model: ${(1 - disagreement).toFixed(2)}.`;
  return `Every scan is labelled; this one is offered for review.${agreement} Load its label, and submit it if you change it.`;
}
