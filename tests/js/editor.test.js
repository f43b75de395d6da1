import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';

import { Editor } from '../../lib/viewer/panel/editor.js';
import { MeasuredFindings } from '../../lib/viewer/panel/measured_findings.js';
import { holdVolume, mask } from './volume.js';

const SIZE = [9, 3, 2];
const LARGE = [[0, 0, 0], [1, 0, 0], [2, 0, 0]];
const SMALL = [[7, 2, 1], [8, 2, 1]];
const LENGTH = { kind: 'length', plane: 'axial', points: [[0, 0, 0], [1, 0, 0]] };

/** What findings_worker.js does; it answers when the test says so. */
class FakeWorker {
  /** @type {(() => void)[]} */
  static waiting = [];
  static asked = 0;

  postMessage(message) {
    const data = structuredClone(message);
    if (data.mask) this.findings = new MeasuredFindings(data.grid, data.mask);
    if (data.index) this.findings.change(data.index, data.values);
    if (data.confidences) this.findings.judge(data.confidences);
    if (!data.list) return;
    FakeWorker.asked += 1;
    const list = this.findings.list();
    FakeWorker.waiting.push(() => this.onmessage({ data: { list } }));
  }
}

let editor;
let shown;

const settled = () => new Promise(done => {
  setTimeout(done);
});

/** Let the worker answer once. */
async function answer() {
  FakeWorker.waiting.shift()?.();
  await Promise.resolve();
}

async function answerAll() {
  while (FakeWorker.waiting.length) {
    await answer(); // eslint-disable-line no-await-in-loop -- one answer may lead to the next request
    await settled(); // eslint-disable-line no-await-in-loop
  }
}

beforeEach(async () => {
  FakeWorker.waiting = [];
  const { volume } = holdVolume(SIZE, mask(SIZE, []));
  const viewport = {
    getVolumeId: () => 'ct',
    getCamera: () => ({ viewPlaneNormal: [0, 0, -1], viewUp: [0, -1, 0], focalPoint: [0, 0, 0], position: [0, 0, -1], parallelScale: 1 }),
    getViewReference: () => ({ FrameOfReferenceUID: '1.2' }),
    setCamera: ({ focalPoint }) => shown.push(focalPoint),
    resetCamera: () => shown.push('all'),
    render: () => {},
  };
  const { getImage } = cornerstone.cache;
  Object.assign(cornerstone.cache, { getVolume: () => ({}), getImage: id => (id.startsWith('ct:') ? undefined : getImage(id)) });
  const { Events } = cornerstoneTools.Enums;
  Object.assign(Events, { SEGMENTATION_REPRESENTATION_ADDED: 'added', ANNOTATION_COMPLETED: 'completed', TOOL_ACTIVATED: 'activated' });
  Object.assign(cornerstoneTools, {
    annotation: { state: { getAllAnnotations: () => [], addAnnotation: () => 'ruler', removeAnnotation: () => {} } },
    segmentation: { state: { getSegmentation: () => undefined, getViewportIdsWithSegmentation: () => ['axial'] } },
    utilities: { triggerAnnotationRenderForViewportIds: () => {} },
  });
  const series = cornerstone.metaData.get('instance', 'ct:0').SeriesInstanceUID;
  Object.assign(globalThis, {
    window: { addEventListener: () => {} },
    document: { querySelector: () => ({ click: () => {} }) },
    location: { href: 'http://localhost/' },
    fetch: () => Promise.reject(new Error('no server')),
    XMLHttpRequest: class {
      open() {}
    },
    Worker: FakeWorker,
    services: {
      segmentationService: { getSegmentations: () => [{ segmentationId: '1' }], getLabelmapVolume: () => volume },
      measurementService: { EVENTS: {}, subscribe: () => {} },
      toolGroupService: { getToolGroup: () => undefined },
      displaySetService: { getDisplaySetByUID: () => ({ SeriesInstanceUID: series }) },
      viewportGridService: {
        getState: () => ({ activeViewportId: 'axial', viewports: new Map([['axial', { displaySetInstanceUIDs: ['set'] }]]) }),
      },
      cornerstoneViewportService: { getCornerstoneViewport: () => viewport },
    },
  });
  editor = new Editor();
  editor.follow();
  await answerAll();
  shown = [];
});

test('a loaded mask is shown at its first finding as soon as its findings are listed, once', async () => {
  const before = FakeWorker.asked;
  void editor.load(mask(SIZE, [...LARGE, ...SMALL]), {});
  await answer();
  await settled();
  assert.deepEqual([editor.list.rows.length, shown], [2, [[1, 0, 0]]]);
  await answerAll();
  assert.deepEqual(shown, [[1, 0, 0]]);
  assert.equal(FakeWorker.asked - before, 1);
});

test('the findings are listed again once the images are complete: their density is known then', async () => {
  void editor.load(mask(SIZE, SMALL), {});
  await answerAll();
  let listed = 0;
  editor.addEventListener('list', () => (listed += 1));
  assert.equal(editor.list.rows[0].density, null);
  Object.assign(cornerstone.cache, { getImage: () => ({ intercept: -1024, voxelManager: { getScalarData: () => new Int16Array(100) } }) });
  cornerstone.eventTarget.dispatchEvent(new Event('loaded'));
  assert.deepEqual([listed, editor.list.rows[0].density], [1, -1024]);
});

test('the first finding is shown, not the second, if the user asks for the next one before', async () => {
  void editor.load(mask(SIZE, [...LARGE, ...SMALL]), {});
  await answerAll();
  void editor.review.showFirst();
  editor.review.showNext();
  await answerAll();
  assert.deepEqual(shown.at(-1), [1, 0, 0]);
});

test('a draft that changes only what is measured is an edit again', async () => {
  void editor.restore({ voxels: new Uint8Array(54), clicks: undefined, modelVersion: null, confidences: new Map(), lesions: [], measurements: [LENGTH] });
  await answerAll();
  assert.equal(editor.unsaved, true);
  assert.deepEqual(editor.measuring.measurements, [LENGTH]);
  editor.undo();
  assert.deepEqual(editor.measuring.measurements, []);
});

test('a remark counts as an edit before the list tells of it, so that a draft is kept', async () => {
  void editor.load(mask(SIZE, LARGE), {});
  await answerAll();
  const unsaved = [];
  editor.addEventListener('list', () => unsaved.push(editor.unsaved));
  editor.review.describe(editor.list.rows[0], { note: 'calcified' });
  assert.deepEqual([editor.list.rows[0].note, unsaved], ['calcified', [true]]);
});

test('undo of a label that was loaded brings back what was said before, and redo what came with it', async () => {
  void editor.load(mask(SIZE, LARGE), {});
  await answerAll();
  editor.review.describe(editor.list.rows[0], { note: 'mine' });
  void editor.load(mask(SIZE, [...LARGE, ...SMALL]), { lesions: [
    { voxel: [1, 0, 0], state: 'added', texture: 'solid', note: 'theirs' }, { voxel: [4, 1, 0], state: 'rejected', note: '' },
  ] });
  await answerAll();
  const said = () => [editor.list.rows[0].note, editor.history.state.said.carried.length];
  assert.deepEqual(said(), ['theirs', 1]);
  editor.undo();
  await answerAll();
  assert.deepEqual(said(), ['mine', 0]);
  editor.redo();
  await answerAll();
  assert.deepEqual(said(), ['theirs', 1]);
});
