/** Shows how the app is doing: cases labelled, the model in use, the training that runs. */

import { fetchStatus } from './server.js';

const INTERVAL_MS = 4000;

export class StatusView {
  /**
   * @param {Element} element to fill
   * @param {() => void} onAnswer called after each answer of the server
   */
  constructor(element, onAnswer) {
    element.innerHTML = `
      <div data-status="cases"></div>
      <div data-status="model"></div>
      <div data-status="training" hidden><span></span> <progress></progress></div>
      <div data-status="verdict" hidden></div>`;
    this.onAnswer = onAnswer;
    this.lines = Object.fromEntries([...element.children].map(line => [line.dataset.status, line]));
    this.timer = setInterval(() => document.visibilityState === 'visible' && this.refresh(), INTERVAL_MS);
    this.refresh();
  }

  close() {
    clearInterval(this.timer);
  }

  async refresh() {
    try {
      this.#show(await fetchStatus());
      this.onAnswer();
    } catch (error) {
      this.lines.cases.textContent = error.message;
    }
  }

  #show({ cases, labelled, model_version, training, verdict }) {
    const { lines } = this;
    lines.cases.textContent = `${labelled} of ${cases} cases labelled`;
    lines.model.textContent = model_version ? `Model: ${model_version}` : 'No model yet: draw by hand, submit, train.';
    lines.training.hidden = !training;
    if (training) {
      const [text, bar] = lines.training.children;
      const { epoch, total_epochs: total } = training;
      text.textContent = total ? `Training: epoch ${epoch} of ${total}` : 'Training starts';
      bar.max = total || 1;
      bar.value = epoch || 0;
    }
    lines.verdict.hidden = !verdict || !!training;
    lines.verdict.textContent = verdict ? `Last training: ${verdict}` : '';
  }
}
