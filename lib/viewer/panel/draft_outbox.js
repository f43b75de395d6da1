/** Sends drafts to the server, and keeps them in this browser until the server has them. */

import * as requests from './draft_requests.js';
import * as store from './draft_store.js';
import { messageOf } from './dom.js';

const DELAY_MS = 1500; // after a stroke; the next ones are sent with it
const RETRY_MS = 15_000;

/** @typedef {import('./draft.js').Draft} Draft */

export class DraftOutbox {
  /** @type {Map<string, Draft>} what the server does not have yet, by series */
  #unsent = new Map();
  /** @type {Promise<unknown>} */
  #queue = Promise.resolve();
  /** @type {ReturnType<typeof setTimeout> | undefined} until drafts are sent */
  #timer = undefined;
  /** Name of the user, as the server has it. */
  #user = '';
  /** Whether the browser has what the server does not have. */
  #isInBrowser = true;

  /**
   * @param {(where: string, why: string) => void} tell is called with where the draft is instead of on the server, empty if it is
   *   there, and why
   * @param {typeof requests} server
   * @param {typeof store} browser
   */
  constructor(tell, server = requests, browser = store) {
    this.tell = tell;
    this.server = server;
    this.browser = browser;
  }

  /** @param {Draft} draft replaces the former one of its series and page */
  keep(draft) {
    this.#unsent.set(draft.series, draft);
    this.#enqueue(async () => {
      const kept = this.browser.keepUnsent({ ...draft, user: this.#user });
      this.#isInBrowser = await kept.then(() => true, () => false); // it may allow no storage
    });
    this.#timer ??= setTimeout(() => this.send(), DELAY_MS);
  }

  /** Send what the server does not have yet. */
  send() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const draft of this.#unsent.values()) this.#enqueue(() => this.#send(draft));
  }

  /** @param {Pick<Draft, 'series' | 'session'>} draft that was submitted, discarded or restored */
  drop(draft) {
    if (this.#unsent.get(draft.series)?.session === draft.session) this.#unsent.delete(draft.series);
    this.#enqueue(() => this.browser.dropUnsent(draft));
    this.#enqueue(() => this.server.deleteDraft(draft));
  }

  /**
   * Return the latest draft of a series by this user in another page, and what is wrong with others.
   *
   * @param {string} series SeriesInstanceUID
   * @param {string} session of this page
   * @returns {Promise<{draft: Draft | null, problems: string[]}>}
   */
  async find(series, session) {
    const { user, draft, problems } = await this.server.fetchDraft(series, session);
    this.#user = user;
    const unsent = await this.browser.unsentDrafts(user, series, session).catch(() => []);
    const latest = [...unsent, ...(draft ? [draft] : [])].sort((one, other) => other.time - one.time);
    return { draft: latest[0] ?? null, problems };
  }

  /** @param {Draft} draft */
  async #send(draft) {
    if (this.#unsent.get(draft.series) !== draft) return; // a later one follows
    try {
      this.#user = await this.server.putDraft(draft);
    } catch (error) {
      this.#timer ??= setTimeout(() => this.send(), RETRY_MS);
      this.tell(this.#isInBrowser ? 'draft in this browser only' : 'no draft is kept', messageOf(error));
      return;
    }
    this.tell('', '');
    if (this.#unsent.get(draft.series) !== draft) return;
    this.#unsent.delete(draft.series);
    await this.browser.dropUnsent(draft);
  }

  /** @param {() => Promise<void>} action that must not overtake an earlier one */
  #enqueue(action) {
    this.#queue = this.#queue.then(action).catch(() => {}); // a draft that was not removed is offered once more
  }
}
