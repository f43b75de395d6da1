/** Tracks the mask that is being corrected, independent of OHIF's panels and viewports. */

import { NO_CLICKS } from './click_session.js';
import { Clicks } from './clicks.js';
import { EditHistory } from './edit_history.js';
import { separateFinding } from './findings.js';
import { onCapture } from './guard.js';
import { Labelmap, SEGMENTATION_ID, heldSeries, isHeld } from './labelmap.js';
import { FindingsList } from './findings_list.js';
import { followRun, watchInference } from './inference.js';
import { remarksOf } from './lesions.js';
import { Measuring } from './measuring.js';
import { OnlyLungs } from './only_lungs.js';
import { NOTHING_MEASURED } from './measurements.js';
import { confidencesIn } from './ranked_findings.js';
import { Review } from './review.js';
import { prepareClicks } from './server.js';
import { timed } from './timing.js';
import { activeSeries } from './viewports.js';

/**
 * Fires "change" when the mask, its history or the series changes, "list" when its findings are listed again, and "message"
 * with a sentence and its kind.
 */
export class Editor extends EventTarget {
  /** @type {EditHistory | null} of the series on the screen; null until there is a mask to paint on */
  history = null;
  /** @type {FindingsList | null} of the mask */
  list = null;
  /** Whether the model is running. */
  running = false;
  /** What its findings were in an earlier study, by number. @type {Map<number, import('./growth.js').FormerLesion>} */
  former = new Map();
  /** @type {string[]} Notes of the server on the scan, after a run. */
  notes = [];
  /** Whether the mask of the last run was empty. */
  foundNothing = false;
  /** @type {import('./former_label.js').FormerLabel | null} */
  #former = null;
  #pointerDown = false;
  /** Whether a brush has painted since the pointer went down. */
  #painted = false;
  /** Whether the change of the mask is this editor's own, and recorded already. */
  #recorded = false;
  #maskArrives = false;
  /** Ends what is said about the progress of a run. */
  #runEnded = () => {};
  #connectedAt = -Infinity;

  constructor() {
    super();
    this.clicks = new Clicks(this);
    this.review = new Review(this);
    this.measuring = new Measuring(this);
    this.onlyLungs = new OnlyLungs(this);
    const { Events } = cornerstoneTools.Enums;
    cornerstone.eventTarget.addEventListener(Events.SEGMENTATION_DATA_MODIFIED, () => this.#onModified());
    cornerstone.eventTarget.addEventListener(Events.SEGMENTATION_REPRESENTATION_ADDED, () => this.follow());
    onCapture('pointerdown', () => (this.#pointerDown = true));
    onCapture('pointerup', () => this.#onPointerUp());
    onCapture('pointercancel', () => this.#onPointerUp());
    this.abortRuns = watchInference(
      () => this.#onRunStarted(),
      (problem, params) => this.#onRunEnded(problem, params),
    );
  }

  get unsaved() {
    return !!this.history?.state.unsaved && isHeld();
  }

  /** Synchronize with the viewer: connect MONAI Label's panel, which creates the mask, and get the mask. */
  follow() {
    const series = activeSeries();
    if (!series) return;
    if (this.history && (!isHeld() || this.history.labelmap.series !== series)) this.#letGo();
    if ((heldSeries() ?? series) !== series) services.segmentationService.remove(SEGMENTATION_ID);
    const labelmap = Labelmap.ofViewer();
    if (!labelmap || !document.querySelector('button[title="Run Segmentation"]')) this.#connect();
    if (labelmap && labelmap.imageIds[0] !== this.history?.labelmap.imageIds[0]) {
      this.#begin(new EditHistory(labelmap));
      prepareClicks(String(labelmap.series)).catch(() => {}); // the first click will tell the user what is wrong
    }
  }

  /**
   * Record what was painted as one step to undo.
   *
   * @param {import('./edit_history.js').Step} step
   */
  commit(step = { unsaved: true }) {
    this.history?.commit(step);
    this.#changed();
  }

  /**
   * Write some voxels as one step to undo.
   *
   * @param {ArrayLike<number>} index of each voxel
   * @param {ArrayLike<number>} values
   * @param {import('./edit_history.js').Step} step
   */
  write(index, values, step) {
    this.#record(() => this.history?.write(index, values, step));
  }

  /** Undo the last step, or drop the last click if it is not answered yet. */
  undo() {
    this.#acted('undos');
    this.say('', ''); // what was said about the step that is undone
    if (!this.clicks.dropLast()) this.#record(() => this.history?.undo());
  }

  redo() {
    this.say('', '');
    this.#record(() => this.history?.redo());
  }

  /**
   * Put a stored label into the mask as one step to undo.
   *
   * @param {Uint8Array} voxels
   * @param {import('./server.js').ModelOrigin} origin
   */
  load(voxels, origin) {
    this.#record(() => {
      this.history?.labelmap.write(voxels);
      this.#accept({ ...origin, measurements: origin.measurements ?? NOTHING_MEASURED });
    });
    return this.review.showFirst();
  }

  /**
   * Put a draft into the mask as one step to undo.
   *
   * @param {ReturnType<import('./draft.js').contentOf>} draft
   */
  restore({ voxels, lesions, modelVersion, confidences, clicks, measurements }) {
    const { history } = this;
    if (history) {
      this.#record(() => {
        history.labelmap.write(voxels);
        const said = remarksOf(lesions, history.labelmap.size);
        history.commit({ unsaved: true, modelVersion, confidences, clicks, measurements, said });
        history.state.unsaved = true; // also if the mask is that of the draft already
      });
    }
    return this.review.showFirst();
  }

  /**
   * Remove one finding, or all others.
   *
   * @param {Point3 | null} point in it, LPS mm
   * @param {boolean} keep removes all others
   */
  separate(point, keep) {
    if (!this.history) return;
    const { labelmap, known } = this.history;
    const index = point && labelmap.labelledAt(point);
    if (index === null) {
      this.say('There is no finding under the pointer. Point at one, then press the key.');
      return;
    }
    labelmap.write(separateFinding(known, labelmap.size, index, keep));
    this.commit();
  }

  /**
   * Number the findings after the lesions of a stored label.
   *
   * @param {import('./former_label.js').FormerLabel | null} former
   */
  async numberAfter(former) {
    this.#former = former;
    const { labelmap } = this.history ?? {};
    if (!former || labelmap?.series !== former.series) return;
    const mask = former.mask?.length === labelmap.length ? former.mask : null;
    await this.list?.numberAfter({ ...former, mask });
  }

  /** Let what was said about findings count as an edit: it is stored with the label. */
  markEdited() {
    if (this.history) this.history.state.unsaved = true;
    this.dispatchEvent(new Event('change'));
  }

  /** @param {import('./edit_history.js').State} state that the server now has */
  markSaved(state) {
    state.unsaved = false;
    this.#changed();
  }

  /**
   * @param {string} sentence for the user
   * @param {'problem' | ''} kind
   */
  say(sentence, kind = 'problem') {
    this.dispatchEvent(new CustomEvent('message', { detail: { sentence, kind } }));
  }

  #connect() {
    /** @type {HTMLElement | null} */
    const button = document.querySelector('.settingsTable button');
    if (!button || performance.now() - this.#connectedAt < 5000) return;
    this.#connectedAt = performance.now();
    button.click();
  }

  /** @param {() => void} change that records what it writes */
  #record(change) {
    this.#recorded = true;
    try {
      change();
    } finally {
      this.#recorded = false;
    }
    this.#changed();
  }

