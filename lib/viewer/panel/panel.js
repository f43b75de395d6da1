/** The panel: tools to correct the mask, and what brings it to the server and back. */

import { showEnded, showUser } from './account.js';
import { attempt } from './attempt.js';
import { showAttention } from './attention.js';
import { clicksOfLabel } from './click_session.js';
import { copySection } from './copy_section.js';
import { elementsBy, messageOf } from './dom.js';
import { Drafts } from './drafts.js';
import { offerEdits } from './edits.js';
import { summary } from './findings_list.js';
import { FindingsTable } from './findings_table.js';
import { numberAfter } from './former_label.js';
import { showKeys } from './keys_overlay.js';
import { lesionsOf } from './lesions.js';
import { listMeasurements } from './measurements_list.js';
import { openSample, takeNotice } from './next_sample.js';
import { Preference } from './preference.js';
import { OtherStudies } from './other_studies.js';
import { STATUS_TEMPLATE, TEMPLATE } from './panel_template.js';
import { volumeText } from './ranked_findings.js';
import { AWAY, fetchAttentionPicture, fetchNextSample, fetchStrategies, putLabel } from './server.js';
import { listenToKeys } from './shortcuts.js';
import { skip } from './skip.js';
import { StatusView } from './status.js';
import { StoredLabels } from './stored_labels.js';
import { StudyReading } from './study.js';
import { ToolRow } from './tool_row.js';
import * as tools from './tools.js';
import { controlView } from './view_controls.js';

const NAME_KEY = 'lunglabel.annotator';
const STRATEGY_KEY = 'lunglabel.strategy';

