/** Keeps what is painted as a draft, and offers the draft of an earlier page when its scan is opened. */

import { describeDraft, draftOf } from './draft.js';
import { dropDraft, findDraft, keepDraft } from './draft_store.js';

const SESSION = `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`; // another one after each reload

export class Drafts {
  /** @type {import('./draft.js').Draft | null} */
  #offered = null;
  /** @type {Promise<unknown>} */
  #writing = Promise.resolve();

  /**
   * @param {Pick<import('./panel_template.js').Parts, 'draft' | 'draftText' | 'restore' | 'discard' | 'note'>} parts
   * @param {import('./editor.js').Editor} editor
   * @param {() => number | null} base number of the label in use
   * @param {AbortSignal} signal ends it
   */
  constructor(parts, editor, base, signal) {
    this.parts = parts;
    this.editor = editor;
    this.base = base;
    editor.addEventListener('list', () => this.#keep(), { signal });
    parts.discard.onclick = () => void this.#close();
  }

  /** Offer no draft any more: another series is on the screen. */
  withdraw() {
    this.#show(null);
  }

  /**
   * Offer the draft of a series, if there is one.
   *
   * @param {string | null} series SeriesInstanceUID on the screen
   */
  async offer(series) {
    const draft = series && (await findDraft(series, SESSION));
    if (draft && this.editor.history?.labelmap.series === series) this.#show(draft);
  }

  /**
   * Put the draft that is offered into the mask.
   *
   * @returns {Promise<string>} what to tell the user
   */
  async restore() {
    const { editor, parts } = this;
    const draft = this.#offered;
    if (!draft) return '';
    if (draft.length !== editor.history?.known.length) {
      throw new Error('The scan has another number of slices than when this draft was painted. Discard the draft.');
    }
    if (editor.unsaved && !confirm('The mask has changes that are not submitted. Replace it?')) return '';
    await editor.restore(draft);
    parts.note.value ||= draft.note;
    await this.#writing; // the draft is kept as one of this page now
    await this.#close();
    return 'The draft is restored.';
  }

  /** Forget the draft of a series: it was submitted. @param {string} series */
  submitted(series) {
    this.#write(() => dropDraft({ series, session: SESSION }));
  }

  #keep() {
    const { list, unsaved } = this.editor;
    if (!list || !unsaved) return;
    const draft = draftOf(list, { session: SESSION, base: this.base(), note: this.parts.note.value });
    this.#write(() => keepDraft(draft));
  }

  /** @param {() => Promise<void>} action that must not overtake an earlier one */
  #write(action) {
    const failed = (/** @type {unknown} */ error) => this.editor.say(`The browser cannot keep a draft: ${error}`);
    this.#writing = this.#writing.then(action).catch(failed);
  }

  async #close() {
    const draft = this.#offered;
    this.#show(null);
    if (draft) await dropDraft(draft);
  }

  /** @param {import('./draft.js').Draft | null} draft */
  #show(draft) {
    this.#offered = draft;
    this.parts.draft.hidden = !draft;
    if (draft) this.parts.draftText.textContent = describeDraft(draft, this.base());
  }
}
