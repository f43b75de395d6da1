import assert from 'node:assert/strict';
import { test } from 'node:test';

import { meanDensity } from '../../lib/viewer/panel/density.js';

test('the mean HU is known once the image is complete: until then the viewer shows a neighbour in its place', () => {
  const quality = { 'ct:0': 8, 'ct:1': 3 };
  const values = { 'ct:0': [10, 20], 'ct:1': [30, 40] };
  globalThis.cornerstone = {
    Enums: { ImageQualityStatus: { FULL_RESOLUTION: 8 } },
    cache: {
      getImage: (id, least = 0) => {
        if (!(id in quality)) return { referencedImageId: `ct:${id}` };
        return quality[id] < least ? undefined : { slope: 2, intercept: -1000, voxelManager: { getScalarData: () => values[id] } };
      },
    },
  };
  const labelmap = { imageIds: ['0', '1'], sliceLength: 2 };
  assert.equal(meanDensity(labelmap, Uint32Array.of(0, 1)), 2 * 15 - 1000);
  assert.equal(meanDensity(labelmap, Uint32Array.of(1, 2)), null);
  quality['ct:1'] = 8;
  assert.equal(meanDensity(labelmap, Uint32Array.of(1, 2)), 2 * 25 - 1000);
});