export class Panel {
  /**
   * @param {Element} place MONAI Label's panel
   * @param {import('./editor.js').Editor} editor
   */
  constructor(place, editor) {
    this.place = place;
    this.editor = editor;
    /** @type {string | null} */
    this.series = null;
    /** @type {[number, number]} */
    this.pointer = [0, 0];
    this.closing = new AbortController();
    place.insertAdjacentHTML('afterbegin', STATUS_TEMPLATE);
    place.insertAdjacentHTML('beforeend', TEMPLATE);
    this.parts = /** @type {import('./panel_template.js').Parts} */ (elementsBy(place, 'part'));
    const buttons = /** @type {Record<tools.Tool, HTMLElement>} */ (elementsBy(place, 'tool'));
    const attemptAction = this.#attempt.bind(this);
    this.stored = new StoredLabels(this.parts, editor, attemptAction, this.closing.signal);
    this.others = new OtherStudies(this.parts, editor, attemptAction, this.closing.signal);
    this.drafts = new Drafts(this.parts, editor, this.stored, this.closing.signal);
    this.tools = new ToolRow(this.parts, buttons, editor.onlyLungs, () => this.#show());
    this.study = new StudyReading(editor, this.closing.signal);
    this.preference = new Preference(this.parts, editor, this.study, attemptAction);
    this.parts.annotator.value = localStorage.getItem(NAME_KEY) ?? '';
    this.status = new StatusView(
      /** @type {Element} */ (place.querySelector('.lunglabel-status')),
      ({ user }) => {
        showUser(this.parts, user);
        this.#onStatus();
      },
      () => showEnded(this.parts),
      attemptAction,
      () => this.parts.annotator.value.trim(),
    );
    this.#listen();
    this.#show();
    this.#offerStrategies().catch(error => this.#say(error.message, 'problem'));
  }

  /** Let go of everything outside of the panel. */
  close() {
    this.closing.abort();
    this.status.close();
  }

  #listen() {
    const { parts, editor } = this;
    const { signal } = this.closing;
    editor.addEventListener('change', () => this.#show(), { signal });
    const onMessage = (/** @type {Event} */ event) => {
      const { sentence, kind } = /** @type {CustomEvent} */ (event).detail;
      this.#say(sentence, kind);
    };
    editor.addEventListener('message', onMessage, { signal });
    new FindingsTable(parts.findings, editor, signal);
    editor.addEventListener('list', () => this.#showResult(), { signal });
    const editKeys = offerEdits(parts.edits, editor, signal);
    listenToKeys({ ...this.#shortcuts(), ...editKeys }, () => !!editor.history && !editor.running, signal);
    const viewKeys = controlView(parts.view, signal);
    listenToKeys({ ...viewKeys, ' ': () => editor.review.showAll(), '?': showKeys }, () => true, signal);
    window.addEventListener('pointermove', event => this.#onPointerMove(event), { signal, capture: true });
    window.addEventListener('pointerdown', event => tools.leaveTextFor(event), { signal, capture: true });
    this.place.addEventListener('click', event => tools.leaveButton(/** @type {MouseEvent} */ (event)), { signal });
    const activated = cornerstoneTools.Enums.Events.TOOL_ACTIVATED;
    const onActivated = () => this.#show();
    cornerstone.eventTarget.addEventListener(activated, onActivated);
    signal.addEventListener('abort', () => cornerstone.eventTarget.removeEventListener(activated, onActivated));

    const { cornerstoneViewportService: viewports } = services;
    const following = viewports.subscribe(viewports.EVENTS.VIEWPORT_DATA_CHANGED, () => editor.follow());
    signal.addEventListener('abort', () => following.unsubscribe());

    parts.keys.onclick = showKeys;
    parts.undo.onclick = () => editor.undo();
    parts.redo.onclick = () => editor.redo();
    parts.find.onclick = () => editor.review.showNext();
    parts.restore.onclick = () => this.#attempt(parts.restore, 'Restoring…', () => this.drafts.restore());
    parts.submit.onclick = () => this.#attempt(parts.submit, 'Submitting…', () => this.#submit());
    parts.next.onclick = () => this.#attempt(parts.next, 'Looking for the next sample…', () => this.#next());
    parts.skip.onchange = () => this.#attempt(parts.skip, 'Skipping…', () => this.#skip());
    parts.attention.onclick = () => this.#attempt(parts.attention, 'Running the model…', () => this.#attention());
    parts.strategy.onchange = () => localStorage.setItem(STRATEGY_KEY, parts.strategy.value);
  }

  #onStatus() {
    if (this.parts.message.textContent === AWAY) this.#say('The server is back: try again.');
    this.editor.follow();
    this.#renewStored().catch(error => this.#say(messageOf(error), 'problem'));
  }

  async #renewStored() {
    const { series, stored, editor } = this;
    if (await stored.renew()) await numberAfter(editor, series, stored.current, stored.lastLesion);
  }

  /** @param {PointerEvent} event */
  #onPointerMove(event) {
    this.pointer = [event.clientX, event.clientY];
    if (tools.activeTool() || this.editor.measuring.measurements.length) tools.selectViewportUnder(event);
  }

  #shortcuts() {
    const { editor } = this;
    const separate = (/** @type {boolean} */ keep) => () => editor.separate(tools.pointAt(...this.pointer), keep);
    const copy = (/** @type {1 | -1} */ step) => () => copySection(editor, tools.viewportAt(...this.pointer), step);
    return {
      ...this.tools.shortcuts(),
      f: () => editor.review.showNext(),
      a: () => editor.review.acceptShown(),
      delete: () => editor.measuring.removePointedAt(tools.viewportAt(...this.pointer)?.viewport) || editor.review.rejectShown(),
      x: separate(false),
      k: separate(true),
      n: copy(1),
      p: copy(-1),
      'ctrl+z': () => editor.undo(),
      'ctrl+y': () => editor.redo(),
      'ctrl+shift+z': () => editor.redo(),
    };
  }

  async #submit() {
    const { annotator, note } = this.parts;
    const { history, list } = this.editor;
    if (!annotator.value.trim()) {
      annotator.focus();
      throw new Error('Enter your name above; it is stored with the label.');
    }
    if (!history || !list) return '';
    await this.editor.clicks.settled();
    await list.refresh();
    if (!history.labelled && !confirm('The mask is empty. Submit that there is no tumour in this scan?')) return '';
    const begunFrom = await this.#labelToReplace(String(history.labelmap.series));
    if (begunFrom === undefined) return '';
    localStorage.setItem(NAME_KEY, annotator.value.trim());
    const { labelmap, known, state } = history;
    const reading = this.study.params(); // first: it takes the time up to now, also that of the lesions
    await putLabel(String(labelmap.series), labelmap.read(), {
      annotator: annotator.value.trim(),
      note: note.value.trim(),
      viewer: 'ohif',
      model_version: state.modelVersion,
      clicks: clicksOfLabel(state.clicks, known),
      lesions: lesionsOf(list, this.study.time.lesions),
      confirm_empty: !history.labelled, // asked above
      measurements: state.measurements,
      begun_from: begunFrom,
      ...reading,
    });
    this.editor.markSaved(state);
    this.drafts.submitted(String(labelmap.series));
    note.value = '';
    await this.stored.lookUp(labelmap.series);
    await numberAfter(this.editor, labelmap.series, this.stored.current, this.stored.lastLesion);
    this.status.refresh();
    return `Label ${this.stored.current?.number} is stored.`;
  }

