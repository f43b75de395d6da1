/** Asks a reader of a preference study which of two outlines is better: for each lesion, or once for the case. */

import { elementsBy } from './dom.js';
import { fetchQuestions, putAnswer } from './preference_requests.js';
import { zoomTo } from './viewports.js';
import { indexOf } from './voxel_index.js';

/**
 * @typedef {import('./preference_requests.js').Answer} Answer
 * @typedef {import('./preference_requests.js').Question} Question
 */

/** @type {Record<Answer, string>} */
const ANSWERS = { A: 'A is better', equal: 'Equal', B: 'B is better' };
const BUTTONS = Object.entries(ANSWERS).map(([answer, title]) => `<button data-question="${answer}">${title}</button>`);
const ROW = `<div class="lunglabel-row"><button data-question="show"></button>${BUTTONS.join('')}</div>`;

export class Preference {
  /** Active seconds of the case at the time of the last answer. */
  #answered = 0;

  /**
   * @param {Pick<import('./panel_template.js').Parts, 'preference' | 'questions'>} parts
   * @param {import('./editor.js').Editor} editor
   * @param {import('./study.js').StudyReading} reading
   * @param {(button: HTMLButtonElement, waiting: string, action: () => Promise<string>) => void} attempt runs the action of a
   *   button and shows its result or its error
   */
  constructor(parts, editor, reading, attempt) {
    this.parts = parts;
    this.editor = editor;
    this.reading = reading;
    this.attempt = attempt;
  }

  /** @param {string} series SeriesInstanceUID that was just opened */
  async open(series) {
    this.#answered = 0;
    const questions = await fetchQuestions(series);
    this.#show(series, questions);
    if (questions.length) this.#look(questions.find(one => !one.answer) ?? questions[0]);
  }

  hide() {
    this.parts.preference.hidden = true;
  }

  /**
   * @param {string} series
   * @param {Question[]} questions
   */
  #show(series, questions) {
    this.parts.preference.hidden = !questions.length;
    this.parts.questions.replaceChildren(...questions.map(one => this.#row(series, one)));
  }

  /**
   * @param {string} series
   * @param {Question} question
   */
  #row(series, question) {
    const { lesion, answer: given } = question;
    const row = Object.assign(document.createElement('li'), { innerHTML: ROW });
    row.dataset.lesion = String(lesion);
    const { show, ...answers } = elementsBy(row, 'question');
    show.textContent = lesion ? `Lesion ${lesion}` : 'This scan';
    show.title = 'Move all planes there';
    show.onclick = () => this.#look(question);
    for (const answer of /** @type {Answer[]} */ (Object.keys(ANSWERS))) {
      const button = /** @type {HTMLButtonElement} */ (answers[answer]);
      button.setAttribute('aria-pressed', String(answer === given));
      button.setAttribute('aria-label', `${show.textContent}: ${ANSWERS[answer]}`);
      button.onclick = () => this.attempt(button, 'Storing…', () => this.#answer(series, question, answer));
    }
    return row;
  }

  /**
   * @param {string} series
   * @param {Question} question
   * @param {Answer} answer
   */
  async #answer(series, question, answer) {
    const { active_seconds: now } = this.reading.time.report();
    const questions = await putAnswer(series, question, answer, Math.round(10 * (now - this.#answered)) / 10);
    this.#answered = now;
    this.#show(series, questions);
    const next = questions.find(one => !one.answer);
    if (next) this.#look(next);
    return next ? 'Stored.' : 'Stored; all questions about this scan are answered. Open the next sample.';
  }

  /** @param {Question} question */
  #look({ voxel, extent_mm: extent }) {
    const { labelmap } = this.editor.history ?? {};
    if (labelmap) zoomTo(labelmap.placeOf([indexOf(voxel, labelmap.size)]).point, extent);
  }
}
