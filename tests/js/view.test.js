import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { withFirstView } from '../../lib/viewer/panel/first_view.js';
import { keepPlaces } from '../../lib/viewer/panel/kept_place.js';
import { MaskView, styleOf } from '../../lib/viewer/panel/mask_style.js';
import { fitAll, zoomBy, zoomTo } from '../../lib/viewer/panel/viewports.js';
import { chooseWindow, chosenWindow } from '../../lib/viewer/panel/windows.js';

let camera;
let range;

beforeEach(() => {
  camera = { focalPoint: [10, 20, 30], position: [10, 20, -70], parallelScale: 200 };
  const viewport = {
    getVolumeId: () => 'ct',
    getCamera: () => ({ ...camera }),
    setCamera: change => Object.assign(camera, change),
    resetCamera: options => Object.assign(camera, { parallelScale: 200, options }),
    setProperties: ({ voiRange }) => (range = voiRange),
    render: () => {},
    // a plane of 400 × 400 pixels that shows columns to the right and rows down
    canvasToWorld: ([x, y]) => {
      const mm = camera.parallelScale / 200;
      return [camera.focalPoint[0] + (x - 200) * mm, camera.focalPoint[1] + (y - 200) * mm, camera.focalPoint[2]];
    },
  };
  const stack = {};
  globalThis.services = {
    viewportGridService: { getState: () => ({ viewports: new Map([['one', {}], ['other', {}]]) }) },
    cornerstoneViewportService: { getCornerstoneViewport: id => (id === 'one' ? viewport : stack) },
  };
  const kept = new Map();
  globalThis.localStorage = { getItem: key => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
});

test('a plane moves to a finding, looks in the same direction and shows twice its extent', () => {
  zoomTo([1, 2, 3], 50);
  assert.deepEqual(camera, { focalPoint: [1, 2, 3], position: [1, 2, -97], parallelScale: 50 });
  zoomTo([1, 2, 3], 4);
  assert.equal(camera.parallelScale, 20, 'a small finding is shown with what surrounds it');
});

test('the whole image comes back without leaving the slice', () => {
  zoomTo([1, 2, 3], 50);
  fitAll();
  assert.equal(camera.parallelScale, 200);
  assert.equal(camera.options.resetToCenter, false);
});

test('what is in the middle of a plane stays there when the viewer resizes it', () => {
  const service = services.cornerstoneViewportService;
  service.performResize = () => Object.assign(camera, { focalPoint: [5, 6, 30], position: [5, 6, -70], parallelScale: 60 });
  keepPlaces();
  zoomTo([1, 2, 3], 50);
  service.performResize();
  assert.deepEqual(camera, { focalPoint: [1, 2, 3], position: [1, 2, -97], parallelScale: 60 });
});

test('the point under the pointer stays where it is when a plane is zoomed', () => {
  const viewport = services.cornerstoneViewportService.getCornerstoneViewport('one');
  const pointer = [300, 100];
  const before = viewport.canvasToWorld(pointer);
  zoomBy(viewport, 2, pointer);
  assert.equal(camera.parallelScale, 100);
  assert.deepEqual(viewport.canvasToWorld(pointer), before);
  for (let n = 0; n < 50; n++) zoomBy(viewport, 2, pointer);
  assert.equal(camera.parallelScale, 5);
});

test('the lung window is the first; the one that is chosen is remembered', () => {
  assert.equal(chosenWindow(), 'Lung');
  chooseWindow('Mediastinum');
  assert.deepEqual(range, { lower: -160, upper: 239 });
  assert.equal(chosenWindow(), 'Mediastinum');
  localStorage.setItem('lunglabel.window', 'of another version');
  assert.equal(chosenWindow(), 'Lung');
});

test('the first view is a large axial plane in the chosen window', () => {
  const plane = id => ({ viewportOptions: { viewportId: id }, displaySets: [{ id: 'ct', options: {} }] });
  const stage = { viewportStructure: { layoutType: 'grid' }, viewports: ['axial', 'sagittal', 'coronal'].map(plane) };
  const displaySetSelectors = { ct: { seriesMatchingRules: [{ attribute: 'isReconstructable' }] } };
  const { stages: [first], displaySetSelectors: chosen } = withFirstView({ stages: [stage], displaySetSelectors }, 'Lung');
  assert.deepEqual(chosen.ct.seriesMatchingRules.map(rule => rule.attribute), ['isReconstructable', 'Modality']);
  const areas = first.viewportStructure.properties.layoutOptions.map(({ width, height }) => width * height);
  assert.ok(areas[0] > 3 * areas[1]);
  for (const { displaySets } of first.viewports) {
    assert.deepEqual(displaySets[0].options, { voi: { windowWidth: 1500, windowCenter: -600 } });
  }
  assert.deepEqual(stage.viewports[0].displaySets[0].options, {}, 'the original is unchanged');
});

test('a mask is filled with its opacity, or only outlined', () => {
  assert.deepEqual(
    styleOf({ colour: 'orange', opacity: 0.4, outlineOnly: true }),
    { renderOutline: true, outlineWidth: 2, renderFill: false, fillAlpha: 0.4 },
  );
});

test('colour, opacity and outline of the mask are remembered', () => {
  const styles = [];
  globalThis.cornerstone = { eventTarget: new EventTarget() };
  globalThis.cornerstoneTools = {
    Enums: { Events: {} },
    segmentation: { config: {}, state: { getViewportIdsWithSegmentation: () => [] } },
  };
  services.segmentationService = { setStyle: (_, style) => styles.push(style) };
  const { signal } = new AbortController();
  new MaskView(signal).change({ colour: 'white', opacity: 0.6, outlineOnly: true });
  assert.equal(styles.at(-1).fillAlpha, 0.6);
  assert.deepEqual(new MaskView(signal).style, { colour: 'white', opacity: 0.6, outlineOnly: true });
  localStorage.setItem('lunglabel.mask', '{"colour": "of another version"}');
  assert.deepEqual(new MaskView(signal).style, { colour: 'sky blue', opacity: 0.25, outlineOnly: false });
});
