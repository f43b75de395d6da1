/** Keeps drafts in this browser, where they survive a reload, a crash, and a restart of the server. */

const DATABASE = 'lunglabel';
const STORE = 'drafts';
const KEPT_MS = 60 * 24 * 3600 * 1000; // sixty days

/** @typedef {import('./draft.js').Draft} Draft */

/** @param {Draft} draft replaces the former one of its series and session */
export async function keepDraft(draft) {
  await call('readwrite', store => store.put(draft));
}

/** @param {Pick<Draft, 'series' | 'session'>} draft */
export async function dropDraft({ series, session }) {
  await call('readwrite', store => store.delete([series, session]));
}

/**
 * Return the latest draft of a series by another page, and forget those that nobody has come back to.
 *
 * @param {string} series SeriesInstanceUID
 * @param {string} session of this page
 * @returns {Promise<Draft | null>}
 */
export async function findDraft(series, session) {
  const range = IDBKeyRange.bound([series, ''], [series, '\uffff']);
  const drafts = /** @type {Draft[]} */ (await call('readonly', store => store.getAll(range)));
  const isOld = (/** @type {Draft} */ draft) => draft.time < Date.now() - KEPT_MS;
  await Promise.all(drafts.filter(isOld).map(dropDraft));
  const others = drafts.filter(draft => draft.session !== session && !isOld(draft));
  return others.sort((one, other) => other.time - one.time)[0] ?? null;
}

/** @returns {Promise<Set<string>>} SeriesInstanceUIDs of which this browser keeps a draft */
export async function draftedSeries() {
  const keys = /** @type {[series: string, session: string][]} */ (await call('readonly', store => store.getAllKeys()));
  return new Set(keys.map(([series]) => series));
}

/**
 * @template Result
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<Result>} action
 * @returns {Promise<Result>}
 */
async function call(mode, action) {
  const database = await open();
  try {
    return await result(action(database.transaction(STORE, mode).objectStore(STORE)));
  } finally {
    database.close();
  }
}

/** @returns {Promise<IDBDatabase>} */
function open() {
  const opening = indexedDB.open(DATABASE, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE, { keyPath: ['series', 'session'] });
  return result(opening);
}

/**
 * @template Result
 * @param {IDBRequest<Result>} request
 * @returns {Promise<Result>}
 */
function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
