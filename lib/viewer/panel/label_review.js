/** What a reviewer said about the label in use, with the buttons to approve it or to send it back. */

import { sendReview } from './server.js';

/** @typedef {import('./server.js').LabelReview} Review */

export class LabelReview {
  /** @type {() => Promise<string>} */
  #approve = async () => '';
  /** @type {() => Promise<string>} */
  #sendBack = async () => '';

  /**
   * @param {import('./panel_template.js').Parts} parts
   * @param {(button: HTMLButtonElement, waiting: string, action: () => Promise<string>) => void} attempt runs the action of a
   *   button and shows its result or its error
   * @param {() => Promise<unknown>} onReviewed called after a review is stored
   */
  constructor(parts, attempt, onReviewed) {
    this.parts = parts;
    this.onReviewed = onReviewed;
    parts.approve.onclick = () => attempt(parts.approve, 'Approving…', () => this.#approve());
    parts.sendBack.onclick = () => attempt(parts.sendBack, 'Sending back…', () => this.#sendBack());
  }

  /**
   * @param {string | null} series SeriesInstanceUID on the screen
   * @param {number | undefined} number of the label in use
   * @param {Review | null} review of this label
   */
  show(series, number, review) {
    const { parts } = this;
    const text = review?.state ? describeReview(review) : '';
    parts.labelReview.hidden = !text && !review?.may_review;
    parts.labelReviewText.textContent = parts.labelReviewText.title = text;
    parts.labelReviewText.classList.toggle('problem', review?.state === 'sent back');
    parts.labelReviewForm.hidden = !review?.may_review;
    if (!series || number === undefined) return;
    this.#approve = () => this.#send(series, number, 'approve', `Label ${number} is approved.`);
    this.#sendBack = async () => {
      if (parts.reviewNote.value.trim()) return this.#send(series, number, 'send-back', `Label ${number} is sent back.`);
      parts.reviewNote.focus();
      throw new Error('Write a note: what is to be corrected?');
    };
  }

  /**
   * @param {string} series
   * @param {number} number
   * @param {'approve' | 'send-back'} verdict
   * @param {string} done what to tell the user
   */
  async #send(series, number, verdict, done) {
    await sendReview(series, number, verdict, this.parts.reviewNote.value.trim());
    this.parts.reviewNote.value = '';
    await this.onReviewed();
    return done;
  }
}

/**
 * Describe the state of a label: who said what, and when.
 *
 * @param {Pick<Review, 'state' | 'by' | 'time' | 'note'>} review
 */
export function describeReview({ state, by, time, note }) {
  const when = time ? `, ${new Date(time * 1000).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' })}` : '';
  const text = `${state ?? ''}${by ? ` by ${by}` : ''}${when}${note ? `: ${note}` : ''}`;
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}
