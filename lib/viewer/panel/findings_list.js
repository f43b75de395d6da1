/** The list of findings of one mask: measured in a worker while the mask is edited, sorted, with the reader's remarks. */

import { axialAxis } from './diameters.js';
import { meanDensity } from './density.js';
import { middle } from './lesions.js';
import { lungsOf } from './lungs.js';
import { ORDERS } from './ranked_findings.js';
import { stateOf } from './remarks.js';
import { timed } from './timing.js';

const MIDLINE_MM = 10; // as in the lesion table of the server
const WORKER = new URL('findings_worker.js', import.meta.url);

/**
 * @typedef {import('./measured_findings.js').Measured & {
 *   volume: number, density: number | null, side: string, state: import('./remarks.js').State,
 *   texture: import('./remarks.js').Texture, note: string,
 * }} Row finding; volume in mm³; mean HU
 */

/** Fires "list" after each new list. */
export class FindingsList extends EventTarget {
  /** @type {keyof typeof ORDERS} */
  order = 'confidence';
  /** @type {Row[]} findings of the mask, in order */
  rows = [];
  /** @type {Row[]} findings of the model of which nothing is left */
  rejected = [];
  #worker = new Worker(WORKER, { type: 'module' });
  /** @type {import('./ranked_findings.js').Confidences | null} */
  #judged = null;
  /** @type {Promise<void> | null} until the list that is being made arrives */
  #listing = null;
  #stale = false;
  /** Whether the worker was told of a change since a list was requested. */
  #changed = true;
  /** @type {number | null | undefined} LPS mm of the middle of the body; undefined until the server is asked */
  #midline = undefined;
  #arrived = () => {};
  #onLoaded = () => this.#describeAll(); // the densities are known now
  /** @type {((change: import('./morphology.js').Change) => void)[]} what waits for edits, in order */
  #edited = [];

  /** @param {import('./edit_history.js').EditHistory} history of the mask */
  constructor(history) {
    super();
    this.history = history;
    const { size, spacing, direction } = history.labelmap;
    const mask = history.known.slice();
    this.#worker.postMessage({ grid: { size, spacing, axial: axialAxis(direction) }, mask }, [mask.buffer]);
    this.#worker.onmessage = ({ data }) => {
      if (data.list) timed('list', () => this.#onList(data.list));
      else this.#edited.shift()?.(data.edited);
    };
    const { eventTarget, Enums: { Events } } = cornerstone;
    eventTarget.addEventListener(Events.IMAGE_VOLUME_LOADING_COMPLETED, this.#onLoaded);
    history.onWrite = (index, values) => this.#tell({ index, values }, [index.buffer, values.buffer]);
  }

  close() {
    this.#worker.terminate();
    cornerstone.eventTarget.removeEventListener(cornerstone.Enums.Events.IMAGE_VOLUME_LOADING_COMPLETED, this.#onLoaded);
    this.history.onWrite = () => {};
  }

  /**
   * List the findings of the mask as it is now; resolves when the list is there. If the list that is being made is of this
   * mask, no other one follows: what is shown once it is there is not changed again.
   */
  async refresh() {
    const { confidences } = this.history.state;
    if (confidences !== this.#judged) this.#tell({ confidences });
    this.#judged = confidences;
    this.#stale ||= this.#changed || !this.#listing;
    while (this.#stale || this.#listing) {
      this.#listing ??= this.#request();
      await this.#listing; // eslint-disable-line no-await-in-loop -- one list at a time
    }
  }

  /**
   * Return what an operation would change in the mask as it is now.
   *
   * @param {import('./measured_findings.js').Edit} edit
   * @returns {Promise<import('./morphology.js').Change>}
   */
  edit(edit) {
    this.#worker.postMessage({ edit });
    return new Promise(resolve => {
      this.#edited.push(resolve);
    });
  }

  /** @param {keyof typeof ORDERS} order */
  sortBy(order) {
    this.order = order;
    this.#sort();
    this.dispatchEvent(new Event('list'));
  }

  /**
   * @param {Row} row
   * @param {Omit<import('./remarks.js').Remark, 'voxel'>} remark
   */
  remark(row, remark) {
    this.history.state.said.remarks.change(row.voxels, middle(row.voxels), remark);
    this.#describeAll();
  }

  /**
   * Number the findings after the lesions of a stored label.
   *
   * @param {import('./former_label.js').FormerLabel} former
   */
  numberAfter(former) {
    this.#tell({ former });
    return this.refresh();
  }

  /**
   * @param {object} change
   * @param {Transferable[]} transfer
   */
  #tell(change, transfer = []) {
    this.#changed = true;
    this.#worker.postMessage(change, transfer);
  }

  #request() {
    this.#stale = this.#changed = false;
    this.#worker.postMessage({ list: true });
    return new Promise(resolve => {
      this.#arrived = () => {
        this.#listing = null;
        resolve(undefined);
      };
    });
  }

