import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { fetchNextSample, fetchStored, putLabel } from '../../lib/viewer/panel/server.js';

let requests;

function answer(body, status = 200) {
  globalThis.fetch = (path, options) => {
    requests.push({ path, ...options });
    return Promise.resolve(new Response(typeof body === 'string' ? body : JSON.stringify(body), { status }));
  };
}

beforeEach(() => {
  requests = [];
  globalThis.localStorage = {};
});

test('a label is sent as bytes with its parameters, tagged final', async () => {
  answer({});
  await putLabel('1.2 & 3', new Uint8Array([0, 1, 0]), { annotator: 'Ada' });
  const [{ path, method, body }] = requests;
  assert.equal(path, '/datastore/label?image=1.2+%26+3&tag=final');
  assert.equal(method, 'PUT');
  assert.deepEqual(JSON.parse(body.get('params')), { annotator: 'Ada' });
  assert.deepEqual([...new Uint8Array(await body.get('label').arrayBuffer())], [0, 1, 0]);
});

test('an error shows the detail sent by the server', async () => {
  answer({ detail: 'The disk is full.' }, 507);
  await assert.rejects(fetchStored('1'), { message: 'The disk is full.' });
});

test('an error without a detail shows its HTTP status', async () => {
  answer('<html>Bad gateway</html>', 502);
  await assert.rejects(fetchStored('1'), { message: /HTTP 502/ });
  answer({ detail: [{ loc: ['query'] }] }, 422);
  await assert.rejects(fetchStored('1'), { message: /HTTP 422/ });
});

test('an unreachable server gives a single sentence', async () => {
  globalThis.fetch = () => Promise.reject(new TypeError('network'));
  await assert.rejects(fetchStored('1'), { message: /Your mask is still here/ });
});

test('requests for the next sample use one client id per browser', async () => {
  answer({});
  await fetchNextSample('a b', null);
  await fetchNextSample('a b', '1.2');
  const clients = requests.map(one => JSON.parse(one.body).client_id);
  assert.match(clients[0], /^ohif-\w+$/);
  assert.equal(clients[0], clients[1]);
  assert.equal(requests[0].path, '/activelearning/a%20b');
  assert.deepEqual(requests.map(one => JSON.parse(one.body).open), [null, '1.2']);
});
