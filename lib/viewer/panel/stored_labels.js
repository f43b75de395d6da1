/** The labels that the server has of a scan, from which one is loaded into the mask. */

import { offerCandidates } from './candidates.js';
import { fetchLabelVoxels, fetchStored } from './server.js';
import { offerSkipping } from './skip.js';

export class StoredLabels {
  /** @type {import('./server.js').StoredLabel | null} the label in use */
  current = null;
  /** @type {string | null} */
  #series = null;

  /**
   * @param {Pick<import('./panel_template.js').Parts, 'stored' | 'storedText' | 'candidates' | 'skip'>} parts
   * @param {import('./editor.js').Editor} editor
   */
  constructor(parts, editor) {
    this.parts = parts;
    this.editor = editor;
  }

  /** @param {string | null} series SeriesInstanceUID on the screen */
  async lookUp(series) {
    this.#series = series;
    this.#show(null, []);
    if (!series) return;
    const { label, candidates, skipped } = await fetchStored(series);
    if (this.#series !== series) return;
    this.#show(label, candidates);
    offerSkipping(this.parts.skip, skipped);
  }

  /**
   * Put the chosen label into the mask.
   *
   * @returns {Promise<string>} what to tell the user
   */
  async load() {
    const { history } = this.editor;
    if (!history) return '';
    if (this.editor.unsaved && !confirm('The mask has changes that are not submitted. Replace it?')) return '';
    const number = Number(this.parts.candidates.value || this.current?.number);
    const origin = number === this.current?.number ? this.current : { model_version: null };
    const voxels = await fetchLabelVoxels(String(history.labelmap.series), number);
    if (history !== this.editor.history) return '';
    await this.editor.load(voxels, origin);
    return `Label ${number} is loaded.`;
  }

  /**
   * @param {import('./server.js').StoredLabel | null} label
   * @param {import('./server.js').Candidate[]} candidates
   */
  #show(label, candidates) {
    const { stored, storedText, candidates: list } = this.parts;
    this.current = label;
    offerCandidates(list, label, candidates);
    stored.hidden = !label && !candidates.length;
    storedText.textContent = storedText.title = label
      ? describe(label)
      : `This scan has ${candidates.length} imported labels, not yet reviewed:`;
  }
}

/**
 * Describe a label: number, annotator, time, note.
 *
 * @param {import('./server.js').StoredLabel} label
 */
function describe({ number, tag, annotator, time, note }) {
  const when = new Date(time * 1000).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
  const what = tag === 'initial' ? 'Imported, not yet reviewed: label' : 'Stored: label';
  return `${what} ${number}${annotator ? ` by ${annotator}` : ''}, ${when}${note ? ` – ${note}` : ''}`;
}
