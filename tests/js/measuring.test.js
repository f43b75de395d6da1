import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Measuring } from '../../lib/viewer/panel/measuring.js';

const NORMALS = { axial: [0, 0, -1], coronal: [0, -1, 0] };
const AXIAL = [[1, 1, 1], [5, 1, 1]];
const CORONAL = [[1, 2, 1], [1, 2, 6]];

let annotations;
let viewports;
let editor;
let measuring;
let said;
let listeners;
let moved;
let removed;

const settled = () => new Promise(done => {
  setTimeout(done);
});
const pointsOf = () => editor.history.state.measurements.map(one => one.points);
const viewportOf = plane => ({
  id: plane,
  getVolumeId: () => 'ct',
  getCamera: () => ({ viewPlaneNormal: NORMALS[plane], viewUp: [0, 0, 1] }),
  getViewReference: () => ({ FrameOfReferenceUID: '1.2', volumeId: 'ct' }),
});

beforeEach(() => {
  annotations = [];
  said = [];
  listeners = [];
  viewports = { axial: viewportOf('axial'), coronal: viewportOf('coronal') };
  moved = () => {};
  const onWindow = { pointerup: listener => listeners.push(listener), camera: listener => (moved = listener) };
  globalThis.window = { addEventListener: (type, listener) => onWindow[type]?.(listener) };
  globalThis.cornerstone = { eventTarget: new EventTarget(), Enums: { Events: { CAMERA_MODIFIED: 'camera' } } };
  globalThis.services = {
    segmentationService: { getSegmentations: () => [{ segmentationId: '1' }] },
    measurementService: { EVENTS: { MEASUREMENT_REMOVED: 'removed' }, subscribe: (_event, listener) => (removed = listener) },
    toolGroupService: { getToolGroup: () => undefined },
    viewportGridService: { getState: () => ({ viewports: new Map(Object.keys(viewports).map(id => [id, {}])) }) },
    cornerstoneViewportService: { getCornerstoneViewport: id => viewports[id] },
  };
  globalThis.cornerstoneTools = {
    Enums: { Events: { ANNOTATION_COMPLETED: 'completed', TOOL_ACTIVATED: 'activated' } },
    annotation: {
      state: {
        getAllAnnotations: () => annotations,
        addAnnotation: one => annotations.push(Object.assign(one, { annotationUID: `drawn ${annotations.length}` })) && one.annotationUID,
        removeAnnotation: id => {
          annotations = annotations.filter(one => one.annotationUID !== id);
          removed({ measurement: id });
        },
      },
    },
    utilities: { triggerAnnotationRenderForViewportIds: () => {} },
  };
  editor = Object.assign(new EventTarget(), {
    history: {
      state: { measurements: [] },
      labelmap: { voxelAt: point => (point.every(mm => mm >= 0 && mm < 10) ? point : null) },
    },
    say: sentence => said.push(sentence),
    write: (_index, _values, { measurements }) => show(measurements),
  });
  measuring = new Measuring(editor);
});

/** Show the measurements of another step of the history. */
function show(measurements) {
  editor.history.state = { measurements };
  editor.dispatchEvent(new Event('change'));
}

let made = 0;
function draw(points, plane = 'axial') {
  const annotation = { annotationUID: `by hand ${made++}`, metadata: { toolName: 'Length', viewPlaneNormal: NORMALS[plane] }, data: { handles: { points } } };
  annotations.push(annotation);
  cornerstone.eventTarget.dispatchEvent(Object.assign(new Event('completed'), { detail: { annotation } }));
  return annotation;
}

test('a measurement stays while its plane is not on the screen', () => {
  draw(CORONAL, 'coronal');
  const drawn = editor.history.state.measurements;
  delete viewports.coronal; // the axial plane fills the screen
  show([]);
  assert.equal(annotations.length, 0);
  show(drawn);
  assert.deepEqual(annotations[0].metadata.viewPlaneNormal, NORMALS.coronal);
  draw(AXIAL);
  assert.deepEqual(pointsOf(), [CORONAL, AXIAL]);
});

test('rulers that OHIF has erased are drawn again, and what is drawn next does not replace them', async () => {
  draw(CORONAL, 'coronal');
  annotations = [];
  draw(AXIAL);
  assert.deepEqual(pointsOf(), [CORONAL, AXIAL]);
  assert.equal(annotations.length, 2);
  annotations = [];
  listeners.forEach(listener => listener());
  await settled();
  assert.equal(annotations.length, 2);
});

test('a line without a length is not measured: the server would refuse all measurements for it', () => {
  draw(AXIAL);
  draw([AXIAL[0], AXIAL[0]]);
  assert.deepEqual(pointsOf(), [AXIAL]);
  assert.equal(annotations.length, 1);
  assert.deepEqual(said, ['Nothing is measured: a line has no length.']);
  draw([AXIAL[0], [50, 1, 1]]);
  assert.deepEqual(pointsOf(), [AXIAL]);
  assert.match(said[1], /outside of the image/);
});

test('only the ruler under the pointer is removed, not one that the pointer has left in another plane', () => {
  draw(AXIAL).highlighted = true;
  assert.equal(measuring.removePointedAt(undefined), false);
  assert.equal(measuring.removePointedAt(viewports.coronal), false);
  assert.equal(measuring.removePointedAt(viewports.axial), true);
  assert.deepEqual(pointsOf(), []);
});

test('a ruler that the plane has left is not under the pointer any more', () => {
  draw(AXIAL).highlighted = true;
  moved(); // the plane shows another slice
  assert.equal(measuring.removePointedAt(viewports.axial), false);
  assert.deepEqual(pointsOf(), [AXIAL]);
});

test('a ruler that the user removes in the menu of OHIF is no measurement any more', () => {
  draw(AXIAL);
  const { annotationUID } = draw(CORONAL, 'coronal');
  cornerstoneTools.annotation.state.removeAnnotation(annotationUID);
  assert.deepEqual(pointsOf(), [AXIAL]);
  show([]); // those that are erased then are not removed
  assert.deepEqual(pointsOf(), []);
  assert.equal(annotations.length, 0);
});

test('a ruler that was moved is measured anew', async () => {
  const ruler = draw(AXIAL);
  ruler.data.handles.points = CORONAL;
  listeners.forEach(listener => listener());
  await settled();
  assert.deepEqual(pointsOf(), [CORONAL]);
  cornerstoneTools.annotation.state.removeAnnotation(ruler.annotationUID);
  assert.deepEqual(pointsOf(), []);
});
