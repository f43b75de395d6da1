/** The runs of the model on a whole scan, which MONAI Label's own panel starts. */

import { ROOT } from './root.js';
import { fetchShareDone, sentence } from './server.js';

const INTERVAL_MS = 1000;

/**
 * Watch the inference requests of MONAI Label's own panel, which only says "failed" when one fails.
 *
 * @param {() => void} started
 * @param {(problem: string | null, params: import('./server.js').InferParams | null) => void} ended with the problem or the
 *   mask's parameters
 * @returns {() => void} aborts the running requests, whose masks would otherwise be applied to the series open at that time
 */
export function watchInference(started, ended) {
  /** @type {Set<XMLHttpRequest>} */
  const running = new Set();
  const open = /** @type {(...call: unknown[]) => void} */ (XMLHttpRequest.prototype.open);
  /**
   * @this {XMLHttpRequest}
   * @param {string} method
   * @param {string | URL} url
   * @param {unknown[]} rest
   */
  XMLHttpRequest.prototype.open = function (method, url, ...rest) {
    if (method.toUpperCase() === 'POST' && new URL(url, location.href).pathname.startsWith(`${ROOT}/infer/`)) {
      this.addEventListener('loadstart', () => {
        running.add(this);
        started();
      });
      this.addEventListener('loadend', () => {
        running.delete(this);
        ended(this.status === 200 ? null : problemOf(this), JSON.parse(this.getResponseHeader('Infer-Params') ?? 'null'));
      });
    }
    return open.call(this, method, url, ...rest);
  };
  return () => running.forEach(xhr => xhr.abort());
}

/**
 * @param {XMLHttpRequest} xhr that failed
 * @returns {string}
 */
function problemOf(xhr) {
  if (!xhr.status) return 'The run was interrupted, or the server does not respond.';
  return sentence(new TextDecoder().decode(xhr.response), xhr.status);
}

/**
 * Say every second how far the run on a scan is.
 *
 * @param {string | null} series SeriesInstanceUID
 * @param {(text: string) => void} say
 * @returns {() => void} to call when the run has ended
 */
export function followRun(series, say) {
  let ended = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const ask = async () => {
    const share = await fetchShareDone(String(series)).catch(() => null); // the run itself tells of a server that is gone
    if (ended) return;
    say(share === null ? 'Waiting for the server to run the model…' : `Running the model… ${Math.floor(100 * share)} %`);
    timer = setTimeout(() => void ask(), INTERVAL_MS);
  };
  say('Running the model…');
  if (series) timer = setTimeout(() => void ask(), INTERVAL_MS);
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
