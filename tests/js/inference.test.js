import assert from 'node:assert/strict';
import { test } from 'node:test';

import { followRun } from '../../lib/viewer/panel/inference.js';

test('the progress of a run is said until it ends', async context => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  const shares = [null, 0, 0.499, 'broken'];
  const asked = [];
  globalThis.fetch = path => {
    asked.push(path);
    const share = shares.shift();
    return Promise.resolve(share === 'broken' ? new Response('', { status: 502 }) : Response.json({ share }));
  };
  const said = [];
  const end = followRun('1.2', text => said.push(text));
  const second = async () => {
    context.mock.timers.tick(1000);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
  };
  await second();
  await second();
  await second();
  const waiting = 'Waiting for the server to run the model…';
  assert.deepEqual(said, ['Running the model…', waiting, 'Running the model… 0 %', 'Running the model… 49 %']);
  assert.equal(asked[0], '/viewer/inference?image=1.2');
  end();
  await second();
  assert.equal(said.length, 4, 'nothing is said after the end');
  assert.equal(asked.length, 3);
});

test('an answer that comes after the end is not said', async context => {
  context.mock.timers.enable({ apis: ['setTimeout'] });
  let answer = () => {};
  globalThis.fetch = () => new Promise(done => {
    answer = () => done(Response.json({ share: 0.5 }));
  });
  const said = [];
  const end = followRun('1.2', text => said.push(text));
  context.mock.timers.tick(1000);
  end();
  answer();
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  assert.deepEqual(said, ['Running the model…']);
});
