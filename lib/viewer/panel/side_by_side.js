/** Puts a series of another study beside the scan, and the former layout back. */

import { OTHER_VIEWPORT, shownViewports } from './viewports.js';

const TOOL_GROUP = 'lunglabel-other'; // without any tool: the other study is not edited
const WAIT_MS = 30_000;
const POLL_MS = 100;

/**
 * @typedef {object} View of a plane
 * @property {Point3} focalPoint LPS mm
 * @property {Point3} position of the camera, LPS mm
 * @property {number} halfWidth of what is shown, mm
 * @property {number} pixels width on the screen that the plane will not have; 0 if it is of no importance
 */

export class SideBySide {
  /** @type {GridState | null} the layout before */
  #before = null;
  /** Where its planes looked. @type {Map<string, View>} */
  #views = new Map();

  /**
   * Show a series beside the axial plane of the scan.
   *
   * @param {{study: string, series: string}} other
   * @returns {Promise<string>} viewport of the scan
   * @throws {Error} the viewer cannot load it
   */
  async show({ study, series }) {
    const displaySetInstanceUID = await displaySetOf(study, series);
    const before = this.#before ?? copyOf(services.viewportGridService.getState());
    const own = axialOf(before);
    const scan = before.viewports.get(own);
    const { syncGroups } = scan?.viewportOptions ?? {};
    const beside = {
      displaySetInstanceUIDs: [displaySetInstanceUID],
      displaySetOptions: scan?.displaySetOptions ?? [{}],
      viewportOptions: {
        viewportId: OTHER_VIEWPORT, viewportType: 'volume', orientation: 'axial', toolGroupId: TOOL_GROUP, syncGroups,
      },
    };
    const [views, isFirst] = [viewsNow(), !this.#before];
    if (isFirst) this.#views = new Map([...views].map(([id, view]) => [id, { ...view, pixels: 0 }]));
    this.#before = before;
    await services.viewportGridService.setLayout({
      numRows: 1, numCols: 2, activeViewportId: own, isHangingProtocolLayout: true,
      findOrCreateViewport: (/** @type {number} */ place) => ({ ...(place ? beside : scan) }),
    });
    if (isFirst) await restore(new Map([...views].filter(([id]) => id === own)));
    return own;
  }

  /** Put the former layout back. */
  async hide() {
    const before = this.#before;
    this.#before = null;
    if (!before) return;
    const views = new Map([...this.#views, ...viewsNow()]);
    const grid = services.viewportGridService;
    await grid.setLayout({
      numRows: before.layout.numRows, numCols: before.layout.numCols, activeViewportId: axialOf(before), isHangingProtocolLayout: true,
      layoutOptions: grid.getLayoutOptionsFromState(before),
      findOrCreateViewport: (/** @type {number} */ _, /** @type {string} */ positionId) => (
        [...before.viewports.values()].find(one => one.positionId === positionId)
      ),
    });
    await restore(views);
  }

  /** Forget the former layout: the viewer shows another study. */
  forget() {
    this.#before = null;
  }
}

/** @returns {Map<string, View>} of each plane of the scan */
function viewsNow() {
  return new Map(shownViewports().map(viewport => {
    const { focalPoint, position, parallelScale } = viewport.getCamera();
    return [viewport.id, { focalPoint, position, halfWidth: parallelScale * aspect(viewport), pixels: viewport.element.clientWidth }];
  }));
}

/**
 * Let each plane look where it did, once the viewer has resized it: that moves it.
 *
 * @param {Map<string, View>} views
 */
async function restore(views) {
  await until(() => [...views].every(([id, { pixels }]) => isResized(id, pixels)));
  await pause(POLL_MS);
  for (const viewport of shownViewports()) {
    const view = views.get(viewport.id);
    if (!view) continue;
    const { focalPoint, position, halfWidth } = view;
    viewport.setCamera({ focalPoint, position, parallelScale: halfWidth / aspect(viewport) });
    viewport.render();
  }
}

/**
 * @param {string} viewportId
 * @param {number} former width, pixels
 */
function isResized(viewportId, former) {
  const viewport = shownViewports().find(one => one.id === viewportId);
  const { clientWidth: width } = viewport?.element ?? { clientWidth: former };
  return width !== former && Math.abs(Number(viewport?.canvas.width) - width * devicePixelRatio) < 2;
}

/** @param {CornerstoneViewport} viewport */
function aspect({ element }) {
  return element.clientWidth / element.clientHeight;
}

/** @param {GridState} state */
function axialOf({ viewports, activeViewportId }) {
  const found = [...viewports].find(([, one]) => one.viewportOptions?.orientation === 'axial');
  return found ? found[0] : activeViewportId;
}

/**
 * @param {GridState} state which the viewer changes in place
 * @returns {GridState}
 */
function copyOf(state) {
  return { ...state, layout: { ...state.layout }, viewports: new Map([...state.viewports].map(([id, one]) => [id, { ...one }])) };
}

/**
 * Return the display set of a series, and let the viewer load its study first.
 *
 * @param {string} study StudyInstanceUID
 * @param {string} series SeriesInstanceUID
 */
async function displaySetOf(study, series) {
  const find = () => services.displaySetService.getActiveDisplaySets().find(one => one.SeriesInstanceUID === series);
  if (!find()) await extensionManager.getActiveDataSource()[0].retrieve.series.metadata({ StudyInstanceUID: study });
  const found = await until(find);
  if (!found) throw new Error('The viewer could not load the other study. Open it from the study list to see why.');
  return found.displaySetInstanceUID;
}

/**
 * Wait until something is there.
 *
 * @template Found
 * @param {() => Found} find
 * @returns {Promise<Found>} what is not there after 30 seconds
 */
async function until(find) {
  for (const start = performance.now(); !find() && performance.now() - start < WAIT_MS;) {
    await pause(POLL_MS); // eslint-disable-line no-await-in-loop -- polls
  }
  return find();
}

/** @param {number} ms */
function pause(ms) {
  return new Promise(resolve => {
    setTimeout(resolve, ms);
  });
}