  /** @param {import('./measured_findings.js').List} list */
  #onList({ findings, rejected }) {
    this.rows = findings.map(one => this.#row(one));
    this.rejected = rejected.map(one => this.#row(one));
    this.#sort();
    this.#arrived();
    this.dispatchEvent(new Event('list'));
    if (findings.length && this.#midline === undefined) void this.#findMidline();
  }

  async #findMidline() {
    this.#midline = null;
    this.#midline = await lungsOf(String(this.history.labelmap.series)).then(({ midline }) => midline, () => null);
    this.#describeAll();
  }

  #describeAll() {
    [...this.rows, ...this.rejected].forEach(one => this.#describe(one));
    this.dispatchEvent(new Event('list'));
  }

  #sort() {
    this.rows.sort(ORDERS[this.order]);
    this.rejected.sort(ORDERS[this.order]);
  }

  /**
   * @param {import('./measured_findings.js').Measured} finding
   * @returns {Row}
   */
  #row(finding) {
    const { labelmap } = this.history;
    const volume = finding.voxels.length * labelmap.voxelVolume;
    return this.#describe({ ...finding, volume, density: null, side: '', state: 'rejected', texture: '', note: '' });
  }

  /** @param {Row} row whose density, side, state, texture and note are set */
  #describe(row) {
    row.density = meanDensity(this.history.labelmap, row.voxels);
    const beyond = this.#midline === null || this.#midline === undefined
      ? NaN : this.history.labelmap.imageData.indexToWorld(row.centre)[0] - this.#midline;
    row.side = sideText(beyond);
    const remark = this.history.state.said.remarks.on(row.voxels);
    row.state = row.number ? stateOf(row.proposed, remark) : 'rejected';
    row.texture = remark?.texture ?? '';
    row.note = remark?.note ?? '';
    return row;
  }
}

/**
 * Return the side of the patient.
 *
 * @param {number} beyond the middle of the body, mm to the left; NaN if unknown
 */
function sideText(beyond) {
  if (Number.isNaN(beyond)) return '';
  if (Math.abs(beyond) <= MIDLINE_MM) return 'mid';
  return beyond > 0 ? 'left' : 'right';
}

/**
 * Describe the findings of a mask in a line.
 *
 * @param {Row[]} rows
 * @param {(mm3: number) => string} volumeText
 */
export function summary(rows, volumeText) {
  if (!rows.length) return '';
  const total = rows.reduce((sum, one) => sum + one.volume, 0);
  const largest = rows.reduce((most, one) => (one.longest > most.longest ? one : most));
  const count = rows.length === 1 ? '1 finding' : `${rows.length} findings`;
  return `${count}, ${volumeText(total)}, ${rows.length > 1 ? 'largest ' : ''}${sizeText(largest)}`;
}

/**
 * Return the diameters of a finding as text.
 *
 * @param {{longest: number, perpendicular: number}} finding mm
 */
export function sizeText({ longest, perpendicular }) {
  const digits = longest < 9.95 ? 1 : 0;
  return `${longest.toFixed(digits)} × ${perpendicular.toFixed(digits)} mm`;
}
