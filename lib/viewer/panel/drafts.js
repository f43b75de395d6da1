/** Keeps what is painted as a draft, and offers the draft of an earlier page when its scan is opened. */

import { contentOf, describeDraft, draftOf } from './draft.js';
import { DraftOutbox } from './draft_outbox.js';

/** Identifier under which drafts are kept: another one after each reload, and each time a scan is opened. */
let session = newSession();

export class Drafts {
  /** @type {import('./draft.js').Draft | null} */
  #offered = null;
  /** @type {Map<string, number | null>} number of the label that the unsubmitted mask of a series was begun from */
  #begun = new Map();

  /**
   * @param {Pick<import('./panel_template.js').Parts, 'draft' | 'draftText' | 'draftPlace' | 'discard' | 'note' | 'annotator'>} parts
   * @param {import('./editor.js').Editor} editor
   * @param {() => number | null} current number of the label in use
   * @param {AbortSignal} signal ends it
   */
  constructor(parts, editor, current, signal) {
    this.parts = parts;
    this.editor = editor;
    this.current = current;
    this.outbox = new DraftOutbox((where, why) => {
      parts.draftPlace.textContent = where && `· ${where}`;
      parts.draftPlace.title = why;
    });
    editor.addEventListener('list', () => this.#keep(), { signal });
    signal.addEventListener('abort', () => this.outbox.send());
    parts.discard.onclick = () => this.#close();
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
    if (!series) return;
    if (!this.editor.unsaved) session = newSession(); // what was painted here before is offered, too
    const { draft, problems } = await this.outbox.find(series, session);
    if (this.editor.history?.labelmap.series !== series) return;
    if (draft) this.#show(draft);
    if (problems.length) this.editor.say(problems.join(' '));
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
    this.#begun.set(draft.series, draft.base);
    parts.note.value ||= draft.note;
    await editor.restore(contentOf(draft)); // which keeps it as a draft of this page
    this.outbox.send();
    this.#close();
    return 'The draft is restored.';
  }

  /** Forget the draft of a series: it was submitted. @param {string} series */
  submitted(series) {
    this.#begun.delete(series);
    this.outbox.drop({ series, session });
  }

  #keep() {
    const { editor: { list, unsaved }, parts: { note, annotator } } = this;
    if (!list) return;
    const series = String(list.history.labelmap.series);
    if (!unsaved) {
      this.#begun.delete(series);
      return;
    }
    if (!this.#begun.has(series)) this.#begun.set(series, this.current());
    const base = this.#begun.get(series) ?? null;
    this.outbox.keep(draftOf(list, { session, base, note: note.value, annotator: annotator.value.trim() }));
  }

  #close() {
    const draft = this.#offered;
    this.#show(null);
    if (draft) this.outbox.drop(draft);
  }

  /** @param {import('./draft.js').Draft | null} draft */
  #show(draft) {
    this.#offered = draft;
    this.parts.draft.hidden = !draft;
    if (draft) this.parts.draftText.textContent = describeDraft(draft, this.current());
  }
}

function newSession() {
  return `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
}