  /** @param {EditHistory} history of the mask that is now on the screen */
  #begin(history) {
    this.list?.close();
    this.history = history;
    this.list = new FindingsList(history);
    this.list.addEventListener('list', () => this.dispatchEvent(new Event('list')));
    void this.numberAfter(this.#former);
    this.onlyLungs.follow();
    this.#changed();
  }

  #letGo() {
    this.abortRuns();
    this.list?.close();
    this.list = this.history = null;
    this.review.forget();
    this.notes = [];
    this.foundNothing = false;
    this.#connectedAt = -Infinity;
    this.#changed();
  }

  #onModified() {
    if (this.#recorded || this.#maskArrives) return;
    this.#painted = true;
    if (this.#pointerDown) return;
    this.follow();
    this.#commitPainted();
  }

  #onPointerUp() {
    this.#pointerDown = false;
    setTimeout(() => timed('stroke', () => this.#endStroke())); // after the brush has seen the mouse go up
  }

  #endStroke() {
    if (this.#painted) this.say('', ''); // not when the viewer loads a mask, which keeps what was said about the scan
    this.#commitPainted();
  }

  #commitPainted() {
    const before = this.history?.state;
    if (this.#painted) this.#record(() => this.history?.commit({ unsaved: true }, this.onlyLungs.limit()));
    if (this.history?.state !== before) this.#acted('strokes'); // the viewer also tells of what changes no voxel
    this.#painted = false;
  }

  /** @param {import('./reading_time.js').Action} action that the reader took */
  #acted(action) {
    this.dispatchEvent(new CustomEvent('action', { detail: action }));
  }

  #onRunStarted() {
    this.running = true;
    this.#changed();
    this.#runEnded = followRun(activeSeries(), text => this.say(text, ''));
  }

  /**
   * @param {string | null} problem
   * @param {import('./server.js').InferParams | null} params
   */
  #onRunEnded(problem, params) {
    this.running = false;
    this.#runEnded();
    if (problem) {
      this.#changed();
      this.say(problem);
      return;
    }
    this.#maskArrives = true;
    setTimeout(() => {
      this.#maskArrives = false; // OHIF's panel writes the response into the mask immediately
      this.#accept(params ?? {});
      this.notes = params?.warnings ?? [];
      this.foundNothing = !this.history?.labelled;
      this.say('', '');
      void this.review.showFirst();
    });
  }

  /**
   * Record a mask that the server has sent.
   *
   * @param {import('./server.js').ModelOrigin} origin
   */
  #accept({ model_version: modelVersion, findings, lesions, measurements }) {
    if (!this.history) return;
    const { labelmap, state } = this.history;
    const unsaved = !measurements && state.unsaved && state.measurements.length > 0; // a run leaves what was measured
    const confidences = confidencesIn(labelmap.read(), labelmap.size, findings ?? []);
    const said = remarksOf(lesions ?? [], labelmap.size);
    this.commit({ unsaved, modelVersion, confidences, clicks: NO_CLICKS, measurements: measurements ?? undefined, said });
  }

  #changed() {
    void this.list?.refresh();
    this.dispatchEvent(new Event('change'));
  }
}
