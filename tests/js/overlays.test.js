import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Overlays } from '../../lib/viewer/panel/overlays.js';
import { SparseMask } from '../../lib/viewer/panel/sparse_mask.js';
import { mask } from './volume.js';

const SIZE = [5, 4, 3];

test('the outline of a label stays while the plane is moved until its middle is beside the image', () => {
  const path = { setAttribute: (_name, value) => (path.drawn = value) };
  const svg = { setAttribute: () => {}, append: () => {}, remove: () => (path.drawn = '') };
  let focalPoint = [2, 2, 1];
  const viewport = {
    id: 'axial',
    element: { append: () => {} },
    getVolumeId: () => 'ct',
    getCamera: () => ({ viewPlaneNormal: [0, 0, 1], focalPoint }),
    worldToCanvas: ([x, y]) => [x, y],
  };
  Object.assign(globalThis, {
    window: { addEventListener: () => {} },
    cornerstone: { Enums: { Events: { IMAGE_RENDERED: 'rendered' } } },
    document: { createElementNS: (_space, name) => (name === 'path' ? path : svg) },
    services: {
      viewportGridService: { getState: () => ({ viewports: new Map([['axial', { displaySetInstanceUIDs: ['set'] }]]) }) },
      displaySetService: { getDisplaySetByUID: () => ({ SeriesInstanceUID: '1.2' }) },
      cornerstoneViewportService: { getCornerstoneViewport: () => viewport },
    },
  });
  const imageData = { indexToWorld: index => index, worldToIndex: point => [...point] };
  const overlays = new Overlays({ history: { labelmap: { series: '1.2', imageData } } }, new AbortController().signal);
  const label = new SparseMask(mask(SIZE, [[1, 1, 1]]), SIZE);
  overlays.show(3, label);
  assert.match(path.drawn, /^M0.5 0.5L/);
  const drawn = path.drawn;
  overlays.hide(3);
  focalPoint = [-20, 2, 1];
  overlays.show(3, label);
  assert.equal(path.drawn, drawn);
  overlays.hide(3);
  focalPoint = [2, 2, 2];
  overlays.show(3, label);
  assert.equal(path.drawn, '', 'another slice');
});
