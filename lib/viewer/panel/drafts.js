/** Keeps what is painted as a draft, and offers the draft of an earlier page when its scan is opened. */

import { contentOf, describeDraft, draftOf } from './draft.js';
import { DraftOutbox } from './draft_outbox.js';

/** Identifier under which drafts are kept: another one after each reload, and each time a scan is opened. */
let session = newSession();
/** @type {Map<string, number | null>} number of the label that the unsubmitted mask of a series was begun from */
const begun = new Map();

export class Drafts {
  /** @type {import('./draft.js').Draft | null} */
  #offered = null;

  /**
   * @param {Pick<import('./panel_template.js').Parts, 'draft' | 'draftText' | 'draftPlace' | 'discard' | 'note' | 'annotator'>} parts
   * @param {import('./editor.js').Editor} editor
   * @param {Pick<import('./stored_labels.js').StoredLabels, 'current' | 'seen'>} stored labels of the scan
   * @param {AbortSignal} signal ends it
   */
  constructor(parts, editor, stored, signal) {
    this.parts = parts;
    this.editor = editor;
    this.stored = stored;
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
    begun.set(draft.series, draft.base);
    parts.note.value ||= draft.note;
    await editor.restore(contentOf(draft)); // which keeps it as a draft of this page
    this.outbox.send();
    this.#close();
    return 'The draft is restored.';
  }

  /**
   * Return the number of the label that was in use when the mask of a series was begun; null without one.
   *
   * @param {string} series SeriesInstanceUID on the screen
   */
  begunFrom(series) {
    return begun.get(series) ?? (begun.has(series) ? null : this.stored.seen);
  }

  /** Forget the draft of a series: it was submitted. @param {string} series */
  submitted(series) {
    begun.delete(series);
    this.outbox.drop({ series, session });
  }

  #keep() {
    const { editor: { list, unsaved }, parts: { note, annotator } } = this;
    if (!list) return;
    const series = String(list.history.labelmap.series);
    if (!unsaved) {
      begun.delete(series);
      return;
    }
    if (!begun.has(series)) begun.set(series, this.stored.seen);
    const base = this.begunFrom(series);
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
    if (draft) this.parts.draftText.textContent = describeDraft(draft, this.stored.current?.number ?? null);
  }
}

function newSession() {
  return `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
}