  /**
   * Return the number of the label that a submission follows; where it is not the one that the mask was begun from, ask first.
   *
   * @param {string} series SeriesInstanceUID on the screen
   * @returns {Promise<number | null | undefined>} undefined if the user does not want to submit; null if there is no label
   */
  async #labelToReplace(series) {
    const begunFrom = this.drafts.begunFrom(series);
    await this.#renewStored();
    const { current } = this.stored;
    if (!current || current.number === begunFrom) return begunFrom;
    const since = `Label ${current.number}${current.annotator ? ` by ${current.annotator}` : ''} was submitted since you began`;
    return confirm(`${since}. Submit your mask as the next version of it?`) ? current.number : undefined;
  }

  async #next() {
    if (!this.parts.strategy.value) await this.#offerStrategies(); // the server was not reachable at first
    const sample = await fetchNextSample(this.parts.strategy.value, this.series);
    const isOther = sample.StudyInstanceUID && (sample.SeriesInstanceUID !== this.series || sample.review || sample.review_state);
    if (!isOther) return 'No other scan: all are labelled, skipped, or offered to another user.';
    openSample(sample);
    return '';
  }

  async #skip() {
    const { skip: list, annotator } = this.parts;
    if (!this.series || !list.value) return '';
    const skipped = await skip(list, this.series, annotator.value.trim());
    return skipped ? this.#next() : 'This scan is offered again.';
  }

  async #attention() {
    const { series } = this;
    if (!series) return '';
    const picture = await fetchAttentionPicture(series);
    if (series === this.series) showAttention(picture);
    return '';
  }

  async #offerStrategies() {
    const { strategies, strategy } = this.parts;
    const offered = await fetchStrategies();
    for (const [name, { description }] of Object.entries(offered)) {
      strategy.add(Object.assign(new Option(name), { title: description }));
    }
    const last = localStorage.getItem(STRATEGY_KEY);
    if (last !== null && last in offered) strategy.value = last;
    strategies.hidden = strategy.length < 2;
  }

  /**
   * Run the action of a button, and show its result or its error.
   *
   * @param {HTMLButtonElement | HTMLSelectElement} button
   * @param {string} waiting shown meanwhile
   * @param {() => Promise<string>} action
   */
  async #attempt(button, waiting, action) {
    await attempt(button, waiting, action, (text, kind) => this.#say(text, kind), () => this.parts.message.textContent ?? '');
    this.#show();
  }

  /**
   * @param {string} text
   * @param {'problem' | 'success' | ''} [kind]
   */
  #say(text, kind = '') {
    this.parts.message.textContent = text;
    this.parts.message.className = kind;
  }

  /** @param {string | null} series SeriesInstanceUID on the screen */
  async #lookUp(series) {
    this.drafts.withdraw();
    try {
      await this.stored.lookUp(series);
    } finally { // also if the label in use is damaged, or the server is away
      if (series === this.series) await numberAfter(this.editor, series, this.stored.current, this.stored.lastLesion);
      await this.drafts.offer(series);
    }
    await this.others.lookUp(series);
  }

  /** @param {string | null} series SeriesInstanceUID that was just opened */
  async #openStudy(series) {
    this.preference.hide();
    const remark = await this.study.open(series);
    const isJudge = this.study.study?.role === 'judge';
    this.place.classList.toggle('lunglabel-judges', isJudge);
    if (isJudge && series && series === this.series) {
      await this.preference.open(series);
      await this.stored.lookUp(series);
      await this.stored.showAll();
    }
    if (remark && series === this.series) this.#say(remark, 'problem');
  }

  /** Keep the order of the screen for the Tab key: MONAI Label adds its part when it is connected, behind this panel's. */
  keepOrder() {
    const run = this.place.querySelector('button[title="Run Segmentation"]');
    const own = [...this.place.querySelectorAll(':scope > .lunglabel:not(.lunglabel-status)')];
    const isBehind = run && own[0].compareDocumentPosition(run) === Node.DOCUMENT_POSITION_FOLLOWING;
    if (isBehind && !this.place.contains(document.activeElement)) this.place.append(...own); // it would take the focus away
  }

  #show() {
    const { parts, editor } = this;
    const { history } = editor;
    const series = history?.labelmap.series ?? null;
    if (series !== this.series) {
      this.#say(takeNotice(series));
      this.series = series;
      this.#openStudy(series).catch(error => this.#say(messageOf(error), 'problem'));
      this.#lookUp(series).catch(error => this.#say(messageOf(error), 'problem'));
    }
    const ready = !!history && !editor.running;
    this.place.querySelector('.modelSelector select')?.setAttribute('aria-label', 'Model'); // MONAI Label's own
    parts.palette.disabled = parts.tools.disabled = !ready;
    parts.storedChoice.disabled = !ready;
    parts.submit.disabled = parts.load.disabled = parts.attention.disabled = parts.restore.disabled = !ready;
    parts.skip.disabled = !history;
    parts.undo.disabled = !history?.canUndo;
    parts.redo.disabled = !history?.canRedo;
    parts.find.disabled = !history?.labelled;
    this.tools.show(ready);
    this.#showResult();
  }

  #showResult() {
    const { parts, editor } = this;
    const { list, history, notes } = editor;
    const empty = editor.foundNothing ? 'Nothing found' : 'No mask yet: run the model, or mark lesions by hand.';
    parts.result.textContent = (history?.labelled ? summary(list?.rows ?? [], volumeText) : history && empty) || '';
    parts.unsaved.hidden = !editor.unsaved;
    listMeasurements(parts.measurements, editor);
    parts.notes.hidden = !notes.length;
    const [summaryLine, text] = /** @type {HTMLElement[]} */ ([...parts.notes.children]);
    summaryLine.textContent = notes.length === 1 ? '1 note on this scan' : `${notes.length} notes on this scan`;
    text.textContent = notes.map(note => `Note: ${note}.`).join(' ');
  }
}
