import assert from 'node:assert/strict';
import { test } from 'node:test';

import { register } from '../../lib/viewer/panel/segment_colours.js';

test('segments without a colour get one, others keep theirs', () => {
  const segments = { 1: {}, 2: { color: [1, 2, 3, 255] } };
  const service = {
    held: [{ segmentationId: 'seg', config: { segments } }, { segmentationId: '1' }],
    getSegmentations() {
      return this.held;
    },
  };
  register(service);
  assert.equal(service.getSegmentations(), service.held);
  assert.deepEqual(segments, { 1: { color: [0, 0, 0, 255] }, 2: { color: [1, 2, 3, 255] } });
});
