/** Shows the status of the app: cases labelled, the model in use, the running training, the verdict on the last. */

import { elementsBy, messageOf } from './dom.js';

import { ROOT } from './root.js';
import { LoggedOutError, fetchStatus, serveVersion, startTraining, stopTraining } from './server.js';
import { showVersions } from './versions.js';

const INTERVAL_MS = 4000;

const TEMPLATE = `
<div data-status="cases"></div>
<div data-status="model"></div>
<div data-status="problem" class="problem" hidden></div>
<div data-status="versions"></div>
<div data-status="training" hidden><span></span> <progress></progress></div>
<div data-status="interrupted" hidden></div>
<div data-status="verdict" hidden></div>
<div data-status="preferences" hidden></div>
<div data-status="damaged" class="problem" hidden></div>
<div class="lunglabel-row">
  <button data-status="train" title="Train a new version of the model on all labels">Train now</button>
  <button data-status="stop" title="Stop and discard this training" hidden>Stop training</button>
  <a href="${ROOT}/status" target="_blank">Status page</a>
  <span>Research use only</span>
</div>`;

/**
 * @typedef {Record<'cases' | 'model' | 'problem' | 'versions' | 'training' | 'interrupted' | 'verdict' | 'preferences' | 'damaged', HTMLElement>
 *   & Record<'train' | 'stop', HTMLButtonElement>} Lines
 */

export class StatusView {
  /**
   * @param {Element} element to fill
   * @param {(status: import('./server.js').Status) => void} onAnswer called after each answer of the server
   * @param {() => void} onLoggedOut called when the session has ended
   * @param {(button: HTMLButtonElement, waiting: string, action: () => Promise<string>) => void} attempt runs the
   *   action of a button and shows its result or its error
   * @param {() => string} annotator name of the user, for the history of the versions
   */
  constructor(element, onAnswer, onLoggedOut, attempt, annotator) {
    element.innerHTML = TEMPLATE;
    this.onAnswer = onAnswer;
    this.onLoggedOut = onLoggedOut;
    this.attempt = attempt;
    this.annotator = annotator;
    this.lines = /** @type {Lines} */ (elementsBy(element, 'status'));
    const { train, stop } = this.lines;
    train.onclick = () => attempt(train, 'Starting the training…', () => this.#train());
    stop.onclick = () => attempt(stop, 'Stopping the training…', () => this.#stop());
    this.timer = setInterval(() => document.visibilityState === 'visible' && this.refresh(), INTERVAL_MS);
    this.refresh();
  }

  close() {
    clearInterval(this.timer);
  }

  async refresh() {
    try {
      const status = await fetchStatus();
      this.#show(status);
      this.onAnswer(status);
    } catch (error) {
      if (error instanceof LoggedOutError) this.onLoggedOut();
      this.lines.cases.textContent = messageOf(error);
    }
  }

  async #train() {
    await startTraining();
    await this.refresh();
    return 'Training started. You can keep working.';
  }

  /**
   * @param {string} model
   * @param {string} version
   */
  async #serve(model, version) {
    await serveVersion(model, version, this.annotator());
    await this.refresh();
    return `Model in use from now on: ${version}.`;
  }

  async #stop() {
    await stopTraining();
    await this.refresh();
    return 'Training stopped. The model in use is unchanged.';
  }

  /** @param {import('./server.js').Status} status */
  #show({ cases, labelled, not_in_ohif: elsewhere, model_version, model_problem, versions, training, interrupted, verdict, preferences, damaged }) {
    const { lines } = this;
    lines.cases.textContent = `${labelled} of ${cases} cases labelled${elsewhere ? `, ${elsewhere} only in 3D Slicer` : ''}`;
    lines.model.textContent = model_version
      ? `Model in use: ${model_version}`
      : 'No model yet: draw masks by hand, submit them, then train.';
    lines.problem.hidden = !model_problem;
    lines.problem.textContent = model_problem ?? '';
    showVersions(lines.versions, versions, (button, model, version) => {
      this.attempt(button, 'Changing the model…', () => this.#serve(model, version));
    });
    lines.training.hidden = lines.stop.hidden = !training;
    lines.train.hidden = !!training;
    if (training) {
      const [text, bar] = /** @type {[HTMLElement, HTMLProgressElement]} */ ([...lines.training.children]);
      const { epoch, total_epochs: total } = training;
      text.textContent = training.text;
      bar.max = total || 1;
      if (epoch) bar.value = epoch;
      else bar.removeAttribute('value'); // it moves, without a measure
    }
    lines.damaged.hidden = !damaged;
    lines.damaged.textContent = `${damaged} stored ${damaged === 1 ? 'file is' : 'files are'} damaged; see the status page.`;
    lines.interrupted.hidden = !interrupted;
    lines.interrupted.textContent = `Last training: ${interrupted}`;
    lines.preferences.hidden = !preferences.length;
    lines.preferences.textContent = preferences.join(' ');
    lines.verdict.hidden = !verdict;
    lines.verdict.textContent = lines.verdict.title = `Last ${interrupted ? 'completed ' : ''}training: ${verdict ?? ''}`;
  }
}
