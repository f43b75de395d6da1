/** Keeps drafts in this browser until the server has them: it may not respond at the moment. */

const DATABASE = 'lunglabel';
const STORE = 'unsent';
const VERSION = 2; // 1: drafts were in the browser only

/** @typedef {import('./draft.js').Draft} Draft */
/** @typedef {Draft & {user: string}} UnsentDraft with the name of the user, as others may use this browser */

/** @param {UnsentDraft} draft replaces the former one of its series and session */
export async function keepUnsent(draft) {
  await call('readwrite', store => store.put(draft));
}

/** @param {Pick<Draft, 'series' | 'session'>} draft */
export async function dropUnsent({ series, session }) {
  await call('readwrite', store => store.delete([series, session]));
}

/**
 * Return the drafts of a user and series that the server does not have, without those of a page.
 *
 * @param {string} user
 * @param {string} series SeriesInstanceUID
 * @param {string} session of the page
 * @returns {Promise<UnsentDraft[]>}
 */
export async function unsentDrafts(user, series, session) {
  const range = IDBKeyRange.bound([series, ''], [series, '\uffff']);
  const drafts = /** @type {UnsentDraft[]} */ (await call('readonly', store => store.getAll(range)));
  return drafts.filter(draft => draft.user === user && draft.session !== session);
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
  const opening = indexedDB.open(DATABASE, VERSION);
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
