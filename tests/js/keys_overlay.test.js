import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

import { KEYS } from '../../lib/viewer/panel/keys_overlay.js';

test('every key of the panel is listed', () => {
  const listed = KEYS.flatMap(([, keys]) => keys.flatMap(([pressed]) => pressed.toLowerCase().split('  ')));
  const sources = ['panel', 'tool_row', 'edits', 'view_controls'].map(name => readFileSync(`lib/viewer/panel/${name}.js`, 'utf-8'));
  const bound = [...sources.join('\n').matchAll(/^\s+(?:\.\.\.\S+, )*'?([a-z[\]]|ctrl\+[zy]|delete)'?: (?:\(\) =>|separate|copy|resize|run)/gm)];
  assert.ok(bound.length >= 15, `only ${bound.length} keys were found in the sources`);
  for (const [, key] of bound) assert.ok(listed.includes(key), `${key} is not listed`);
});
