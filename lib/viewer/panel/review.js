/** Goes from finding to finding, and accepts or rejects them. */

import { lengthsOf, middleOf } from './measurements.js';
import { indexAfter, ORDERS } from './ranked_findings.js';
import { fitAll, zoomTo } from './viewports.js';

/** @typedef {import('./findings_list.js').Row} Row */

export class Review {
  /** @type {Row | null} the finding that was shown last */
  #shown = null;

  /** @param {import('./editor.js').Editor} editor */
  constructor(editor) {
    this.editor = editor;
  }

  /** Forget the finding that was shown last: another mask is on the screen. */
  forget() {
    this.#shown = null;
  }

  /**
   * Return whether a finding is the one that was shown last.
   *
   * @param {Row} row
   */
  isShown({ voxels }) {
    return !!this.#shown && voxels.includes(this.#shown.voxels[0]);
  }

  /** Voxels of the finding that was shown last; null for the whole image. */
  get shown() {
    return this.#shown?.voxels ?? null;
  }

  /** Move all planes to the first finding, once the findings are listed. */
  async showFirst() {
    const { list } = this.editor;
    this.#shown = null;
    await list?.refresh();
    if (list !== this.editor.list) return;
    this.#shown = null; // the user may have pressed F meanwhile
    this.showNext();
  }

  /**
   * Show the finding that follows the one shown last, even if that one was removed; after the last, the whole image.
   */
  showNext() {
    const { rows = [], order = 'confidence' } = this.editor.list ?? {};
    const next = indexAfter(rows, this.#shown, ORDERS[order]);
    if (next < rows.length) this.show(rows[next]);
    else this.showAll();
  }

  /** Show the whole image in every plane. */
  showAll() {
    this.#shown = null;
    fitAll();
    this.#changed();
  }

  /**
   * Move all planes to a finding, and zoom to it.
   *
   * @param {Row} row
   */
  show(row) {
    const { history } = this.editor;
    if (!history) return;
    this.#shown = row;
    const { point, extent } = history.labelmap.placeOf(row.voxels);
    zoomTo(point, extent);
    this.#changed();
  }

  /**
   * Move all planes to a measurement, and zoom to it.
   *
   * @param {import('./measurements.js').Measurement} measurement
   */
  showMeasurement(measurement) {
    zoomTo(middleOf(measurement), lengthsOf(measurement)[0]);
  }

  /**
   * Accept a finding of the model, or take that back.
   *
   * @param {Row} row
   */
  accept(row) {
    this.#remark(row, { accepted: row.state !== 'accepted' });
  }

  /**
   * @param {Row} row
   * @param {Pick<import('./remarks.js').Remark, 'texture' | 'note'>} said texture or note, which it changes if it differs
   */
  describe(row, said) {
    if ((said.note ?? row.note) !== row.note || (said.texture ?? row.texture) !== row.texture) this.#remark(row, said);
  }

  /** Accept the finding that was shown last, and show the next. */
  acceptShown() {
    const row = this.current();
    if (row?.state === 'proposed') this.accept(row);
    if (row) this.showNext();
  }

  /** Reject the finding that was shown last, and show the next. */
  rejectShown() {
    const row = this.current();
    if (!row) return;
    this.mark([], [row]);
    this.showNext();
  }

  /**
   * Put findings into the mask and remove others, as one step to undo. A finding of the model that was removed stays in the
   * list, as rejected.
   *
   * @param {Row[]} put
   * @param {Row[]} removed
   */
  mark(put, removed) {
    const count = put.reduce((sum, row) => sum + row.voxels.length, 0);
    const voxels = [...put, ...removed].flatMap(row => [...row.voxels]);
    if (voxels.length) this.editor.write(voxels, voxels.map((_, n) => Number(n < count)), { unsaved: true });
  }

  /** Return the finding that was shown last, as it is listed now. */
  current() {
    return this.editor.list?.rows.find(row => this.isShown(row));
  }

  /**
   * @param {Row} row
   * @param {Omit<import('./remarks.js').Remark, 'voxel'>} remark
   */
  #remark(row, remark) {
    this.editor.markEdited(); // first: the list tells of the remark, and a draft is kept of what is an edit
    this.editor.list?.remark(row, remark);
  }

  #changed() {
    this.editor.dispatchEvent(new Event('list'));
  }
}
